"""boto3's settings, translated for obstore.

boto3's chain decides. obstore is given every setting explicitly, since it reads the environment too, but by rules of
its own. If the environment holds plain credentials and nothing unusual, the settings are taken from there, which saves
0.3 s of importing botocore; otherwise botocore is asked. Settings that obstore does not support, or treats differently,
raise ``Untranslatable``.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from ...config import EXPRESS, Config
from ..boto3.session import Sessions

log = logging.getLogger("cloudcached")

#: AWS_... variables that have no effect here, or that are read below. For any other one botocore is asked.
_KNOWN: Final = re.compile(
    r"AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN|DEFAULT_REGION|REGION|ENDPOINT_URL|ENDPOINT_URL_S3|CA_BUNDLE"
    r"|CONFIG_FILE|SHARED_CREDENTIALS_FILE|EC2_METADATA_DISABLED|MAX_ATTEMPTS|RETRY_MODE|PAGER|DEFAULT_OUTPUT"
    r"|REQUEST_CHECKSUM_CALCULATION|RESPONSE_CHECKSUM_VALIDATION|STS_REGIONAL_ENDPOINTS|SDK_UA_APP_ID|EXECUTION_ENV"
    r"|CONTAINER_CREDENTIALS_RELATIVE_URI|CONTAINER_CREDENTIALS_FULL_URI|CONTAINER_AUTHORIZATION_TOKEN_FILE"
    r"|LAMBDA_.*|XRAY_.*|CLI_.*)"
)
#: Variables that obstore reads and boto3 does not, and that no argument switches off.
_OBSTORE_ONLY: Final = re.compile(r"AWS_(SERVER_SIDE_ENCRYPTION|SSE_.*|CHECKSUM_ALGORITHM)", re.IGNORECASE)
_AWS_HOST: Final = re.compile(r"s3[.-]([a-z0-9-]+\.)?amazonaws\.(com|com\.cn|eu)")
_SSE: Final = {"ServerSideEncryption": "server_side_encryption", "SSEKMSKeyId": "sse_kms_key_id"}
#: Regions of AWS's main partition: s3.<region>.amazonaws.com.
_MAIN_REGION: Final = re.compile(r"(us|eu|ap|sa|ca|me|af|il|mx)-[a-z]+-\d")
_HOST_LABEL: Final = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_ADDRESS: Final = re.compile(r"[\d.]+|.*:.*")
#: boto3's configuration files: the variables that name them, and their default paths.
_FILES: Final = (("AWS_CONFIG_FILE", "~/.aws/config"), ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"))
#: The settings that lead containers on ECS and on EKS to their credentials; obstore follows them as boto3 does.
_CONTAINERS: Final = (
    ("container_credentials_relative_uri",),
    ("container_credentials_full_uri", "container_authorization_token_file"),
)


class Untranslatable(Exception):
    """The reason why obstore cannot replace boto3 here."""


class Key(NamedTuple):
    """Credentials that do not expire."""

    access_key_id: str
    secret_access_key: str
    token: str | None

    def told(self) -> dict[str, Any]:
        """Return them in obstore's form."""
        return {**self._asdict(), "expires_at": None}


@dataclass(frozen=True)
class Settings:
    """The settings that boto3's chain arrives at."""

    #: ``None``: AWS's own endpoint in the region.
    endpoint_url: str | None
    region: str
    style: str
    #: The path of a file of trusted certificates.
    ca_bundle: str | None
    #: ``None``: obstore asks the endpoint that *container* names.
    credentials: Callable[[], dict[str, Any]] | None
    container: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """The arguments for an ``obstore.store.S3Store``, except the timeouts."""

    config: Mapping[str, Any]
    client_options: Mapping[str, Any]
    credentials: Callable[[], dict[str, Any]] | None


def translate(config: Config, sessions: Sessions) -> Target:
    """Return the arguments by which obstore finds the bucket. Raises ``Untranslatable``."""
    bucket = config.bucket
    if bucket.startswith("arn:") or bucket.endswith((EXPRESS, "--xa-s3", ".mrap")):
        raise Untranslatable("the bucket is an access point or in S3 Express")
    for name in os.environ:
        if _OBSTORE_ONLY.fullmatch(name):
            raise Untranslatable(f"{name} is set, which boto3 does not know")
    settings = _from_environment(dict(config.s3)) or _from_boto3(sessions)
    endpoint, virtual_hosted = _endpoint(bucket, settings)
    options: dict[str, Any] = {"allow_http": endpoint.startswith("http:")}
    options.update(_proxy(endpoint))
    if settings.ca_bundle and endpoint.startswith("https:"):
        with open(settings.ca_bundle, "rb") as bundle:  # noqa: PTH123 - pathlib takes its time to import
            options["root_certificate"] = bundle.read()
    arguments = {
        "endpoint": endpoint,
        "aws_endpoint_url_s3": endpoint,
        "region": settings.region,
        "virtual_hosted_style_request": virtual_hosted,
        "conditional_put": "etag",
        "request_payer": False,
        "s3_express": False,
        "skip_signature": False,
        "unsigned_payload": False,
        **settings.container,
        **{_SSE[name]: value for name, value in config.sse},
    }
    return Target(arguments, options, settings.credentials)


def _from_environment(given: Mapping[str, str]) -> Settings | None:
    """Return the settings in the options and the environment; ``None`` where botocore must be asked for others."""
    environ = os.environ
    credentials = _key(given) or _key({name.lower(): value for name, value in environ.items()})
    container = {} if credentials else _container()
    endpoint_url = (
        given.get("endpoint_url") or environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL") or None
    )
    region = given.get("region_name") or environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    unknown = [name for name in environ if name.startswith("AWS_") and not _KNOWN.fullmatch(name)]
    files = [os.path.expanduser(environ.get(name, default)) for name, default in _FILES]  # noqa: PTH111
    for reason, applies in (
        ("a profile may set anything", "profile_name" in given),
        ("only botocore knows what they do: " + ", ".join(unknown), bool(unknown)),
        ("a configuration file may set anything", any(map(os.path.exists, files))),
        ("the options name a key without its secret", credentials is None and "aws_access_key_id" in given),
        ("the credentials come from further down boto3's chain", credentials is None and not container),
        (f"{region} may have an endpoint of another form", endpoint_url is None and not _MAIN_REGION.fullmatch(region)),
    ):
        if applies:
            log.debug("botocore is asked for the settings: %s", reason)
            return None
    return Settings(
        endpoint_url,
        region,
        given.get("addressing_style", "auto"),
        environ.get("AWS_CA_BUNDLE") or environ.get("REQUESTS_CA_BUNDLE"),
        credentials.told if credentials else None,
        container,
    )


def _key(found: Mapping[str, str]) -> Key | None:
    """Return the credentials among settings under boto3's names."""
    name, secret = found.get("aws_access_key_id"), found.get("aws_secret_access_key")
    return Key(name, secret, found.get("aws_session_token") or None) if name and secret else None


def _container() -> dict[str, str]:
    for names in _CONTAINERS:
        found = {name: os.environ.get(f"AWS_{name.upper()}", "") for name in names}
        if all(found.values()):
            return found
    return {}


def _from_boto3(sessions: Sessions) -> Settings:
    """Return the settings of a boto3 client. Raises ``Untranslatable``, and ``ConfigError`` if boto3 refuses them."""
    connection = sessions.connection()
    meta = connection.client.meta
    config: Any = meta.config
    s3 = config.s3 or {}
    for name, found in (
        ("FIPS endpoints", config.use_fips_endpoint),
        ("dual-stack endpoints", config.use_dualstack_endpoint or s3.get("use_dualstack_endpoint")),
        ("S3 Accelerate", s3.get("use_accelerate_endpoint")),
        ("client certificates", config.client_cert),
        ("proxies of boto3's own", config.proxies),
        (f"signatures of version {config.signature_version}", config.signature_version != "s3v4"),
    ):
        if found:
            raise Untranslatable(f"{name} are set")
    credentials = connection.credential_provider()
    if credentials is None:
        raise Untranslatable("boto3 finds no credentials")
    style = s3.get("addressing_style") or "auto"
    if style == "auto" and _AWS_HOST.fullmatch(urlsplit(meta.endpoint_url).netloc):
        style = "virtual"
    return Settings(
        # The region's own endpoint: for a bucket in another region the first request fails, and boto3 takes over.
        meta.endpoint_url,
        "us-east-1" if meta.region_name in (None, "aws-global") else meta.region_name,
        style,
        connection.ca_bundle(),
        credentials,
    )


def _endpoint(bucket: str, settings: Settings) -> tuple[str, bool]:
    """Return the endpoint, with the bucket in it where requests are virtual-hosted, and whether they are.

    By botocore's rules: requests to AWS's own endpoints are virtual-hosted; requests to others have the bucket in the
    path, and so have those for a bucket whose name no certificate covers.
    """
    url = settings.endpoint_url or f"https://s3.{settings.region}.amazonaws.com"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
        raise Untranslatable(f"the endpoint is {url!r}")
    virtual = settings.style == "virtual" or (settings.endpoint_url is None and settings.style != "path")
    if virtual and "." in bucket and parts.scheme == "http":
        raise Untranslatable("the bucket has dots in its name and is addressed as a host")
    if virtual and _HOST_LABEL.fullmatch(bucket) and not _ADDRESS.fullmatch(parts.hostname):
        return f"{parts.scheme}://{bucket}.{parts.netloc}{parts.path.rstrip('/')}", True
    return url.rstrip("/"), False


def _proxy(endpoint: str) -> dict[str, str]:
    """Return options that keep obstore off a proxy that boto3 would not use.

    Raises ``Untranslatable`` for a proxy that boto3 would use.
    """
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415 - pulls in http.client

    proxies = getproxies()
    proxies.pop("no", None)
    if not proxies:
        return {}
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    if parts.scheme in proxies and not proxy_bypass(parts.netloc):
        raise Untranslatable("a proxy is set")
    # obstore has no option for "no proxy", but one for exceptions to it; this proxy would refuse connections at once.
    return {"proxy_url": "http://127.0.0.1:9", "proxy_excludes": host}
