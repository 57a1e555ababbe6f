"""Keys, seals and signatures, against the same computed by others."""

from __future__ import annotations

import hashlib
import random

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from cloudcached.entry.signing import LEAF_BYTES, PLAIN, SEAL_BYTES, UNSIGNED, SigningKeys, derive_key, digests_match

NONCE = "n" * 43


def hkdf(secret: bytes, label: bytes, length: int) -> bytes:
    """Compute HKDF-SHA256 by another library."""
    return HKDF(hashes.SHA256(), length, salt=b"cloudcached 1", info=label).derive(secret)


@given(st.binary(max_size=200), st.binary(max_size=20), st.integers(1, 32))
def test_keys_are_derived_by_hkdf(secret, label, length):
    assert derive_key(secret, label, length) == hkdf(secret, label, length)


def test_the_labels_are_fixed():
    """Other labels would lose every entry that is stored."""
    (signer,) = SigningKeys.derive([b"a secret"]).signers
    assert signer.key_id == hkdf(b"a secret", b"key id", 6).hex()
    assert signer.seal_key == hkdf(b"a secret", b"seal", 32)
    assert signer.metadata_key == hkdf(b"a secret", b"metadata", 32)


def test_a_seal_is_a_keyed_blake2b_over_nonce_and_payload():
    (signer,) = SigningKeys.derive([b"a secret"]).signers
    key = hkdf(b"a secret", b"seal", 32)
    assert signer.seal(NONCE, b"value") == hashlib.blake2b(NONCE.encode() + b"value", key=key, digest_size=32).digest()
    assert PLAIN.seal(NONCE, b"value") == hashlib.blake2b(NONCE.encode() + b"value", digest_size=32).digest()


@pytest.mark.parametrize("size", [LEAF_BYTES, LEAF_BYTES + 1, 2 * LEAF_BYTES, 2 * LEAF_BYTES + 7])
def test_a_seal_of_a_large_payload_is_one_over_the_sha_256_of_its_leaves(size):
    (signer,) = SigningKeys.derive([b"a secret"]).signers
    key = hkdf(b"a secret", b"seal", 32)
    payload = random.Random(size).randbytes(size)
    leaves = [hashlib.sha256(payload[at : at + 8388608]).digest() for at in range(0, size, 8388608)]
    nonce_and_leaves = NONCE.encode() + b"".join(leaves)
    seal = hashlib.blake2b(nonce_and_leaves, key=key, digest_size=32, person=b"leaves").digest()
    assert signer.seal(NONCE, payload) == seal
    in_pieces, of_leaves, of_both = (signer.sealing(NONCE, size) for _ in range(3))
    for at in range(0, size, 3_000_001):
        in_pieces.update(payload[at : at + 3_000_001])
    for leaf in leaves:
        of_leaves.add(leaf)
    of_both.update(payload[:LEAF_BYTES])
    for leaf in leaves[1:]:
        of_both.add(leaf)
    assert in_pieces.digest() == of_leaves.digest() == of_both.digest() == seal


def test_a_payload_that_is_the_leaves_of_another_has_another_seal():
    """Nobody can let a small entry pass for a large one, or a large one for a small one."""
    payload = bytes(LEAF_BYTES)
    small = hashlib.sha256(payload).digest()
    assert PLAIN.seal(NONCE, small) != PLAIN.seal(NONCE, payload)
    flat = hashlib.blake2b(NONCE.encode() + payload[1:], digest_size=32).digest()
    assert PLAIN.seal(NONCE, payload[1:]) == flat


def test_a_signature_is_a_keyed_blake2b_in_hexadecimal():
    (signer,) = SigningKeys.derive([b"a secret"]).signers
    key = hkdf(b"a secret", b"metadata", 32)
    assert signer.sign(b"canonical") == hashlib.blake2b(b"canonical", key=key, digest_size=32).hexdigest()
    assert len(signer.sign(b"")) == 64


@pytest.mark.parametrize("payload", [b"value", bytearray(b"value"), memoryview(b"value")], ids=type)
def test_a_payload_may_be_any_buffer(payload):
    assert PLAIN.seal(NONCE, payload) == PLAIN.seal(NONCE, b"value")
    assert len(PLAIN.seal(NONCE, payload)) == SEAL_BYTES


def test_seal_signature_and_id_come_from_different_keys():
    (signer,) = SigningKeys.derive([b"a secret"]).signers
    assert len({signer.seal_key, signer.metadata_key, b"a secret"}) == 3
    assert not signer.seal_key.hex().startswith(signer.key_id)
    assert not signer.metadata_key.hex().startswith(signer.key_id)


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_every_secret_makes_another_signer(one, other):
    left, right = SigningKeys.derive([one]).signers[0], SigningKeys.derive([other]).signers[0]
    assert (left == right) == (one == other)
    if one != other:
        assert left.key_id != right.key_id
        assert left.seal(NONCE, b"") != right.seal(NONCE, b"")
        assert left.sign(b"") != right.sign(b"")


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_another_payload_or_nonce_has_another_seal(one, other):
    assert (PLAIN.seal(NONCE, one) == PLAIN.seal(NONCE, other)) == (one == other)
    assert PLAIN.seal(NONCE, one) != PLAIN.seal("m" * 43, one)


def test_the_order_of_secrets_is_kept_and_each_counts_once():
    keys = SigningKeys.derive([b"new", b"old", b"new"])
    assert [signer.key_id for signer in keys.signers] == [hkdf(s, b"key id", 6).hex() for s in (b"new", b"old")]


def test_equal_secrets_make_equal_keys_that_can_be_hashed():
    """Clients are shared by configuration."""
    one, other = SigningKeys.derive([b"a secret"]), SigningKeys.derive([b"a secret"])
    assert one == other
    assert hash(one) == hash(other)


def test_no_key_is_in_a_repr():
    keys = SigningKeys.derive([b"a secret"])
    (signer,) = keys.signers
    for secret in (b"a secret", signer.seal_key, signer.metadata_key):
        assert repr(secret) not in repr(keys)
        assert secret.hex() not in repr(keys)
    assert signer.key_id in repr(keys)


def test_no_signing_key_has_the_id_of_unsigned_entries():
    assert PLAIN.key_id == UNSIGNED
    assert all(len(signer.key_id) == 12 for signer in SigningKeys.derive([b"a", b"b"]).signers)


def test_digests_match():
    assert digests_match(b"ab", b"ab")
    assert digests_match(memoryview(b"ab"), b"ab")
    assert not digests_match(b"ab", b"ac")
    assert not digests_match(b"ab", b"abc")
    assert not digests_match(b"", b"a")
