"""The configuration of a client: its URL and options, checked once and frozen.

``OPTIONS`` is the only list of options; Django's ``OPTIONS`` and Flask's ``CACHE_OPTIONS`` take the same names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from .entry.encryption import EncryptionKeys
from .entry.signing import SigningKeys
from .errors import ConfigError

#: boto3's own names, passed on unchanged to its session or client.
S3_SETTINGS: Final = (
    "addressing_style",
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "endpoint_url",
    "profile_name",
    "region_name",
)
#: boto3's own names for server-side encryption.
SSE_SETTINGS: Final = ("SSEKMSKeyId", "ServerSideEncryption")
TRANSPORTS: Final = ("auto", "wire", "boto3")
CONDITIONAL_WRITES: Final = ("auto", "trust", "probe", "best_effort")
READ_ONLY: Final = ("drop", "refuse")

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,253}[a-z0-9]|arn:[^/]+(/[^/]+)*|[A-Za-z0-9._-]{3,255}")
_PREFIX = re.compile(r"[A-Za-z0-9!_.*'()=+@:,-]+(/[A-Za-z0-9!_.*'()=+@:,-]+)*")
#: Leaves at least 500 bytes of the 1,024 that S3 allows for the escaped key.
_PREFIX_LIMIT_BYTES = 512
#: The ending of every bucket name of S3 Express One Zone.
EXPRESS: Final = "--x-s3"
#: Seconds: clocks and sockets refuse longer times, each with an error of its own.
_SECONDS_LIMIT = 10**9
#: The longest time that S3 accepts in a lifecycle rule.
_DAYS_LIMIT = 2**31 - 1


@dataclass(frozen=True)
class Near:
    """The settings of the near tier, which keeps entries in the process and on the machine: see ``near``."""

    #: Bytes of memory, overhead included.
    max_bytes: int
    #: Seconds until the store is asked whether an entry was rewritten.
    max_age: float
    #: Seconds for which a miss is remembered; 0 for not at all.
    negative: float = 0.0
    #: A directory in which the processes of this machine share entries; "" for none.
    disk: str = ""
    #: Bytes that the entries there may take, approximately.
    disk_max_bytes: int = 2**30


@dataclass(frozen=True)
class Config:
    """Everything that determines a client's behaviour; hashable, so that equal configurations share one client."""

    #: ``s3`` or ``memory``.
    scheme: str
    #: The bucket, or the name of the memory store ("" for a private one).
    bucket: str
    #: Without leading and trailing slashes; "" for the top of the bucket.
    prefix: str
    signing_key: SigningKeys | None = None
    encryption_key: EncryptionKeys | None = None
    #: Seconds: the time budget of one operation.
    timeout: float = 5.0
    transport: str = "auto"
    #: Values of this many bytes or more are compressed by zstd; ``None`` for none.
    compress_min_bytes: int | None = 1024
    #: Encoded values of more bytes are refused, on put and on get.
    max_value_bytes: int = 2**30
    #: ``refuse`` raises ``ReadOnlyError`` for writes, ``drop`` answers as if they had failed; "" allows them.
    read_only: str = ""
    #: Whether to answer as if the cache were empty while the store cannot be reached.
    fail_silently: bool = False
    #: Server-side encryption of everything written, by boto3's names, as sorted pairs.
    sse: tuple[tuple[str, str], ...] = ()
    #: Whether the store's conditional writes are trusted: see ``stores.conditions``.
    conditional_writes: str = "auto"
    #: The near tier; ``None`` for none.
    near: Near | None = None
    #: Whether to tag each entry with its time to expire in days, rounded up to a class, for lifecycle rules.
    expiry_tags: bool = False
    #: Days after which a lifecycle rule removes every entry: a longer time to expire is refused. ``None``: no rule.
    max_age_days: int | None = None
    #: Seconds: a ``get`` of an entry written longer ago gives it its full lifetime again; 0 for never.
    refresh_after: float = 0.0
    #: Settings for boto3, as sorted pairs.
    s3: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def url(self) -> str:
        """The URL in its normal form."""
        return f"{self.scheme}://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")

    @classmethod
    def parse(cls, url: str, options: Mapping[str, Any]) -> Config:
        """Check *url* and *options*, and return them frozen.

        Raises ``ConfigError`` with a message that says what to change.
        """
        unknown = sorted(set(options) - set(_CHECKS))
        if unknown:
            raise ConfigError(f"unknown option {unknown[0]!r}; known options: {', '.join(OPTIONS)}")
        checked = {name: _CHECKS[name](name, value) for name, value in options.items()}
        config = cls(*_parse_url(url), **checked)
        if config.expiry_tags and config.bucket.endswith(EXPRESS):
            raise ConfigError("expiry_tags cannot be used with S3 Express, which has no tags; use max_age_days")
        return config


def _parse_url(url: object) -> tuple[str, str, str]:
    wanted = "use s3://bucket/prefix, or memory:// to try it without S3"
    if not isinstance(url, str):
        raise ConfigError(f"the URL is a {type(url).__name__}, not a str; {wanted}")
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in ("s3", "memory"):
        shown = url.rpartition("@")[2].partition("?")[0]  # the rest may hold a secret
        raise ConfigError(f"{shown!r} is not a cache URL; {wanted}")
    if "?" in rest or "#" in rest:
        raise ConfigError("the URL must not have a query or a fragment; pass settings as options")
    bucket, _, prefix = rest.partition("/")
    if "@" in bucket or (scheme == "s3" and ":" in bucket and not bucket.startswith("arn:")):
        # Nothing of the URL is shown: it may hold a secret, and a secret may hold a slash.
        raise ConfigError("the URL holds credentials or a port; remove them: they come from the same places as boto3's")
    prefix = prefix.strip("/")
    if scheme == "s3" and not bucket:
        raise ConfigError(f"{url!r} names no bucket; {wanted}")
    if scheme == "s3" and not _BUCKET.fullmatch(bucket):
        raise ConfigError(f"{bucket!r} is not a bucket name: use 3 to 255 letters, digits, dots and dashes")
    if prefix and (not _PREFIX.fullmatch(prefix) or any(part.strip(".") == "" for part in prefix.split("/"))):
        raise ConfigError(
            f"{prefix!r} cannot be a prefix: use letters, digits and any of !_.*'()=+@:,- in parts between"
            " single slashes"
        )
    if len(prefix) > _PREFIX_LIMIT_BYTES:
        raise ConfigError(
            f"the prefix has {len(prefix)} bytes; use at most {_PREFIX_LIMIT_BYTES}, to leave room for the key"
        )
    return scheme, bucket, prefix


def _check_signing_key(name: str, value: object) -> SigningKeys | None:
    if value is None or isinstance(value, SigningKeys):
        return value
    secrets = _secrets(name, value)
    return SigningKeys.derive(secrets) if secrets else None


def _check_encryption_key(name: str, value: object) -> EncryptionKeys | None:
    if value is None or isinstance(value, EncryptionKeys):
        return value
    secrets = _secrets(name, value)
    return EncryptionKeys.derive(secrets) if secrets else None


def _secrets(name: str, value: object) -> list[bytes]:
    secrets: list[bytes] = []
    for secret in value if isinstance(value, (list, tuple)) else [value]:
        if not isinstance(secret, (str, bytes)) or not secret:
            raise ConfigError(f"{name} is a non-empty str or bytes, or a list of them")
        secrets.append(secret.encode("utf-8", "surrogatepass") if isinstance(secret, str) else secret)
    return secrets


def _check_seconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < _SECONDS_LIMIT:
        raise ConfigError(f"{name} is a positive number of seconds, not {value!r}")
    return float(value)


def _check_bytes(name: str, value: object) -> int:
    if type(value) is not int or value < 0:
        raise ConfigError(f"{name} is a number of bytes, zero or more, not {value!r}")
    return value


def _check_bytes_or_none(name: str, value: object) -> int | None:
    return None if value is None else _check_bytes(name, value)


def _check_transport(name: str, value: object) -> str:
    try:
        return _one_of(name, value, TRANSPORTS)
    except ConfigError as error:
        raise ConfigError(f"{error}; the native client of early versions was removed") from None


def _check_conditional_writes(name: str, value: object) -> str:
    return _one_of(name, value, CONDITIONAL_WRITES)


def _check_days_or_none(name: str, value: object) -> int | None:
    if value is not None and (type(value) is not int or not 1 <= value <= _DAYS_LIMIT):
        raise ConfigError(f"{name} is a number of days, 1 or more, as in a lifecycle rule; not {value!r}")
    return value


def _check_seconds_or_none(name: str, value: object) -> float:
    return 0.0 if value is None or value == 0 else _check_seconds(name, value)


def _one_of(name: str, value: object, known: tuple[str, ...]) -> str:
    if value not in known:
        raise ConfigError(f"{name} is one of {', '.join(known)}, not {value!r}")
    return str(value)


def _check_flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{name} is True or False, not {value!r}")
    return value


def _check_read_only(name: str, value: object) -> str:
    if value in (None, False, ""):
        return ""
    if value is True:
        return "refuse"
    if value not in READ_ONLY:
        raise ConfigError(f"{name} is False, 'refuse' or 'drop', not {value!r}")
    return str(value)


def _check_near(name: str, value: object) -> Near | None:
    if value is None or isinstance(value, Near):
        return value
    known = [setting.name for setting in fields(Near)]
    if not isinstance(value, Mapping) or not {"max_bytes", "max_age"} <= set(value):
        raise ConfigError(
            f"{name} is a mapping with 'max_bytes' and 'max_age' (seconds); known settings: {', '.join(known)}"
        )
    for setting in value:
        if setting not in known:
            raise ConfigError(f"unknown setting {setting!r} in {name}; known settings: {', '.join(known)}")
    disk = value.get("disk") or ""
    if not isinstance(disk, (str, os.PathLike)) or (disk and not os.path.isabs(disk)):  # noqa: PTH117 - no I/O
        raise ConfigError(f"'disk' in {name} is the absolute path of a directory, not {disk!r}")
    return Near(
        max_bytes=_check_bytes(f"'max_bytes' in {name}", value["max_bytes"]),
        max_age=_check_seconds(f"'max_age' in {name}", value["max_age"]),
        negative=_check_seconds(f"'negative' in {name}", value["negative"]) if value.get("negative") else 0.0,
        disk=os.fspath(disk),
        disk_max_bytes=_check_bytes(f"'disk_max_bytes' in {name}", value.get("disk_max_bytes", Near.disk_max_bytes)),
    )


def _check_s3(name: str, value: object) -> tuple[tuple[str, str], ...]:
    return _settings(name, value, S3_SETTINGS)


def _check_sse(name: str, value: object) -> tuple[tuple[str, str], ...]:
    settings = _settings(name, value, SSE_SETTINGS)
    if settings and "ServerSideEncryption" not in dict(settings):
        raise ConfigError(f"{name} needs 'ServerSideEncryption': 'AES256', or 'aws:kms' with an 'SSEKMSKeyId'")
    return settings


def _settings(name: str, value: object, known: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    if isinstance(value, tuple) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in value):  # noqa: PLR2004
        value = dict(value)
    if not isinstance(value, Mapping):
        raise ConfigError(f"{name} is a mapping of boto3's settings; known settings: {', '.join(known)}")
    for setting, content in value.items():
        if setting not in known:
            raise ConfigError(f"unknown setting {setting!r} in {name}; known settings: {', '.join(known)}")
        if not isinstance(content, str) or not content:
            raise ConfigError(f"{setting!r} in {name} is a non-empty str")
    return tuple(sorted(value.items()))


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "signing_key": _check_signing_key,
    "encryption_key": _check_encryption_key,
    "timeout": _check_seconds,
    "transport": _check_transport,
    "compress_min_bytes": _check_bytes_or_none,
    "max_value_bytes": _check_bytes,
    "read_only": _check_read_only,
    "fail_silently": _check_flag,
    "sse": _check_sse,
    "conditional_writes": _check_conditional_writes,
    "near": _check_near,
    "expiry_tags": _check_flag,
    "max_age_days": _check_days_or_none,
    "refresh_after": _check_seconds_or_none,
    "s3": _check_s3,
}

#: The names of all options, in the order of the documentation's table.
OPTIONS: Final = tuple(option.name for option in fields(Config) if option.name in _CHECKS)
