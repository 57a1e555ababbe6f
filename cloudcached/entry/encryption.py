"""Encryption of values, so that the store cannot read them: AES-256-GCM with a separate key for every write.

Each write's key is derived (HKDF-SHA256, RFC 5869) from the configured key and the entry's nonce of 256 random bits.
No key is ever used twice, so GCM's own short nonce can be constant.

A value too large for one message is a sequence of chunks (the STREAM construction: Hoang, Reyhanitabar, Rogaway and
Vizar, "Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", 2015). There GCM's nonce is the chunk's
number and whether it is the last one, so that no chunk can be left out, moved, repeated or cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .._types import Bytes
from ..errors import ConfigError, EntryRefused

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

#: Marks an encrypted entry in ``cc-encoding``, followed by a colon and the key id.
AES_GCM = "aes-gcm"
#: The same for a value encrypted in chunks.
AES_GCM_CHUNKS = "aes-gcm-chunks"
#: Content in each chunk; the last one may have less.
CHUNK_BYTES = 1 << 20
#: GCM adds a tag of this size to each message, and so to each chunk.
TAG_BYTES = 16

_SALT = b"cloudcached 1"
_CONSTANT_NONCE = bytes(12)


@dataclass(frozen=True, slots=True)
class EncryptionKeys:
    """The configured keys: the first encrypts, all decrypt."""

    #: The public key id and the secret of each key, newest first.
    secrets: tuple[tuple[str, bytes], ...] = field(repr=False)

    @classmethod
    def derive(cls, secrets: Sequence[bytes]) -> EncryptionKeys:
        """Return the keys with their public ids.

        Raises ``ConfigError`` if the ``encryption`` extra is not installed.
        """
        try:
            import cryptography  # noqa: F401, PLC0415 - an extra: better missed here than at the first put
        except ImportError as error:
            raise ConfigError("encryption_key needs an extra: pip install 'cloudcached[encryption]'") from error
        return cls(tuple((_derive(secret, b"encryption key id", 6).hex(), secret) for secret in dict.fromkeys(secrets)))

    def encrypt(self, nonce: str, object_key: str, data: Bytes) -> tuple[str, bytes]:
        """Return the mark for the metadata, and *data* encrypted with this nonce for this object."""
        key_id, secret = self.secrets[0]
        return f"{AES_GCM}:{key_id}", _cipher(secret, nonce).encrypt(_CONSTANT_NONCE, data, object_key.encode())

    def decrypt(self, mark: str, nonce: str, object_key: str, data: Bytes) -> bytes:
        """Return the original of *data*.

        Raises ``EntryRefused`` for an unknown mark or key, and if *data* was changed.
        """
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415

        if mark.startswith(f"{AES_GCM_CHUNKS}:"):
            return self.chunks_of(mark, nonce, object_key).decrypt_all(data)
        secret = self._secret(AES_GCM, mark)
        try:
            return _cipher(secret, nonce).decrypt(_CONSTANT_NONCE, data, object_key.encode())
        except InvalidTag as error:
            raise EntryRefused("encryption", "the data was changed") from error

    def chunks(self, nonce: str, object_key: str) -> tuple[str, ChunkCipher]:
        """Return the mark for the metadata, and a cipher for the chunks written with this nonce to this object."""
        key_id, secret = self.secrets[0]
        return f"{AES_GCM_CHUNKS}:{key_id}", ChunkCipher(_cipher(secret, nonce, b"chunks "), object_key.encode())

    def chunks_of(self, mark: str, nonce: str, object_key: str) -> ChunkCipher:
        """Return the cipher for the chunks of an entry.

        Raises ``EntryRefused`` for an unknown mark or key.
        """
        return ChunkCipher(_cipher(self._secret(AES_GCM_CHUNKS, mark), nonce, b"chunks "), object_key.encode())

    def _secret(self, wanted: str, mark: str) -> bytes:
        name, _, key_id = mark.partition(":")
        secret = dict(self.secrets).get(key_id)
        if name != wanted or secret is None:
            raise EntryRefused("encryption", f"encrypted as {mark[:40]!r}, with none of the configured keys")
        return secret


class ChunkCipher:
    """Encrypts and decrypts the chunks of one entry."""

    def __init__(self, cipher: AESGCM, associated: bytes) -> None:
        self._cipher = cipher
        self._associated = associated

    def encrypt(self, number: int, chunk: bytes, *, last: bool) -> bytes:
        """Return *chunk* encrypted; numbers start at 0."""
        return self._cipher.encrypt(_chunk_nonce(number, last=last), chunk, self._associated)

    def decrypt(self, number: int, chunk: bytes, *, last: bool) -> bytes:
        """Return the original of *chunk*.

        Raises ``EntryRefused`` if it was changed, or is not the chunk of that number.
        """
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415

        try:
            return self._cipher.decrypt(_chunk_nonce(number, last=last), chunk, self._associated)
        except InvalidTag as error:
            raise EntryRefused("encryption", "the data was changed") from error

    def decrypt_all(self, data: Bytes) -> bytes:
        """Return the original of all chunks, joined. Raises ``EntryRefused``."""
        step = CHUNK_BYTES + TAG_BYTES
        count = max(1, -(-len(data) // step))
        return b"".join(
            self.decrypt(number, bytes(data[number * step : (number + 1) * step]), last=number == count - 1)
            for number in range(count)
        )


def _chunk_nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


def _cipher(secret: bytes, nonce: str, label: bytes = b"entry ") -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - an extra

    return AESGCM(_derive(secret, label + nonce.encode("ascii"), 32))


def _derive(secret: bytes, label: bytes, length: int) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415

    return HKDF(algorithm=SHA256(), length=length, salt=_SALT, info=label).derive(secret)
