"""Seals and signatures: who wrote an entry, and whether it is complete and unchanged.

From each signing key (any bytes) three things are derived with HKDF-SHA256 (RFC 5869) under fixed labels: the key of
the body's seal, the key of the metadata's signature, and the public key id by which readers find the key. Seal and
signature are BLAKE3 of 256 bits, in its keyed mode. The algorithm is fixed here and never read from an entry.

Without a signing key both are BLAKE3 without a key: they detect damage, and prove nothing about the writer. A constant
for a key would do the same, look as if it proved something, and keep ``b3sum`` from checking a body.

One algorithm for both, at every size. BLAKE3 hashes 64 KB in 16 us (SHA-256 in 37, BLAKE2b in 71) and 8 MB in 2.0 ms
(4.9, 9.7). A few hundred bytes of metadata take 1.1 us by either BLAKE while it is warm. Right after a wait for the
network the first BLAKE3 takes 25 us, the first BLAKE2b 16; but a seal follows the signature, and both take 28 us by
BLAKE3 alone, 32 by one each.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from blake3 import blake3

from .._types import Bytes

SEAL_BYTES = 32
#: A seal of a payload that is still to come: ``update`` it with each piece, then take its ``digest``.
Seal: TypeAlias = blake3
#: The key id of unsigned entries.
UNSIGNED = "none"

_SALT = b"cloudcached 1"


def derive_key(secret: bytes, label: bytes, length: int = 32) -> bytes:
    """Return *length* bytes (at most 32) derived from *secret* for *label* (HKDF-SHA256, RFC 5869)."""
    # Not hmac.digest, which lets go of Python's lock and takes OpenSSL's: a child forked meanwhile waits for it for ever.
    extracted = hmac.new(_SALT, secret, "sha256").digest()
    return hmac.new(extracted, label + b"\x01", "sha256").digest()[:length]


@dataclass(frozen=True, slots=True)
class Signer:
    """Seals bodies and signs metadata with the keys derived from one signing key; without keys, by plain digests."""

    key_id: str
    #: ``None`` is for BLAKE3 what it is here, though its types do not say so.
    seal_key: bytes | None = field(default=None, repr=False)
    metadata_key: bytes | None = field(default=None, repr=False)

    def seal(self, nonce: str, payload: Bytes) -> bytes:
        """Return the 32 bytes that follow *payload* in the body."""
        return self.sealing(nonce).update(payload).digest()

    def sealing(self, nonce: str) -> Seal:
        """Return the seal of a payload that is still to come.

        It hashes in the calling thread: threads of its own made it slower on 2 busy cores, and do not survive a fork.
        """
        return blake3(nonce.encode("ascii"), key=self.seal_key)  # type: ignore[arg-type]

    def sign(self, canonical: bytes) -> str:
        """Return the signature of the canonical list of metadata, as 64 hex digits."""
        return blake3(canonical, key=self.metadata_key).hexdigest()  # type: ignore[arg-type]


#: Writes and reads entries where no signing key is set.
PLAIN = Signer(UNSIGNED)


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """The configured keys: the first signs, all verify."""

    signers: tuple[Signer, ...]

    @classmethod
    def derive(cls, secrets: Sequence[bytes]) -> SigningKeys:
        """Return the keys derived from *secrets*, newest first."""
        return cls(
            tuple(
                Signer(
                    key_id=derive_key(secret, b"key id", 6).hex(),
                    seal_key=derive_key(secret, b"seal by BLAKE3"),
                    metadata_key=derive_key(secret, b"metadata by BLAKE3"),
                )
                for secret in dict.fromkeys(secrets)
            )
        )


#: Compares two bytes, or two ASCII strings, in constant time.
digests_match = hmac.compare_digest
