"""Where a bucket is and what its requests are signed with, as boto3 would find it: for a client that is not boto3.

boto3's chain decides everything. If the environment holds plain credentials, or leads to those of a container, and
nothing unusual is set, what botocore would arrive at follows from a few rules, and it is not imported: that would take
0.3 s of the first ``get`` of a process. Otherwise botocore is asked, and asked for the result: it prepares a request,
which is caught before it is signed, and host, path and region are read from it. Rejected: to call the rules of regions
and endpoints on our own, by names inside botocore that change, or to read its tables of regions. The tests compare both
ways, request by request.

What ``locate`` returns holds for the life of a process; only the keys are asked for again. It sends nothing itself.

Certificates are boto3's too: ``AWS_CA_BUNDLE``, ``ca_bundle`` or ``REQUESTS_CA_BUNDLE``, else certifi's, else
botocore's own; never the system's, which OpenSSL takes from ``SSL_CERT_FILE``: two halves of one cache would trust
different authorities. An empty variable is an error, as in boto3; older versions of it then verified nothing.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from ...config import Config
from ...errors import AccessDenied, ConfigError, StoreError, StoreRefused, StoreUnreachable
from ..wire.request import Keys
from .container import Container
from .keys import WINDOW, Lease, Renewed, fault_of
from .session import Sessions, refusals
from .store import kind_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["Keys", "Target", "Unsupported", "locate"]

log = logging.getLogger("cloudcached")

#: Buckets that are none, or whose requests are signed otherwise: access points, S3 Express, Outposts.
_SPECIAL: Final = re.compile(r"arn:.*|.*--[a-z]+-s3|.*\.mrap")
#: AWS_... variables that have no effect here, or that are read below. For any other one botocore is asked.
_KNOWN: Final = re.compile(
    r"AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN|ACCOUNT_ID|DEFAULT_REGION|REGION|ENDPOINT_URL|ENDPOINT_URL_S3"
    r"|CA_BUNDLE|CONFIG_FILE|SHARED_CREDENTIALS_FILE|EC2_METADATA_DISABLED|MAX_ATTEMPTS|RETRY_MODE|PAGER|DEFAULT_OUTPUT"
    r"|REQUEST_CHECKSUM_CALCULATION|RESPONSE_CHECKSUM_VALIDATION|STS_REGIONAL_ENDPOINTS|SDK_UA_APP_ID|EXECUTION_ENV"
    r"|CONTAINER_CREDENTIALS_RELATIVE_URI|CONTAINER_CREDENTIALS_FULL_URI|CONTAINER_AUTHORIZATION_TOKEN"
    r"|CONTAINER_AUTHORIZATION_TOKEN_FILE|LAMBDA_.*|XRAY_.*|CLI_.*)"
)
#: What may hold settings of any kind: the variable that names it, and its default path.
_FILES: Final = (
    ("AWS_CONFIG_FILE", "~/.aws/config"),
    ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
    ("", "~/.aws/models"),
)
#: What boto3 asks for credentials before it asks a container.
_FILES_OF_BOTO: Final = (("BOTO_CONFIG", "~/.boto"), ("", "/etc/boto.cfg"))
_KEY_SETTINGS: Final = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
_BUNDLES: Final = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
#: Endpoints whose form leaves no question open: scheme, host, port, path.
_ENDPOINT: Final = re.compile(
    r"(https?)://"
    r"(\[[0-9a-f:]+\]|\d{1,3}(?:\.\d{1,3}){3}|(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?)"
    r"(:\d{1,5})?((?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*)/?"
)
_ADDRESS: Final = re.compile(r"[\d.]+|\[.*")
#: Regions of AWS's main partition: s3.<region>.amazonaws.com. The first has an older name.
_MAIN_REGION: Final = re.compile(r"(us|eu|ap|sa|ca|me|af|il|mx)-[a-z]+-\d")
_FIRST_REGION: Final = "us-east-1"
#: Names of regions that mean just themselves: those with "fips" and "global" in them ask for other endpoints.
_REGION: Final = re.compile(r"(?!.*(?:fips|global))[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
_SCOPE: Final = re.compile(r"[A-Za-z0-9-]*")
#: Buckets whose name can be part of a host's.
_HOST_LABEL: Final = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_HOST: Final = re.compile(r"[a-z0-9.-]+|[0-9a-f:.]+")
_PATH: Final = re.compile(r"/(?:[A-Za-z0-9_~-][A-Za-z0-9._~-]*/|/)*")
_ACCELERATED: Final = re.compile(r"(?:.*\.)?s3-accelerate\..*")
_PROXY: Final = re.compile(r"http://(?:\[[0-9A-Fa-f:]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?/?")
#: Systems that have settings for proxies besides the environment's.
_WITH_PROXIES: Final = ("darwin", "win32")
_PORTS: Final = {"http": 80, "https": 443}
_SSE: Final = {
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
}
_HEADER: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?")
#: The object that the request in question is about.
_OBJECT: Final = "x"


class Unsupported(Exception):
    """The reason why the wire cannot serve this bucket, so that boto3 does: one sentence for doctor and the log."""


@dataclass(frozen=True)
class Target:
    """Where a bucket is, and how its requests are signed."""

    #: ``http`` or ``https``.
    scheme: str
    #: What to connect to; an IPv6 address without brackets.
    host: str
    port: int
    #: As sent and signed: without the port where it is the scheme's own, with brackets around an IPv6 address.
    host_header: str
    #: What comes before an object's name; ends with a slash: "/bucket/", or "/" where the bucket is part of the host's
    #: name, behind the endpoint's own path.
    path: str
    region: str
    #: Returns the keys that are valid now within the given seconds: see ``keys.Renewed``.
    keys: Callable[[float], Keys]
    #: The path of a file of trusted certificates; ``None`` where there is no TLS.
    ca_bundle: str | None
    #: The client's own: the path of a file with certificate and key, or those of both.
    client_cert: tuple[str, str | None] | str | None
    #: Whether the server's certificate is verified: always, since no setting of boto3 says otherwise.
    verify: bool
    #: The URL of an HTTP proxy to ask for a tunnel (``CONNECT``); ``None``: connect to the host itself.
    proxy: str | None
    #: Headers for every request that creates an object: its encryption by the store.
    sse: Mapping[str, str]

    @property
    def endpoint(self) -> str:
        """The URL of the server; where the bucket is part of the host's name, it is here too."""
        return f"{self.scheme}://{self.host_header}"


@dataclass(frozen=True)
class _Found:
    """What boto3's chain arrives at."""

    #: The URL of an object, as far as its name.
    url: str
    #: The endpoint without the bucket: what boto3 chooses a proxy by.
    endpoint: str
    region: str
    keys: Callable[[float], Keys]
    ca_bundle: str | None
    client_cert: tuple[str, str | None] | str | None = None
    #: Proxies that do not come from the environment, by scheme.
    proxies: Mapping[str, str] | None = None


def locate(config: Config, sessions: Sessions) -> Target:
    """Return where the bucket of *config* is, and what its requests are signed with. Sends nothing.

    Raises ``Unsupported``, and ``ConfigError`` for settings that are wrong.
    """
    if _SPECIAL.fullmatch(config.bucket):
        raise Unsupported("the bucket is an access point, or in S3 Express")
    found = _from_environment(config.bucket, dict(config.s3)) or _from_botocore(config.bucket, sessions)
    scheme, host, port, path = _parts(found.url)
    if not _SCOPE.fullmatch(found.region):  # botocore lets a newline at the end pass
        raise ConfigError(f"the region {found.region!r} holds what a signature cannot carry; correct it")
    bracketed = f"[{host}]" if ":" in host else host
    return Target(
        scheme=scheme,
        host=host,
        port=port,
        host_header=bracketed if port == _PORTS[scheme] else f"{bracketed}:{port}",
        path=path,
        region=found.region,
        keys=found.keys,
        ca_bundle=_bundle(found.ca_bundle) if scheme == "https" else None,
        client_cert=found.client_cert if scheme == "https" else None,
        verify=True,
        proxy=_proxy(scheme, found),
        sse=_encryption(config.sse),
    )


def _parts(url: str) -> tuple[str, str, int, str]:
    """Return scheme, host, port and path of *url*. Raises ``Unsupported`` for anything unusual."""
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme, parts.hostname or "", parts.port
    except ValueError:
        raise Unsupported("the endpoint and the bucket's name make no valid URL") from None
    if "[" in parts.netloc.lstrip("["):  # a bucket with dots before an address: some versions of Python drop the bucket
        raise Unsupported("the endpoint and the bucket's name make no valid URL")
    unusual = parts.username is not None or parts.query or parts.fragment or scheme not in _PORTS
    if unusual or not _HOST.fullmatch(host) or not _PATH.fullmatch(parts.path):
        raise Unsupported("the endpoint has a user, a query, or characters that would have to be escaped")
    if _ACCELERATED.fullmatch(host):
        raise Unsupported("S3 Accelerate is set")
    return scheme, host, _PORTS[scheme] if port is None else port, parts.path


# Without botocore


def _from_environment(bucket: str, given: Mapping[str, str]) -> _Found | None:
    """Return what follows from the options and the environment; ``None`` where botocore must be asked."""
    environ = os.environ
    keys = _plain_keys(given, environ)
    container = None if keys else Container.in_environment(environ)
    endpoint = given.get("endpoint_url") or environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL") or ""
    region = given.get("region_name") or environ.get("AWS_DEFAULT_REGION", _FIRST_REGION)
    url = _url(bucket, endpoint, region, given.get("addressing_style", "auto"))
    unknown = [name for name in environ if name.startswith("AWS_") and not _KNOWN.fullmatch(name)]
    partial = environ.get("AWS_ACCESS_KEY_ID") or any(name in given for name in _KEY_SETTINGS)
    for reason, applies in (
        ("a profile may set anything", "profile_name" in given),
        ("only botocore knows what they do: " + ", ".join(unknown), bool(unknown)),
        ("a configuration file may set anything", _any_exists(_FILES, environ)),
        ("a key is set without its secret", keys is None and bool(partial)),
        ("the credentials come from further down boto3's chain", keys is None and container is None),
        ("a file of the first boto may hold credentials", keys is None and _any_exists(_FILES_OF_BOTO, environ)),
        ("the endpoint or the region is of an unusual form", url is None),
        ("a variable for certificates is empty", any(not environ.get(name, "-").strip() for name in _BUNDLES)),
    ):
        if applies:
            log.debug("botocore is asked for the settings: %s", reason)
            return None
    if keys is not None and (fault := fault_of(keys)):
        raise ConfigError(
            f"the credentials of the {'options' if _KEY_SETTINGS[0] in given else 'environment'}: {fault}"
        )
    source: Callable[[float], Keys] = Renewed(container) if container else lambda _seconds, keys=keys: keys  # type: ignore[misc]
    bundle = environ.get("AWS_CA_BUNDLE") or environ.get("REQUESTS_CA_BUNDLE")
    return _Found(url or "", endpoint or _aws_endpoint(region), region, source, bundle)


def _plain_keys(given: Mapping[str, str], environ: Mapping[str, str]) -> Keys | None:
    """Return the keys in the options or the environment, never mixed from both; ``None`` where they are not whole."""
    if any(name in given for name in _KEY_SETTINGS):
        found = [given.get(name, "") for name in _KEY_SETTINGS]
    else:
        found = [environ.get(name.upper(), "") for name in _KEY_SETTINGS]
    access_key, secret_key, token = found
    return Keys(access_key, secret_key, token or None) if access_key and secret_key else None


def _any_exists(files: tuple[tuple[str, str], ...], environ: Mapping[str, str]) -> bool:
    return any(
        os.path.exists(os.path.expanduser(environ.get(name, default)))  # noqa: PTH110, PTH111 - pathlib is slow to import
        for name, default in files
    )


def _aws_endpoint(region: str) -> str:
    return "https://s3.amazonaws.com" if region == _FIRST_REGION else f"https://s3.{region}.amazonaws.com"


def _url(bucket: str, endpoint: str, region: str, style: str) -> str | None:
    """Return the URL of the bucket's objects by botocore's rules; ``None`` for a case that they must decide.

    Requests to AWS's own endpoints name the bucket in the host, requests to others in the path, unless a style is set;
    and in the path they name one that no certificate for hosts covers.
    """
    if style not in ("auto", "path", "virtual"):
        return None
    if not (_REGION if endpoint else _MAIN_REGION).fullmatch(region):
        return None
    virtual = style == "virtual" or (style == "auto" and not endpoint)
    found = _ENDPOINT.fullmatch(endpoint or _aws_endpoint(region))
    if found is None or (virtual and "." in bucket and found[1] == "http"):
        return None
    scheme, host, port, path = found.groups("")
    if virtual and _HOST_LABEL.fullmatch(bucket) and not _ADDRESS.fullmatch(host):
        return f"{scheme}://{bucket}.{host}{port}{path}/"
    return f"{scheme}://{host}{port}{path}/{bucket}/"


# By botocore


def _from_botocore(bucket: str, sessions: Sessions) -> _Found:
    """Return what a boto3 client would use. Raises ``Unsupported``, and ``ConfigError`` if boto3 refuses settings."""
    client = sessions.client_without_credentials()
    try:
        url, context = _prepared(client, bucket)
    finally:
        client.close()
    config: Any = client.meta.config
    s3 = config.s3 or {}
    signing = context.get("signing") or {}
    for name, found in (
        ("FIPS endpoints are", config.use_fips_endpoint),
        ("dual-stack endpoints are", config.use_dualstack_endpoint or s3.get("use_dualstack_endpoint")),
        ("S3 Accelerate is", s3.get("use_accelerate_endpoint")),
        ("signed payloads are", s3.get("payload_signing_enabled") and url.startswith("https:")),
        (f"signatures of version {config.signature_version} are", config.signature_version != "s3v4"),
        (f"signatures of type {context.get('auth_type')} are", context.get("auth_type") not in (None, "v4", "s3v4")),
        ("another service than S3 is", signing.get("signing_name", "s3") != "s3"),
        ("settings for proxies are", config.proxies_config),
    ):
        if found:
            raise Unsupported(f"{name} set")
    core: Any = sessions.session()._session  # noqa: SLF001 - boto3 has no public way to this setting
    bundle = core.get_config_variable("ca_bundle")
    if bundle is None:
        bundle = os.environ.get("REQUESTS_CA_BUNDLE")
    if bundle is not None and not bundle.strip():
        raise ConfigError("the file of certificates is an empty name: correct or unset AWS_CA_BUNDLE")
    region = signing.get("region", client.meta.region_name)
    keys = Renewed(_Chain(sessions))
    return _Found(url, client.meta.endpoint_url, region, keys, bundle, config.client_cert, config.proxies)


def _prepared(client: S3Client, bucket: str) -> tuple[str, Mapping[str, Any]]:
    """Return the URL of the bucket's objects, as far as their names, and the context of the request for one of them."""
    caught: list[tuple[str, Mapping[str, Any]]] = []

    class Answer:
        status_code = 200

    def catch(params: Mapping[str, Any], context: Mapping[str, Any], **_: Any) -> Any:
        caught.append((params["url"], context))
        return Answer, {}  # an answer: botocore does not send, and does not sign either

    events: Any = client.meta.events
    events.register("before-call.s3.HeadObject", catch)
    with refusals():
        client.head_object(Bucket=bucket, Key=_OBJECT)
    url, context = caught[0]
    return url.removesuffix(_OBJECT), context


class _Chain:
    """The credentials that botocore finds, as a ``keys.Source``: a profile's, a role's, an instance's and all others.

    It is bounded by botocore's own timeouts only.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def __call__(self, _seconds: float) -> Lease:
        session = self._sessions.session()
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - came with the session

        try:
            credentials: Any = session.get_credentials()  # if none are found, the next call looks again
            frozen, expires = None, None
            for _ in range(3 if credentials else 0):  # until both belong together: boto3 may renew them in between
                expires = getattr(credentials, "_expiry_time", None)
                frozen = credentials.get_frozen_credentials()
                if expires == getattr(credentials, "_expiry_time", None):
                    break
        except (BotoCoreError, ClientError, OSError, ValueError, KeyError, RuntimeError) as exc:
            raise _failure(exc) from exc
        if frozen is None:
            raise AccessDenied("boto3 finds no credentials")
        keys = Keys(frozen.access_key, frozen.secret_key, frozen.token)
        if fault := fault_of(keys):
            raise AccessDenied(f"the credentials that boto3 finds: {fault}")
        if expires is None:
            return Lease(keys)
        window = getattr(credentials, "_advisory_refresh_timeout", WINDOW)
        return Lease.until(keys, expires.timestamp(), window)


def _failure(exc: Exception) -> StoreError:
    """Return our error for one of botocore that came instead of credentials."""
    status = getattr(exc, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    kind = StoreUnreachable if status >= 500 else kind_of(exc)  # noqa: PLR2004 - the service that gives keys is away
    if kind is StoreRefused or isinstance(exc, (FileNotFoundError, PermissionError)):
        kind = AccessDenied
    return kind(f"no credentials: {type(exc).__name__}: {exc}")


# What goes with every connection and request


def _bundle(given: str | None) -> str:
    """Return the path of the file of trusted certificates."""
    path = given or _default_bundle()
    if not os.path.isfile(path):  # noqa: PTH113 - pathlib takes its time to import
        raise ConfigError(
            f"there is no file of certificates {path!r}: correct AWS_CA_BUNDLE, ca_bundle or REQUESTS_CA_BUNDLE"
        )
    return path


def _default_bundle() -> str:
    """Return the bundle of certifi, or of botocore, without importing either where the file is in its usual place."""
    for package in ("certifi", "botocore"):
        spec = None if package in sys.modules else find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            path = os.path.join(folder, "cacert.pem")  # noqa: PTH118 - as above
            if os.path.isfile(path):  # noqa: PTH113 - as above
                return path
    # Loaded already, and perhaps patched; or in a zip file; or Debian's certifi, which names the system's file.
    return str(importlib.import_module("botocore.httpsession").get_cert_path(True))


def _proxy(scheme: str, found: _Found) -> str | None:
    """Return the URL of the proxy that boto3 would use. Raises ``Unsupported`` for one that needs more than CONNECT.

    boto3 compares ``NO_PROXY`` with the endpoint, before the bucket becomes a part of the host's name.
    """
    proxies = _environment_proxies(urlsplit(found.endpoint).netloc) if found.proxies is None else found.proxies
    proxy = proxies.get(scheme)
    if not proxy:
        return None
    if scheme == "http":
        raise Unsupported("requests go through a proxy, without TLS")
    if not proxy.startswith(("http:", "https:")):  # as botocore does
        proxy = f"http:{proxy}" if proxy.startswith("//") else f"http://{proxy}"
    if not _PROXY.fullmatch(proxy):
        raise Unsupported("the proxy needs a password or TLS, or its address is unusual")  # which the log must not show
    return proxy.rstrip("/")


def _environment_proxies(netloc: str) -> Mapping[str, str]:
    if sys.platform not in _WITH_PROXIES and not any(name.lower().endswith("_proxy") for name in os.environ):
        return {}
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415 - few need it, and it takes time to import

    return {} if proxy_bypass(netloc) else getproxies()


def _encryption(sse: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    for name, value in sse:
        if not _HEADER.fullmatch(value):
            raise ConfigError(f"{name!r} in sse holds what a header cannot carry; remove it")
    return {_SSE[name]: value for name, value in sse}
