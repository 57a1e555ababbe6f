"""Seals and signatures: who wrote an entry, and whether it is complete and unchanged.

From each signing key (any bytes) three things are derived with HKDF-SHA256 (RFC 5869) under fixed labels: the key of
the body's seal, the key of the metadata's signature, and the public key id by which readers find the key. Seal and
signature are keyed BLAKE2b (RFC 7693) of 256 bits: after each wait for the network, HMAC with OpenSSL costs four times
as much. The algorithm is fixed here and never read from an entry. Without a signing key both are plain digests: they
detect damage, and prove nothing about the writer.

The seal of a large payload is over the SHA-256 of each of its leaves. That takes half of BLAKE2b's time on processors
with SHA instructions, lets each range of a download be hashed by the thread that fetched it, and S3's own signature of
an uploaded part needs that hash anyway.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b, sha256
from typing import Final

from .._types import Bytes

SEAL_BYTES = 32
#: Payloads of this size or more are sealed as leaves of this size; the last one may be shorter.
LEAF_BYTES: Final = 8 << 20
#: The key id of unsigned entries.
UNSIGNED = "none"

_SALT = b"cloudcached 1"
#: Makes a seal over leaves differ from the seal of a payload that consists of their digests.
_LEAVES = b"leaves"


def derive_key(secret: bytes, label: bytes, length: int = 32) -> bytes:
    """Return *length* bytes (at most 32) derived from *secret* for *label* (HKDF-SHA256, RFC 5869)."""
    extracted = hmac.digest(_SALT, secret, "sha256")
    return hmac.digest(extracted, label + b"\x01", "sha256")[:length]


@dataclass(frozen=True, slots=True)
class Signer:
    """Seals bodies and signs metadata with the keys derived from one signing key; with empty keys, by plain digests."""

    key_id: str
    seal_key: bytes = field(default=b"", repr=False)
    metadata_key: bytes = field(default=b"", repr=False)

    def seal(self, nonce: str, payload: Bytes) -> bytes:
        """Return the 32 bytes that follow *payload* in the body."""
        if len(payload) >= LEAF_BYTES:
            seal = self.sealing(nonce, len(payload))
            seal.update(payload)
            return seal.digest()
        digest = blake2b(nonce.encode("ascii"), key=self.seal_key, digest_size=SEAL_BYTES)
        digest.update(payload)
        return digest.digest()

    def sealing(self, nonce: str, size: int) -> Seal:
        """Return the seal of a payload of *size* bytes, still to be given the payload in pieces."""
        person = _LEAVES if size >= LEAF_BYTES else b""
        root = blake2b(nonce.encode("ascii"), key=self.seal_key, digest_size=SEAL_BYTES, person=person)
        return Seal(root, in_leaves=size >= LEAF_BYTES)

    def sign(self, canonical: bytes) -> str:
        """Return the signature of the canonical list of metadata, as 64 hex digits."""
        return blake2b(canonical, key=self.metadata_key, digest_size=32).hexdigest()


class Seal:
    """The seal of a payload that comes in pieces, or as the digests of its leaves."""

    def __init__(self, root: blake2b, *, in_leaves: bool) -> None:
        self.in_leaves = in_leaves
        self._root = root
        self._leaf = sha256()
        self._room = LEAF_BYTES

    def update(self, piece: Bytes) -> None:
        """Take the next piece of the payload."""
        if not self.in_leaves:
            self._root.update(piece)
            return
        view = memoryview(piece)
        while view:
            self._leaf.update(view[: self._room])
            taken = min(self._room, len(view))
            view = view[taken:]
            self._room -= taken
            if not self._room:
                self._root.update(self._leaf.digest())
                self._leaf, self._room = sha256(), LEAF_BYTES

    def add(self, leaf: bytes) -> None:
        """Take the SHA-256 of the next leaf; everything before it must have been taken as whole leaves."""
        self._root.update(leaf)

    def digest(self) -> bytes:
        """Return the seal. Afterwards nothing more can be taken."""
        if self._room < LEAF_BYTES:
            self._root.update(self._leaf.digest())
        return self._root.digest()


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
                    seal_key=derive_key(secret, b"seal"),
                    metadata_key=derive_key(secret, b"metadata"),
                )
                for secret in dict.fromkeys(secrets)
            )
        )


#: Compares two bytes, or two ASCII strings, in constant time.
digests_match = hmac.compare_digest
