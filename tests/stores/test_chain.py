"""Where boto3's chain leads a client that is not boto3: the addresses of requests, compared with boto3's own."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import botocore.auth
import botocore.httpsession
import pytest
from chains import target

from cloudcached import ConfigError
from cloudcached.stores.boto3 import chain
from cloudcached.stores.boto3.chain import Target, Unsupported
from cloudcached.stores.boto3.session import Sessions

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "NO_PROXY", "no_proxy")
#: For a variable that only botocore can judge.
UNHEARD_OF = {"AWS_UNHEARD_OF": "1"}


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


class Sent(Exception):
    """Ends a request before it is sent."""


def sent_by_boto3(bucket: str, settings: dict[str, str]) -> tuple[str, str, str]:
    """Return what a boto3 client makes of a request: the host as signed, the URL, and the region of the signature."""

    def stop(request: Any, **_: Any) -> None:
        scope = request.headers["Authorization"].decode().partition("Credential=")[2].split("/")
        raise Sent(botocore.auth._host_from_url(request.url), request.url, scope[2])

    client = Sessions(settings, 5.0).connection().client
    client.meta.events.register("before-send.s3", stop)
    with pytest.raises(Sent) as caught:
        client.head_object(Bucket=bucket, Key="a")
    client.close()
    return caught.value.args  # type: ignore[return-value]


def assert_like_boto3(bucket: str = "bucket", **settings: str) -> Target:
    made = target(bucket, **settings)
    host, url, region = sent_by_boto3(bucket, settings)
    parts = urlsplit(url)
    assert made.host_header == host
    assert (made.scheme, made.host, made.path + "a") == (parts.scheme, parts.hostname, parts.path)
    assert made.port == (parts.port or {"http": 80, "https": 443}[parts.scheme])
    assert made.region == region
    return made


# Addresses


ENDPOINTS = [
    "",
    "https://s3.example.com",
    "https://s3.example.com:443/",
    "http://127.0.0.1:7480",
    "http://[::1]:7480",
    "http://localhost:1/base/two/",
]
CASES = [
    (endpoint, style, bucket)
    for endpoint in ENDPOINTS
    for style in ("auto", "path", "virtual")
    for bucket in ("bucket", "bucket.with.dots", "Upper-Case", "under_score")
    if not ("." in bucket and style == "virtual" and endpoint.startswith("http:"))  # for botocore: see unusual hosts
]


@pytest.mark.parametrize(("endpoint", "style", "bucket"), CASES)
def test_addresses(asked: str, endpoint: str, style: str, bucket: str) -> None:
    given = {"region_name": "eu-central-1", "endpoint_url": endpoint, "addressing_style": style}
    assert_like_boto3(bucket, **{name: value for name, value in given.items() if value})


@pytest.mark.parametrize("bucket", ["bucket", "bucket.with.dots", "Upper-Case", "-dash", "x" * 63, "x" * 64, "1.2.3.4"])
@pytest.mark.parametrize(
    "endpoint",
    [
        "http://localhost:1/base",
        "http://127.0.0.1:1",
        "http://1234",
        "HTTP://Host.Example:80",
        "http://h:1//",
        "http://h.",
    ],
)
def test_unusual_hosts(endpoint: str, bucket: str) -> None:
    assert_like_boto3(bucket, endpoint_url=endpoint, addressing_style="virtual")


@pytest.mark.parametrize("endpoint", ["", "https://s3.example.com"])
@pytest.mark.parametrize(
    "region",
    [
        "",
        "us-east-1",
        "aws-global",
        "us-gov-west-1",
        "cn-north-1",
        "eusc-de-east-1",
        "mx-central-1",
        "EU",
        "s3-external-1",
    ],
)
def test_regions(region: str, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if region:
        monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    monkeypatch.setenv("AWS_REGION", "boto3-ignores-it")
    for style in ("auto", "path"):
        assert_like_boto3(addressing_style=style, **({"endpoint_url": endpoint} if endpoint else {}))


@pytest.mark.parametrize(
    ("variables", "endpoint"),
    [
        ({"AWS_ENDPOINT_URL": "http://a:1"}, "http://a:1"),
        ({"AWS_ENDPOINT_URL": "http://a:1", "AWS_ENDPOINT_URL_S3": "http://b:2"}, "http://b:2"),
        ({"AWS_ENDPOINT_URL": "http://a:1", "AWS_ENDPOINT_URL_S3": ""}, "http://a:1"),
        ({"AWS_ENDPOINT_URL": ""}, "https://bucket.s3.amazonaws.com"),
        (
            {"AWS_ENDPOINT_URL": "http://a:1", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
            "https://bucket.s3.amazonaws.com",
        ),
        ({"AWS_ENDPOINT_URL_DYNAMODB": "http://a:1"}, "https://bucket.s3.amazonaws.com"),
        ({"AWS_ENDPOINT_URL": "http://a:1", "AWS_DEFAULT_REGION": ""}, "http://a:1"),
        ({"AWS_S3_US_EAST_1_REGIONAL_ENDPOINT": "regional"}, "https://bucket.s3.us-east-1.amazonaws.com"),
    ],
)
def test_variables(variables: dict[str, str], endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if variables.get("AWS_DEFAULT_REGION") == "" and find_spec("awscrt"):
        pytest.skip("botocore signs by awscrt where that is installed, which refuses an empty region")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if "AWS_S3_US_EAST_1_REGIONAL_ENDPOINT" in variables:
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    assert assert_like_boto3().endpoint == endpoint


FILE = """
[default]
region = eu-north-1
endpoint_url = http://default:1
[profile mine]
region = eu-south-1
services = here
s3 =
  addressing_style = virtual
[services here]
s3 =
  endpoint_url = http://service:2/base
dynamodb =
  endpoint_url = http://other:3
"""


@pytest.mark.parametrize(
    ("settings", "variables", "endpoint"),
    [
        ({}, {}, "http://default:1"),
        ({}, {"AWS_ENDPOINT_URL": "http://variable:4"}, "http://variable:4"),
        ({}, {"AWS_PROFILE": "mine"}, "http://bucket.service:2"),
        ({"profile_name": "mine"}, {}, "http://bucket.service:2"),
        ({"profile_name": "mine", "addressing_style": "path"}, {}, "http://service:2"),
        ({"profile_name": "mine", "endpoint_url": "http://option:5"}, {}, "http://bucket.option:5"),
        ({"profile_name": "mine", "region_name": "eu-west-3"}, {}, "http://bucket.service:2"),
    ],
)
def test_files(
    settings: dict[str, str], variables: dict[str, str], endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text(FILE)
    (tmp_path / "credentials").write_text("[mine]\naws_access_key_id = of-profile\naws_secret_access_key = other\n")
    for name, value in {"AWS_CONFIG_FILE": "config", "AWS_SHARED_CREDENTIALS_FILE": "credentials"}.items():
        monkeypatch.setenv(name, str(tmp_path / value))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    made = assert_like_boto3(**settings)
    assert made.endpoint == endpoint
    # As in boto3, an option beats the environment's keys, and these beat a profile that the environment names.
    expected = ("of-profile", "other") if "profile_name" in settings else ("from-environment", "secret")
    assert made.keys(5.0)[:2] == expected


def test_a_file_in_its_usual_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AWS_CONFIG_FILE")
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text(FILE)
    assert assert_like_boto3().endpoint == "http://default:1"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"endpoint_url": "no url"}, "Invalid endpoint"),
        ({"endpoint_url": "http://127.0.0.1:1\n"}, "Invalid endpoint"),
        ({"endpoint_url": "http://127.0.0.1:1 "}, "not a valid URI"),
        ({"endpoint_url": "http://host/?query=1"}, "not a valid URI"),
        ({"profile_name": "nobody"}, "profile"),
        ({"region_name": "no region"}, "region"),
        ({"region_name": "eu-west-1\n"}, "Invalid endpoint"),
        ({"region_name": "eu-west-1\n", "endpoint_url": "http://host:1"}, "region"),
        ({"addressing_style": "sideways"}, "addressing"),
    ],
)
def test_settings_that_boto3_refuses(settings: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        target(**settings)


@pytest.mark.parametrize(
    "bucket",
    [
        "arn:aws:s3:eu-west-1:123456789012:accesspoint/mine",
        "bucket--use1-az4--x-s3",
        "point--xa-s3",
        "alias.mrap",
        "a--op-s3",
    ],
)
def test_buckets_for_boto3(bucket: str) -> None:
    with pytest.raises(Unsupported, match="access point"):
        target(bucket)


@pytest.mark.parametrize(
    ("settings", "variables", "words"),
    [
        ({}, {"AWS_USE_FIPS_ENDPOINT": "true"}, "FIPS"),
        ({"region_name": "fips-us-east-1"}, {}, "FIPS"),
        ({}, {"AWS_USE_DUALSTACK_ENDPOINT": "true"}, "dual-stack"),
        ({"endpoint_url": "https://s3-accelerate.amazonaws.com"}, {}, "Accelerate"),
        ({"endpoint_url": "http://user:word@host"}, {}, "a user"),
        ({"endpoint_url": "http://host/a b"}, {}, "escaped"),
        ({"endpoint_url": "http://[::1]:1", "addressing_style": "virtual"}, {"BUCKET": "with.dots"}, "no valid URL"),
    ],
)
def test_settings_for_boto3(
    settings: dict[str, str], variables: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Unsupported, match=words) as caught:
        target(variables.get("BUCKET", "bucket"), **settings)
    assert "word" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("use_dualstack_endpoint = true", "dual-stack"),
        ("use_accelerate_endpoint = true", "Accelerate"),
        ("signature_version = s3", "signatures"),
        ("payload_signing_enabled = true", "signed payloads"),
    ],
)
def test_settings_of_a_file_for_boto3(line: str, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(f"[default]\ns3 =\n  {line}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    with pytest.raises(Unsupported, match=words):
        target()


def test_signed_payloads_without_tls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """There they are signed in any case."""
    (tmp_path / "config").write_text("[default]\ns3 =\n  payload_signing_enabled = true\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    assert target(endpoint_url="http://host:1").endpoint == "http://host:1"
