"""What goes with every request and connection by boto3's chain: keys, certificates, proxies, encryption."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.httpsession
import pytest
from chains import run, target
from scripted_server import ScriptedServer, answer

from cloudcached import AccessDenied, ConfigError
from cloudcached.stores.boto3 import chain
from cloudcached.stores.boto3.chain import Keys, Unsupported
from cloudcached.stores.boto3.session import Sessions

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "NO_PROXY", "no_proxy")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "from-environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


@pytest.fixture(params=["environment", "botocore"])
def asked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give who is asked for the settings."""
    way: str = request.param
    if way == "botocore":
        monkeypatch.setenv("AWS_UNHEARD_OF", "1")
    else:

        def refused(*_: Any) -> None:
            raise AssertionError("botocore was asked")

        monkeypatch.setattr(chain, "_from_botocore", refused)
    return way


# Keys that do not expire


def test_keys_of_the_environment(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert target().keys(5.0) == Keys("from-environment", "secret", None)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    assert target().keys(5.0) == Keys("from-environment", "secret", "token")
    given = target(aws_access_key_id="given", aws_secret_access_key="other")
    assert given.keys(5.0) == Keys("given", "other", None)


def test_only_names_in_capitals_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("aws_access_key_id", "lower")
    with pytest.raises(AccessDenied, match="finds no credentials"):
        target().keys(5.0)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("AWS_ACCESS_KEY_ID", "key\n", "access key"),
        ("AWS_ACCESS_KEY_ID", " key", "access key"),
        ("AWS_ACCESS_KEY_ID", "kéy", "access key"),
        ("AWS_SECRET_ACCESS_KEY", "secret\n", "secret key"),
        ("AWS_SECRET_ACCESS_KEY", "secret ", "secret key"),
        ("AWS_SESSION_TOKEN", "token\r\n", "session token"),
    ],
)
def test_keys_that_nothing_can_be_signed_with(
    asked: str, name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises((ConfigError, AccessDenied), match=words) as caught:
        target().keys(5.0)
    assert value.strip() not in str(caught.value).replace(words, "")


def test_a_key_without_its_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint for containers does not help: botocore does not look that far."""
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:9/")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(AccessDenied, match="Partial credentials"):
        target().keys(5.0)


def test_no_credentials_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """That none were found is not remembered."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    made = target()
    for _ in range(2):
        with pytest.raises(AccessDenied, match="finds no credentials"):
            made.keys(5.0)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "late")
    assert made.keys(5.0).access_key == "late"


def test_a_profile_with_half_a_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text("[mine]\naws_access_key_id = alone\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    with pytest.raises(AccessDenied, match="Partial credentials"):
        target(profile_name="mine").keys(5.0)


# Certificates


def test_no_certificates_without_tls(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", "/nonexistent/bundle")
    assert target(endpoint_url="http://127.0.0.1:1").ca_bundle is None


def test_the_bundle_that_boto3_trusts(asked: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent/bundle")
    assert target().ca_bundle == botocore.httpsession.get_cert_path(True)
    for name in ("REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE"):  # the second beats the first
        (tmp_path / name).touch()
        monkeypatch.setenv(name, str(tmp_path / name))
        made = target()
        assert made.ca_bundle == str(tmp_path / name)
        assert (made.verify, made.client_cert) == (True, None)


def test_the_bundle_of_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bundle").touch()
    (tmp_path / "config").write_text(f"[default]\nca_bundle = {tmp_path / 'bundle'}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nonexistent/bundle")
    assert target().ca_bundle == str(tmp_path / "bundle")


@pytest.mark.parametrize("name", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
@pytest.mark.parametrize("value", ["", " ", "/nonexistent/bundle"])
def test_a_bundle_that_is_not_there(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty name must not turn the verification off, as it did in older versions of boto3."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"(?i)AWS_CA_BUNDLE"):
        target()


@pytest.mark.parametrize("missing", [[], ["certifi"]])
def test_the_bundle_is_found_without_an_import(missing: list[str]) -> None:
    assert run(
        f"""
        import sys
        for name in {missing!r}:
            sys.modules[name] = None
        from chains import target
        print(target(endpoint_url="https://s3.example.com").ca_bundle)
        print("botocore" in sys.modules, "ssl" in sys.modules)
        """
    ).split() == [
        str(Path(botocore.__file__).with_name("cacert.pem")) if missing else botocore.httpsession.get_cert_path(True),
        "False",
        "False",
    ]


# Proxies


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"HTTP_PROXY": "http://proxy:1"}, None),
        ({"HTTPS_PROXY": "http://proxy:1/"}, "http://proxy:1"),
        ({"https_proxy": "proxy:1"}, "http://proxy:1"),
        ({"https_proxy": "//proxy:1"}, "http://proxy:1"),
        ({"https_proxy": "http://[::1]:1"}, "http://[::1]:1"),
        ({"ALL_PROXY": "http://proxy:1"}, None),
        ({"https_proxy": ""}, None),
        ({"https_proxy": "http://proxy:1", "no_proxy": "example.com"}, None),
        ({"https_proxy": "http://proxy:1", "NO_PROXY": "*"}, None),
        ({"https_proxy": "http://proxy:1", "no_proxy": "s3.example.com:8443"}, None),
        # boto3 does not see the bucket's own name when it looks for exceptions
        ({"https_proxy": "http://proxy:1", "no_proxy": "bucket.s3.example.com"}, "http://proxy:1"),
        ({"https_proxy": "http://proxy:1", "no_proxy": "other.org"}, "http://proxy:1"),
    ],
)
def test_proxies(asked: str, variables: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = {"endpoint_url": "https://s3.example.com:8443", "addressing_style": "virtual"}
    made = target(**settings)
    http: Any = Sessions(settings, 5.0).connection().http._session
    chosen = http._proxy_config.proxy_url_for("https://bucket.s3.example.com:8443/a")
    assert made.proxy == (chosen and chosen.rstrip("/")) == expected


@pytest.mark.parametrize(
    ("endpoint", "proxy"),
    [
        ("http://host:1", "http://proxy:1"),
        ("https://host:1", "https://proxy:1"),
        ("https://host:1", "http://user:word@proxy:1"),
        ("https://host:1", "socks5://proxy:1"),
        ("https://host:1", "http://proxy:1/path"),
    ],
)
def test_proxies_for_boto3(endpoint: str, proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(Unsupported, match="prox") as caught:
        target(endpoint_url=endpoint)
    assert "word@" not in str(caught.value)


# Encryption


def test_encryption(asked: str) -> None:
    assert target().sse == {}
    assert target(sse={"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "arn:aws:kms:key/1"}).sse == {
        "x-amz-server-side-encryption": "aws:kms",
        "x-amz-server-side-encryption-aws-kms-key-id": "arn:aws:kms:key/1",
    }


@pytest.mark.parametrize("value", ["AES256\r\nx-amz-acl: public-read", " AES256", "é"])
def test_encryption_that_is_no_header(value: str) -> None:
    with pytest.raises(ConfigError, match="sse"):
        target(sse={"ServerSideEncryption": value})


# Without botocore


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


def test_plain_keys_import_no_botocore() -> None:
    assert (
        run(
            """
            import sys
            from chains import target
            made = target(endpoint_url="http://127.0.0.1:1")
            print(made.keys(5.0).access_key, made.endpoint)
            print([name for name in ("boto3", "botocore", "http.client", "urllib3") if name in sys.modules])
            """
        )
        == "from-environment http://127.0.0.1:1\n[]\n"
    )


def test_a_container_s_keys_import_no_botocore(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted.step = answer(
        200,
        b'{"AccessKeyId": "of-container", "SecretAccessKey": "s", "Token": "t", "Expiration": "2999-01-01T00:00:00Z"}',
    )
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    printed = run(
        """
        import sys
        from chains import target
        print(target(endpoint_url="http://127.0.0.1:1").keys(5.0).access_key)
        print([name for name in ("boto3", "botocore", "urllib3") if name in sys.modules])
        """,
        AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{scripted.endpoint}/credentials",
    )
    assert printed == "of-container\n[]\n"
