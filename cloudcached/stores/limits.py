"""What every store refuses by itself, since servers and transports differ in what they do about it.

An object name or metadata that one of them changes, signs wrongly or dies of would be stored under one transport and
not be found by the other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..errors import StoreRefused
from .failures import made

#: Bytes of UTF-8.
OBJECT_KEY_LIMIT_BYTES = 1024
#: Names and values together.
METADATA_LIMIT_BYTES = 2048
#: S3's own: bytes of a single PUT, parts of an object, bytes of each but the last.
PUT_LIMIT_BYTES = 5 << 30
PARTS_LIMIT = 10_000
PART_LEAST_BYTES = 5 << 20
#: Of ``delete_many``, and rows of a page of ``list``.
BATCH = 1000

#: How servers refuse a range of an empty object.
EMPTY_CODES = ("InvalidRange", "416")

_NAME = re.compile(r"[a-z0-9-]+", re.ASCII)
_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?", re.ASCII)


def check_object_key(operation: str, object_key: str) -> None:
    """Raise ``StoreRefused`` for a name that no object can have."""
    if not 0 < len(object_key) <= OBJECT_KEY_LIMIT_BYTES or (not object_key.isascii() and not _fits(object_key)):
        raise made(StoreRefused, operation, object_key[:80], "an object's name has 1 to 1,024 bytes of UTF-8")


def _fits(object_key: str) -> bool:
    try:
        return len(object_key.encode()) <= OBJECT_KEY_LIMIT_BYTES
    except UnicodeEncodeError:
        return False


def check_metadata(object_key: str, metadata: Mapping[str, str]) -> None:
    """Raise ``StoreRefused`` for metadata that would not come back as it is."""
    size = 0
    for name, value in metadata.items():
        size += len(name) + len(value)
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            text = f"metadata {name!r}: names are of a-z, 0-9 and -, values printable ASCII without outer blanks"
            raise made(StoreRefused, "put", object_key, text)
    if size > METADATA_LIMIT_BYTES:
        raise made(StoreRefused, "put", object_key, f"{size:,} bytes of metadata; at most {METADATA_LIMIT_BYTES:,}")


def check_range(object_key: str, start: int, length: int) -> None:
    """Raise ``StoreRefused`` for a range that HTTP cannot name."""
    if start < 0 or length < 1:
        raise made(StoreRefused, "get", object_key, f"no range of {length} bytes from {start}")


def check_batch(object_keys: list[str]) -> None:
    """Raise ``StoreRefused`` for more than S3 deletes at once."""
    if len(object_keys) > BATCH:
        raise made(StoreRefused, "delete", "", f"{len(object_keys):,} objects at once; at most {BATCH:,}")
