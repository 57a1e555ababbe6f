"""Values that the store cannot read: AES-256-GCM with a key of its own for every write.

Each write's key is derived (HKDF-SHA256, RFC 5869) from the configured key and the entry's nonce of 256 random bits,
so that GCM's own short nonce can be constant: no key is ever used twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ._types import Bytes
from .errors import ConfigError, EntryRefused

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

#: Marks an encrypted entry in ``cc-encoding``, followed by a colon and the key id.
AES_GCM = "aes-gcm"

_SALT = b"cloudcached 1"
_CONSTANT_NONCE = bytes(12)


@dataclass(frozen=True, slots=True)
class EncryptionKeys:
    """The configured keys: the first encrypts, all decrypt."""

    #: Public key id and secret of each, newest first.
    secrets: tuple[tuple[str, bytes], ...] = field(repr=False)

    @classmethod
    def derive(cls, secrets: Sequence[bytes]) -> EncryptionKeys:
        """Return the keys with their public ids.

        Raises ``ConfigError`` without the ``encryption`` extra.
        """
        try:
            import cryptography  # noqa: F401, PLC0415 - an extra: found missing here, not at the first put
        except ImportError as error:
            raise ConfigError("encryption_key needs an extra: pip install 'cloudcached[encryption]'") from error
        return cls(tuple((_derive(secret, b"encryption key id", 6).hex(), secret) for secret in dict.fromkeys(secrets)))

    def encrypt(self, nonce: str, object_key: str, data: Bytes) -> tuple[str, bytes]:
        """Return the mark for the metadata, and *data* encrypted for this nonce and object."""
        key_id, secret = self.secrets[0]
        return f"{AES_GCM}:{key_id}", _cipher(secret, nonce).encrypt(_CONSTANT_NONCE, data, object_key.encode())

    def decrypt(self, mark: str, nonce: str, object_key: str, data: Bytes) -> bytes:
        """Return the original of *data*.

        Raises ``EntryRefused`` for an unknown mark or key, and for data that was changed.
        """
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415

        name, _, key_id = mark.partition(":")
        secret = dict(self.secrets).get(key_id)
        if name != AES_GCM or secret is None:
            raise EntryRefused("encryption", f"encrypted as {mark[:40]!r}, for none of the configured keys")
        try:
            return _cipher(secret, nonce).decrypt(_CONSTANT_NONCE, data, object_key.encode())
        except InvalidTag as error:
            raise EntryRefused("encryption", "the data was changed") from error


def _cipher(secret: bytes, nonce: str) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - an extra

    return AESGCM(_derive(secret, b"entry " + nonce.encode("ascii"), 32))


def _derive(secret: bytes, label: bytes, length: int) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415

    return HKDF(algorithm=SHA256(), length=length, salt=_SALT, info=label).derive(secret)
