"""Seals and signatures: who wrote an entry, and whether it is whole.

From each signing key (any bytes) three things are derived with HKDF-SHA256 (RFC 5869) under fixed labels: the key of
the body's seal, the key of the metadata's signature, and the public key id by which readers find the key. The
algorithm is fixed here and never read from an entry. Without a signing key both are plain SHA-256 digests: they find
damage, and prove nothing about the writer.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field

from ._types import Bytes

SEAL_BYTES = 32
#: The key id of entries that nobody signed.
UNSIGNED = "none"

_SALT = b"cloudcached 1"


def derive_key(secret: bytes, label: bytes, length: int = 32) -> bytes:
    """Return *length* (at most 32) bytes that depend on *secret* and *label* (HKDF-SHA256, RFC 5869)."""
    extracted = hmac.digest(_SALT, secret, "sha256")
    return hmac.digest(extracted, label + b"\x01", "sha256")[:length]


@dataclass(frozen=True, slots=True)
class Signer:
    """Seals bodies and signs metadata with the keys derived from one signing key; ``None`` keys: plain digests."""

    key_id: str
    seal_key: bytes | None = field(default=None, repr=False)
    metadata_key: bytes | None = field(default=None, repr=False)

    def seal(self, nonce: str, payload: Bytes) -> bytes:
        """Return the 32 bytes that follow *payload* in the body.

        The payload goes in by its SHA-256, so that a large one is neither copied nor hashed twice.
        """
        return _digest(self.seal_key, nonce.encode("ascii") + hashlib.sha256(payload).digest())

    def sign(self, canonical: bytes) -> str:
        """Return the signature of the canonical list of metadata, as 43 characters of base64url."""
        return base64.urlsafe_b64encode(_digest(self.metadata_key, canonical))[:43].decode("ascii")


def _digest(key: bytes | None, message: bytes) -> bytes:
    return hashlib.sha256(message).digest() if key is None else hmac.digest(key, message, "sha256")


#: What writes and reads where no signing key is set.
PLAIN = Signer(UNSIGNED)


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """The configured keys: the first signs, all verify."""

    signers: tuple[Signer, ...]

    @classmethod
    def derive(cls, secrets: Sequence[bytes]) -> SigningKeys:
        """Return the derived keys of *secrets*, newest first."""
        return cls(
            tuple(
                Signer(
                    key_id=derive_key(secret, b"key id", 6).hex(),
                    seal_key=derive_key(secret, b"seal"),
                    metadata_key=derive_key(secret, b"metadata"),
                )
                for secret in dict.fromkeys(secrets)
            )
        )


def same(left: Bytes, right: Bytes) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(left, right)
