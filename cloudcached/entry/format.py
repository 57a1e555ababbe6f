"""The entry format: what an object's metadata and body mean.

One entry is one object. Metadata (names as S3 shows them, without ``x-amz-meta-``)::

    cc-format     2
    cc-type       str, bytes, int, float, complex, bool, none or pickle
    cc-encoding   plain or zstd; followed by +aes-gcm:KEY-ID or +aes-gcm-chunks:KEY-ID if the value is encrypted
    cc-expires    the deadline in epoch milliseconds, or never
    cc-created    epoch milliseconds
    cc-nonce      43 characters of base64url: 256 random bits, new in every write
    cc-key-id     the id of the signing key, or none
    cc-recent     only after conditional writes: the beginnings of the nonces of the previous writes, oldest first;
                  "start" stands for a write over nothing
    cc-fresh      only where stale values may be served: the soft deadline in epoch milliseconds
    cc-cost       only where entries are refreshed early: the milliseconds that it took to compute the value
    cc-signature  over all of the above (every name that begins with cc-) and the object's name

Body: the key (only under a hashed name: 2 bytes of length, UTF-8), the encoded value, and a seal of 32 bytes over the
nonce and everything before it. The nonce makes the bytes of every write unique. Without it, S3's ETag, the MD5 of the
body alone, could not tell two writes of one value apart.

The checks on reading, in this order: format, signature, size, expiry (the body of an expired entry is never requested),
seal, decryption if there is any, decompression with a limit, decoding. If one fails, ``EntryRefused`` is raised.

An entry with another number in ``cc-format`` is not damaged: another version wrote it. Its ``EntryRefused`` has the reason
``OTHER_FORMAT``, and nothing else in it is looked at.
"""

from __future__ import annotations

import base64
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

from .._types import Bytes
from ..errors import EntryRefused, ValueTooLarge
from . import values
from .compression import ZSTD, compress, decompress
from .encryption import AES_GCM, EncryptionKeys
from .keys import KEY_LIMIT_BYTES
from .signing import PLAIN, SEAL_BYTES, UNSIGNED, SigningKeys, digests_match
from .streams import SealedStream, Sealing, Unsealing

FORMAT = "2"
#: The reason for which an entry with another number is refused.
OTHER_FORMAT = "other-format"
#: The type of content that is stored and read unchanged.
BYTES = "bytes"
#: The first link in the chain of conditional writes that began with a write over nothing.
START = "start"
#: S3's limit for an object's metadata.
METADATA_LIMIT_BYTES = 2048

_PLAIN_ENCODING = "plain"
_NEVER = "never"
_NONCE = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
#: The year 9999 in milliseconds has this many digits.
_NUMBER_LIMIT_CHARS = 15
_NUMBER = re.compile(r"[0-9]{1,15}", re.ASCII)
#: The formats that there may be.
_FORMATS = re.compile(r"[1-9][0-9]{0,5}", re.ASCII)
#: The names that every entry has, in the order in which they are signed, and then the signature itself.
_REQUIRED = ("cc-type", "cc-encoding", "cc-expires", "cc-created", "cc-nonce", "cc-key-id", "cc-format", "cc-signature")
#: The names that an entry may have, signed after the others, each with its value.
_OPTIONAL = ("cc-recent", "cc-fresh", "cc-cost")
_KNOWN = frozenset(_REQUIRED + _OPTIONAL)
_required_of = itemgetter(*_REQUIRED)
_signed_of = itemgetter(*_REQUIRED[:-1])
_RECENT = re.compile(r"(?:start|[A-Za-z0-9_-]{11})(?: [A-Za-z0-9_-]{11}){0,31}", re.ASCII)
#: 66 bits of each nonce: enough to tell 32 of them apart, and few enough to keep the list within S3's 2 KB.
_SHORT_NONCE_CHARS = 11
_RECENT_LIMIT = 32
_KEY_LENGTH_BYTES = 2
#: A body may hold this much besides the value.
_OVERHEAD_BYTES = _KEY_LENGTH_BYTES + KEY_LIMIT_BYTES + SEAL_BYTES


class Meta(NamedTuple):
    """An entry's verified metadata."""

    type: str
    encoding: str
    #: Epoch milliseconds, ``None`` for never.
    expires_ms: int | None
    created_ms: int
    nonce: str = ""
    key_id: str = ""
    #: Beginnings of the nonces of the conditional writes before this one, oldest first.
    recent: tuple[str, ...] = ()
    #: How the value is encrypted; "" if it is not.
    cipher: str = ""
    #: The soft deadline in epoch milliseconds, from which the value is stale. ``None``: there is only ``expires_ms``.
    fresh_ms: int | None = None
    #: Milliseconds that it took to compute the value; ``None`` if that was not measured.
    cost_ms: int | None = None

    @property
    def chain(self) -> tuple[str, ...]:
        """Return the ``recent`` of the next conditional write over this entry."""
        return (*self.recent, self.nonce[:_SHORT_NONCE_CHARS])[-_RECENT_LIMIT:]

    def was_written(self, nonce: str) -> bool:
        """Whether this entry is the write *nonce*, or followed it in a chain of conditional writes."""
        return self.nonce == nonce or nonce[:_SHORT_NONCE_CHARS] in self.recent

    def follows(self, nonce: str | None) -> bool:
        """Whether the chain reaches back to the write *nonce*; ``None``: to a write over nothing."""
        return (START if nonce is None else nonce[:_SHORT_NONCE_CHARS]) in self.recent


@dataclass(frozen=True, slots=True)
class Packed:
    """An entry ready to be written."""

    body: bytes | SealedStream
    metadata: dict[str, str]
    nonce: str
    #: The deadline in epoch milliseconds, ``None`` for never.
    expires_ms: int | None


#: The source of an entry's body: encoded data, or a function that makes the stream of it.
Data: TypeAlias = "Bytes | Callable[[Sealing], SealedStream]"


class Place(NamedTuple):
    """The place of an entry: its key, the name of its object, and whether that name is a hash."""

    key: str
    object_key: str
    hashed: bool


@dataclass(frozen=True, slots=True)
class EntryInfo:
    """An entry's metadata; the body was not read."""

    #: The public name, which pickles hold: this module may move, and stored values must outlive that.
    __module__ = "cloudcached"

    key: str
    object_key: str
    #: ``str``, ``bytes``, ``int``, ``float``, ``complex``, ``bool``, ``none`` or ``pickle``.
    type: str
    #: ``plain`` or ``zstd``, followed by ``+aes-gcm:KEY-ID`` if the value is encrypted.
    encoding: str
    #: Bytes of the object's body.
    size: int
    #: Epoch seconds.
    created: float
    #: Epoch seconds, ``None`` for never.
    expires: float | None
    etag: str
    #: The id of the signing key, or ``none``.
    key_id: str


class Codec:
    """Packs values into entries, and unpacks the entries that it can verify."""

    def __init__(
        self,
        *,
        signing_key: SigningKeys | None = None,
        encryption_key: EncryptionKeys | None = None,
        compress_min_bytes: int | None = 1024,
        max_value_bytes: int = 2**30,
    ) -> None:
        keys = signing_key
        self._signer = keys.signers[0] if keys else PLAIN
        self._signers = {signer.key_id: signer for signer in keys.signers} if keys else {UNSIGNED: PLAIN}
        self._trusted = keys is not None
        self._encryption = encryption_key
        self._compress_min_bytes = compress_min_bytes
        self._max_value_bytes = max_value_bytes
        #: Bytes: larger bodies are not loaded into memory.
        self.limit = self._max_value_bytes + _OVERHEAD_BYTES

    def serialize(self, value: Any) -> values.Encoded:
        """Return *value* encoded, to be passed to ``encode`` in its place. Raises ``ValueRejected``."""
        return values.encode(value, trusted=self._trusted)

    def encode(self, value: Any, *, expires_ms: int | None, created_ms: int) -> tuple[Meta, Bytes]:
        """Return the metadata and the encoded data of *value*, both for ``pack``.

        Raises ``ValueRejected`` if it cannot be stored, ``ValueTooLarge`` if it is over ``max_value_bytes``.
        """
        tag, data = self.serialize(value)
        if len(data) > self._max_value_bytes:
            raise ValueTooLarge(
                f"the value has {len(data):,} bytes, more than max_value_bytes = {self._max_value_bytes:,}"
            )
        compressed = compress(data, self._compress_min_bytes)
        if compressed is None:
            return Meta(tag, _PLAIN_ENCODING, expires_ms, created_ms), data
        return Meta(tag, ZSTD, expires_ms, created_ms), compressed

    def content(self, *, expires_ms: int | None, created_ms: int) -> Meta:
        """Return the metadata of streamed content: ``bytes``, unchanged."""
        return Meta(BYTES, _PLAIN_ENCODING, expires_ms, created_ms)

    def pack(self, place: Place, meta: Meta, data: Data) -> Packed:
        """Return an entry of encoded *data*, with a new nonce and the current keys instead of those in *meta*."""
        signer = self._signer
        nonce = base64.urlsafe_b64encode(os.urandom(32))[:43].decode("ascii")
        encoding = meta.encoding
        chunks = None
        if self._encryption is not None:
            if callable(data):
                cipher, chunks = self._encryption.chunks(nonce, place.object_key)
            else:
                cipher, data = self._encryption.encrypt(nonce, place.object_key, data)
            encoding = f"{encoding}+{cipher}"
        metadata = {
            "cc-format": FORMAT,
            "cc-type": meta.type,
            "cc-encoding": encoding,
            "cc-expires": _NEVER if meta.expires_ms is None else str(meta.expires_ms),
            "cc-created": str(meta.created_ms),
            "cc-nonce": nonce,
            "cc-key-id": signer.key_id,
        }
        if meta.recent:
            metadata["cc-recent"] = " ".join(meta.recent)
        if meta.fresh_ms is not None:
            metadata["cc-fresh"] = str(meta.fresh_ms)
        if meta.cost_ms is not None:
            metadata["cc-cost"] = str(meta.cost_ms)
        metadata["cc-signature"] = signer.sign(_canonical(place.object_key, metadata))
        inner_key = _inner_key(place)
        if callable(data):
            return Packed(data(Sealing(signer, nonce, inner_key, chunks)), metadata, nonce, meta.expires_ms)
        payload = b"".join((inner_key, data)) if inner_key else data
        return Packed(b"".join((payload, signer.seal(nonce, payload))), metadata, nonce, meta.expires_ms)

    def check(self, object_key: str, metadata: Mapping[str, str], size: int) -> Meta:
        """Return the metadata of an entry, after verifying its signature. Raises ``EntryRefused``.

        One function, since every ``get`` comes through here: code that runs after a wait for the network runs cold,
        and each call in it costs microseconds.
        """
        try:
            type_tag, encoding, expires, created, nonce, key_id, version, signature = _required_of(metadata)
        except KeyError as error:
            raise _unreadable(metadata, f"{error} is missing") from error
        if version != FORMAT:
            raise _unreadable(metadata, f"{version[:40]!r} is not the number of a format")
        signer = self._signers.get(key_id)
        if signer is None:
            raise _unknown_key(key_id)
        canonical = _canonical(object_key, metadata)
        if len(canonical) > METADATA_LIMIT_BYTES + len(object_key):
            raise EntryRefused("format", "the metadata is over 2 KB")
        if not (signature.isascii() and digests_match(signer.sign(canonical), signature)):
            raise EntryRefused("signature", "the metadata was changed, or belongs to another object")
        if size < SEAL_BYTES:
            raise EntryRefused("size", "shorter than a seal")
        if not _NONCE.fullmatch(nonce) or max(len(expires), len(created)) > _NUMBER_LIMIT_CHARS:
            raise EntryRefused("format", "invalid nonce, deadline or creation time")
        recent = metadata.get("cc-recent")
        if recent is not None and not _RECENT.fullmatch(recent):
            raise EntryRefused("format", "invalid list of recent nonces")
        try:
            expires_ms, created_ms = None if expires == _NEVER else int(expires), int(created)
        except ValueError as error:
            raise EntryRefused("format", str(error)) from error
        chain = tuple(recent.split(" ")) if recent else ()
        encoding, _, cipher = encoding.partition("+")
        fresh_ms, cost_ms = _fresh_and_cost(metadata) if len(metadata) > len(_REQUIRED) else (None, None)
        return Meta(type_tag, encoding, expires_ms, created_ms, nonce, key_id, chain, cipher, fresh_ms, cost_ms)

    def check_size(self, size: int) -> None:
        """Raise ``EntryRefused`` for a body too large to be loaded into memory."""
        if size > self.limit:
            raise too_large(size)

    def unsealing(self, place: Place, meta: Meta, size: int) -> Unsealing | None:
        """Return the ``Unsealing`` of a body of *size* bytes, or ``None`` if the body must be read as a whole.

        Raises ``EntryRefused``.
        """
        chunks = None
        if meta.encoding != _PLAIN_ENCODING or meta.cipher.startswith(f"{AES_GCM}:"):
            return None
        if meta.cipher:
            if self._encryption is None:
                raise EntryRefused("encryption", "the value is encrypted, and no encryption_key is set")
            chunks = self._encryption.chunks_of(meta.cipher, meta.nonce, place.object_key)
        inner_key = _inner_key(place)
        return Unsealing(self._signers[meta.key_id], meta.nonce, inner_key, chunks, size)

    def open(self, place: Place, meta: Meta, body: Bytes) -> Bytes:
        """Return the encoded data of a body, after verifying its seal. Raises ``EntryRefused``."""
        view = memoryview(body)
        if len(view) < SEAL_BYTES:
            raise EntryRefused("size", "shorter than a seal")
        payload, seal = view[:-SEAL_BYTES], view[-SEAL_BYTES:]
        if not digests_match(self._signers[meta.key_id].seal(meta.nonce, payload), seal):
            raise EntryRefused("seal", "the body was changed")
        if place.hashed:
            inner_key = _inner_key(place)
            if payload[: len(inner_key)] != inner_key:
                raise EntryRefused("key", "the entry belongs to another key")
            payload = payload[len(inner_key) :]
        if not meta.cipher:
            return payload
        if self._encryption is None:
            raise EntryRefused("encryption", "the value is encrypted, and no encryption_key is set")
        return self._encryption.decrypt(meta.cipher, meta.nonce, place.object_key, payload)

    def open_pieces(self, place: Place, meta: Meta, size: int, pieces: Iterable[Bytes]) -> Bytes:
        """Do the same as ``open`` with a body of *size* bytes in pieces, taking new memory for it only once."""
        unsealing = self.unsealing(place, meta, size)
        if unsealing is None:
            return self.open(place, meta, b"".join(pieces))
        content = io.BytesIO()
        unsealing.feed(pieces, content.write)
        unsealing.finish(content.write)
        return content.getvalue()

    def decode(self, meta: Meta, data: Bytes) -> Any:
        """Return the value of opened *data*. Raises ``EntryRefused``."""
        if meta.encoding == ZSTD:
            data = decompress(data, self._max_value_bytes)
        elif meta.encoding != _PLAIN_ENCODING:
            raise EntryRefused("encoding", f"unknown encoding {meta.encoding!r}")
        elif len(data) > self._max_value_bytes:
            raise EntryRefused("size", f"{len(data):,} bytes are more than max_value_bytes = {self._max_value_bytes:,}")
        return values.decode(meta.type, data, trusted=self._trusted)

    def inner_key(self, meta: Meta, body: Bytes, *, whole: bool = True) -> str:
        """Return the key stored inside an entry under a hashed name; the caller compares its hash with the name.

        whole: False if *body* is only the beginning, whose seal cannot be checked. Raises ``EntryRefused``.
        """
        view = memoryview(body)
        payload = view[:-SEAL_BYTES]
        if whole and not digests_match(self._signers[meta.key_id].seal(meta.nonce, payload), view[-SEAL_BYTES:]):
            raise EntryRefused("seal", "the body was changed")
        end = _KEY_LENGTH_BYTES + int.from_bytes(payload[:_KEY_LENGTH_BYTES], "big")
        try:
            return bytes(payload[_KEY_LENGTH_BYTES:end]).decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            raise EntryRefused("key", "the key inside the body is not UTF-8") from error


def too_large(size: int) -> EntryRefused:
    """Return the refusal of a body too large to be loaded into memory."""
    return EntryRefused("size", f"{size:,} bytes are more than max_value_bytes; read it by get_file")


def _unreadable(metadata: Mapping[str, str], otherwise: str) -> EntryRefused:
    """Return the refusal of metadata in another format; *otherwise*: what is wrong with it if it is in none."""
    version = metadata.get("cc-format", "")
    if version != FORMAT and _FORMATS.fullmatch(version):
        return EntryRefused(OTHER_FORMAT, f"it is in format {version}, and this version reads format {FORMAT}")
    return EntryRefused("format", otherwise)


def _unknown_key(key_id: str) -> EntryRefused:
    if key_id == UNSIGNED:
        return EntryRefused("unsigned", "the entry is not signed")
    return EntryRefused("key-id", f"signed with key {key_id[:40]!r}, which is not one of the configured keys")


def _fresh_and_cost(metadata: Mapping[str, str]) -> Iterator[int | None]:
    """Yield the soft deadline and the cost, ``None`` for each that is not there."""
    for name in ("cc-fresh", "cc-cost"):
        number = metadata.get(name)
        if number is not None and not _NUMBER.fullmatch(number):
            raise EntryRefused("format", f"{name} is not a number")
        yield None if number is None else int(number)


def _inner_key(place: Place) -> bytes:
    """Return the key as the body holds it; nothing unless the name is a hash."""
    if not place.hashed:
        return b""
    encoded = place.key.encode("utf-8", "surrogatepass")
    return len(encoded).to_bytes(_KEY_LENGTH_BYTES, "big") + encoded


def _canonical(object_key: str, metadata: Mapping[str, str]) -> bytes:
    """Return the bytes to sign: the object's name and all of our metadata but the signature, in a fixed order.

    Values cannot hold a newline: HTTP has no way to carry one. Raises ``EntryRefused`` for a name of ours that this
    version does not know: the signature would not cover it.
    """
    signed = (object_key, *_signed_of(metadata))
    if len(metadata) > len(_REQUIRED) - ("cc-signature" not in metadata):  # something optional, or foreign
        unknown = [name for name in metadata if name.startswith("cc-") and name not in _KNOWN]
        if unknown:
            raise EntryRefused("format", f"unknown metadata {unknown[0][:40]!r}")
        signed += tuple(f"{name}={metadata[name]}" for name in _OPTIONAL if name in metadata)
    return "\n".join(signed).encode("utf-8", "surrogatepass")
