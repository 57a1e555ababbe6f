"""Limits that every store checks itself, since servers and transports handle them differently.

If one transport changed an object name or metadata, signed it wrongly or crashed on it, the other would not find what
the first had stored.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from ..errors import StoreRefused
from .failures import made

#: Bytes of UTF-8.
OBJECT_KEY_LIMIT_BYTES = 1024
#: Names and values together.
METADATA_LIMIT_BYTES = 2048
#: S3's own limits: bytes of a single PUT, parts of an object, bytes of each part but the last.
PUT_LIMIT_BYTES = 5 << 30
PARTS_LIMIT = 10_000
PART_LEAST_BYTES = 5 << 20
#: Objects of one ``delete_many``, and rows of one page of ``list``.
BATCH = 1000

#: The codes by which servers refuse a range of an empty object.
EMPTY_CODES = ("InvalidRange", "416")

#: For all names, or all values, as lines: every ``put`` passes here, and one match costs less than one for each.
_NAMES = re.compile(r"(?:[a-z0-9-]+\n)*", re.ASCII)
_VALUES = re.compile(r"(?:[!-~](?:[ -~]*[!-~])?\n)*", re.ASCII)


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
    """Raise ``StoreRefused`` for metadata that would not come back unchanged."""
    if not _are(_NAMES, metadata) or not _are(_VALUES, metadata.values()):
        wrong = next(name for name in metadata if not _are(_NAMES, [name]) or not _are(_VALUES, [metadata[name]]))
        text = f"metadata {wrong!r}: names are of a-z, 0-9 and -, values printable ASCII without outer blanks"
        raise made(StoreRefused, "put", object_key, text)
    size = sum(map(len, metadata)) + sum(map(len, metadata.values()))
    if size > METADATA_LIMIT_BYTES:
        raise made(StoreRefused, "put", object_key, f"{size:,} bytes of metadata; at most {METADATA_LIMIT_BYTES:,}")


def _are(pattern: re.Pattern[str], texts: Collection[str]) -> bool:
    lines = "".join([f"{text}\n" for text in texts])
    return lines.count("\n") == len(texts) and pattern.fullmatch(lines) is not None


def check_range(object_key: str, start: int, length: int) -> None:
    """Raise ``StoreRefused`` for a range that HTTP cannot express."""
    if start < 0 or length < 1:
        raise made(StoreRefused, "get", object_key, f"{length} bytes from {start} are not a range")


def check_batch(object_keys: list[str]) -> None:
    """Raise ``StoreRefused`` for more objects than S3 deletes at once."""
    if len(object_keys) > BATCH:
        raise made(StoreRefused, "delete", "", f"{len(object_keys):,} objects at once; at most {BATCH:,}")
