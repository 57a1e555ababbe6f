"""Keys and the names of the objects that hold them.

An entry's object is ``prefix/hh/name``: *name* is the key escaped to a safe alphabet, *hh* two hex digits of a
checksum of the name, because S3 spreads its load by the beginnings of names. A listed object is ours only if it has
exactly that form and *hh* matches, so caches in neighbouring or nested prefixes never touch each other.
"""

from __future__ import annotations

import hashlib
import re
import string
import zlib
from urllib.parse import quote_from_bytes, unquote_to_bytes

from ..errors import KeyRejected

#: S3's limit for the name of an object.
OBJECT_KEY_LIMIT_BYTES = 1024
#: Longer keys are refused: a key under a hashed name is stored in the entry, next to the value.
KEY_LIMIT_BYTES = 16 * 1024

#: The segment for locks and other objects that are not entries; entries have 256 segments of their own.
RESERVED = "_cloudcached"

_SAFE = "!*'():,=@"
#: Removes the characters that need no escape ("~" may need one): most keys leave nothing. Cheaper than a pattern.
_WITHOUT_PLAIN = str.maketrans("", "", f"{string.ascii_letters}{string.digits}_.-{_SAFE}")
_HASHED = re.compile(r"~[0-9a-f]{64}")
#: The empty key's name: escaping never produces a lone "%".
_EMPTY = "%"


def escape(key: str) -> str:
    """Return *key* in letters, digits and ``_-.~!*'():,=@``, everything else as ``%XX`` of its UTF-8.

    Different keys have different names. Only hashed names start with "~", so a key's own leading "~" is escaped. Names
    of nothing but dots are escaped too: some clients take them for path segments.
    """
    if not key.translate(_WITHOUT_PLAIN) and key.strip("."):
        return key
    if not key:
        return _EMPTY
    if not key.strip("."):
        return key.replace(".", "%2E")
    name = quote_from_bytes(key.encode("utf-8", "surrogatepass"), safe=_SAFE)
    return f"%7E{name[1:]}" if name[0] == "~" else name


def unescape(name: str) -> str | None:
    """Return the key of an escaped name, or ``None`` if no key has that name."""
    if name == _EMPTY:
        return ""
    if not name.translate(_WITHOUT_PLAIN) and name.strip("."):
        return name
    try:
        key = unquote_to_bytes(name).decode("utf-8", "surrogatepass")
    except UnicodeError:
        return None
    return key if escape(key) == name else None


class Names:
    """The names of one cache's objects."""

    def __init__(self, prefix: str) -> None:
        #: The beginning of the name of every object of this cache: "" or ``prefix/``.
        self.root = f"{prefix}/" if prefix else ""

    def object_key(self, key: str) -> tuple[str, bool]:
        """Return the name of *key*'s object, and whether it is a hash, so that the key must be stored inside.

        Raises ``KeyRejected`` for a key that is not a ``str`` or longer than 16 KB.
        """
        if not isinstance(key, str):
            raise KeyRejected(f"a key is a str, not {type(key).__name__}; convert it first, for example by str(key)")
        if type(key) is not str:
            key = str.__str__(key)  # a str enum's member would be formatted as its name below
        name = escape(key)
        hashed = len(self.root) + 3 + len(name) > OBJECT_KEY_LIMIT_BYTES
        if hashed:
            encoded = key.encode("utf-8", "surrogatepass")
            if len(encoded) > KEY_LIMIT_BYTES:
                raise KeyRejected(f"the key has {len(encoded):,} bytes; at most {KEY_LIMIT_BYTES:,}: hash it first")
            name = f"~{hashlib.sha256(encoded).hexdigest()}"
        return f"{self.root}{shard(name)}/{name}", hashed

    def is_hash_of(self, object_key: str, key: str) -> bool:
        """Whether *object_key* is the hashed name of *key*, which may come from an untrusted body."""
        try:
            return self.object_key(key) == (object_key, True)
        except KeyRejected:
            return False

    def reserved(self, kind: str, name: str) -> str:
        """Return the name of an object that is not an entry, such as a lock. No key has that name."""
        escaped = escape(name)
        object_key = f"{self.root}{RESERVED}/{kind}/{escaped}"
        if len(object_key) > OBJECT_KEY_LIMIT_BYTES:
            digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
            object_key = f"{self.root}{RESERVED}/{kind}/~{digest}"
        return object_key

    def is_ours(self, object_key: str) -> bool:
        """Whether a listed object is an entry of this cache."""
        return self.parsed(object_key)[0]

    def key_of(self, object_key: str) -> str | None:
        """Return the key of an entry's object; ``None`` for a hashed name (its key is inside) and a foreign object."""
        return self.parsed(object_key)[1]

    def parsed(self, object_key: str) -> tuple[bool, str | None]:
        """Return ``is_ours`` and ``key_of`` of an object at once: a listing needs both for each row."""
        if not object_key.startswith(self.root):
            return False, None
        digits, separator, name = object_key[len(self.root) :].partition("/")
        if not separator or not name or "/" in name or digits != shard(name):
            return False, None
        if name[0] == "~":
            return _HASHED.fullmatch(name) is not None, None
        key = unescape(name)
        return key is not None, key


def shard(name: str) -> str:
    """Return the two hex digits that come before *name* in the object's name."""
    return f"{zlib.crc32(name.encode('ascii', 'replace')) & 0xFF:02x}"
