"""Where endpoint, region and credentials come from: boto3's chain, for both transports."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from scripted_server import Request, ScriptedServer, answer, error

from cloudcached import AccessDenied, ConfigError
from cloudcached.config import Config
from cloudcached.stores.boto3.store import S3Store
from cloudcached.stores.port import Store
from cloudcached.stores.transport import Transport


@pytest.fixture(params=["boto3", "wire"])
def transport(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "from-environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


def store_with(transport: str, bucket: str = "bucket", **s3: str) -> Store:
    config = Config.parse(f"s3://{bucket}", {"transport": transport, "timeout": 3, "s3": s3})
    return S3Store(config) if transport == "boto3" else Transport(config)


def ask(store: Store) -> bytes:
    return bytes(store.get("a", timeout=3).read())


def signed_with(request: Request) -> tuple[str, str]:
    """Return the key id and the region of a request's signature."""
    scope = request.headers["authorization"].partition("Credential=")[2].partition(",")[0].split("/")
    return scope[0], scope[2]


# Sources


def test_the_environment(scripted: ScriptedServer, transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", scripted.endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-3")
    monkeypatch.setenv("AWS_REGION", "boto3-ignores-it")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    assert ask(store_with(transport)) == b"hello"
    assert signed_with(scripted.requests[0]) == ("from-environment", "eu-west-3")
    assert scripted.requests[0].headers["x-amz-security-token"] == "token"
    assert scripted.requests[0].path.startswith("/bucket/a")


def test_options_overrule_the_environment(
    scripted: ScriptedServer, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-3")
    monkeypatch.setenv("AWS_REGION", "eu-west-3")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of other credentials")
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    monkeypatch.setenv("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true")
    store = store_with(
        transport,
        endpoint_url=scripted.endpoint,
        region_name="us-west-2",
        aws_access_key_id="given",
        aws_secret_access_key="secret",
    )
    assert ask(store) == b"hello"
    assert signed_with(scripted.requests[0]) == ("given", "us-west-2")
    assert "x-amz-security-token" not in scripted.requests[0].headers


def test_no_region(scripted: ScriptedServer, transport: str) -> None:
    assert ask(store_with(transport, endpoint_url=scripted.endpoint)) == b"hello"
    assert signed_with(scripted.requests[0])[1] == "us-east-1"


def test_profiles(scripted: ScriptedServer, transport: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(
        f"[profile mine]\nregion = eu-south-1\nservices = here\n[services here]\ns3 =\n  endpoint_url = {scripted.endpoint}\n"
    )
    (tmp_path / "credentials").write_text("[mine]\naws_access_key_id = of-profile\naws_secret_access_key = secret\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert ask(store_with(transport, profile_name="mine")) == b"hello"
    monkeypatch.setenv("AWS_PROFILE", "mine")
    assert ask(store_with(transport)) == b"hello"
    assert [signed_with(request) for request in scripted.requests] == [("of-profile", "eu-south-1")] * 2


def test_the_config_file_alone(
    scripted: ScriptedServer, transport: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Plain credentials in the environment do not hide what the file says."""
    (tmp_path / "config").write_text(f"[default]\nregion = eu-north-1\nendpoint_url = {scripted.endpoint}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    assert ask(store_with(transport)) == b"hello"
    assert signed_with(scripted.requests[0]) == ("from-environment", "eu-north-1")


@pytest.mark.parametrize("token_in", ["file", "environment", None])
def test_containers(
    scripted: ScriptedServer, transport: str, token_in: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{scripted.endpoint}/credentials")
    if token_in == "file":
        (tmp_path / "token").write_text("let-me-in")
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
    elif token_in == "environment":
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "let-me-in")
    expires = dt.datetime.now(dt.timezone.utc) + dt.timedelta(hours=1)
    credentials = {
        "AccessKeyId": "of-container",
        "SecretAccessKey": "secret",
        "Token": "token",
        "Expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }

    def step(request: Request, connection: socket.socket) -> None:
        body = json.dumps(credentials).encode() if request.path == "/credentials" else b"hello"
        answer(200, body)(request, connection)

    scripted.step = step
    store = store_with(transport, endpoint_url=scripted.endpoint)
    assert [ask(store), ask(store)] == [b"hello"] * 2
    first, *rest = scripted.requests
    assert (first.path, first.headers.get("authorization")) == ("/credentials", "let-me-in" if token_in else None)
    assert [signed_with(request)[0] for request in rest] == ["of-container"] * 2
    assert all(("Boto3" in request.headers.get("user-agent", "")) == (transport == "boto3") for request in rest)


def test_no_credentials(transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(AccessDenied, match="credentials"):
        ask(store_with(transport))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"endpoint_url": "no url"}, "Invalid endpoint"),
        ({"profile_name": "nobody"}, "profile"),
        ({"region_name": "no region"}, "region"),
        ({"addressing_style": "sideways"}, "addressing"),
    ],
)
def test_settings_that_boto3_refuses(settings: dict[str, str], words: str) -> None:
    for transport in ("boto3", "auto"):
        with pytest.raises(ConfigError, match=words):
            ask(store_with(transport, **settings))


def test_a_proxy_for_others_is_not_used(scripted: ScriptedServer, transport: str) -> None:
    """The environment of the tests names a proxy that does not exist, for all but loopback."""
    assert os.environ["HTTP_PROXY"]
    assert ask(store_with(transport, endpoint_url=scripted.endpoint)) == b"hello"


# Certificates


def certificates(folder: Path) -> tuple[Path, Path]:
    """Write a certificate for localhost with its key, and that of the authority that signed it; return both paths."""
    keys = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("authority", "localhost")]
    begin = dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=1)
    written = []
    for number, (key, name) in enumerate(zip(keys, names, strict=True)):
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        signed = (
            x509.CertificateBuilder(names[0], name, key.public_key(), number + 1, begin, begin + dt.timedelta(days=9))
            .add_extension(x509.BasicConstraints(ca=number == 0, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost"), address]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[0].public_key()), critical=False)
            .sign(keys[0], hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        path = folder / f"{number}.pem"
        path.write_bytes(signed.public_bytes(pem) + private)
        written.append(path)
    return written[1], written[0]


class TlsServer(ScriptedServer):
    def __init__(self, certificate: Path) -> None:
        super().__init__()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)

    @property
    def endpoint(self) -> str:
        return super().endpoint.replace("http://127.0.0.1", "https://localhost")

    def _serve(self, connection: socket.socket) -> None:
        try:
            super()._serve(self._context.wrap_socket(connection, server_side=True))
        except OSError:
            connection.close()  # the client did not like the certificate


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_an_authority_of_one_s_own(
    transport: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    certificate, authority = certificates(tmp_path)
    monkeypatch.setenv(variable, str(authority))
    with TlsServer(certificate) as server:
        assert ask(store_with(transport, endpoint_url=server.endpoint)) == b"hello"
        assert ("Boto3" in server.requests[0].headers.get("user-agent", "")) == (transport == "boto3")


def test_a_server_s_own_certificate(transport: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """OpenSSL takes an authority's certificate as a server's."""
    _, authority = certificates(tmp_path)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(authority))
    with TlsServer(authority) as server:
        assert ask(store_with(transport, endpoint_url=server.endpoint)) == b"hello"


def test_expired_credentials_are_no_miss(scripted: ScriptedServer, transport: str) -> None:
    scripted.step = error(400, "ExpiredToken", "The provided token has expired.")
    with pytest.raises(AccessDenied, match="expired"):
        ask(store_with(transport, endpoint_url=scripted.endpoint))
