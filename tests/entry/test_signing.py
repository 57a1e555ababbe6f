"""Keys, seals and signatures, against the same computed by others."""

from __future__ import annotations

import random

import pytest
from blake3 import blake3
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from cloudcached.entry.signing import PLAIN, SEAL_BYTES, UNSIGNED, Signer, SigningKeys, derive_key, digests_match

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
    assert signer.seal_key == hkdf(b"a secret", b"seal by BLAKE3", 32)
    assert signer.metadata_key == hkdf(b"a secret", b"metadata by BLAKE3", 32)


def test_it_is_the_published_blake3():
    """The official test vectors of 1,025 bytes, the first that have a second chunk."""
    given = bytes(number % 251 for number in range(1025))
    plain, keyed = Signer("id"), Signer("id", b"whats the Elvish word for friend", b"whats the Elvish word for friend")
    assert plain.sign(given) == "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444"
    assert keyed.sign(given) == "357dc55de0c7e382c900fd6e320acc04146be01db6a8ce7210b7189bd664ea69"
    assert keyed.seal("", given).hex() == keyed.sign(given)


def test_a_seal_is_a_keyed_blake3_over_nonce_and_payload():
    (signer,) = SigningKeys.derive([b"a secret"]).signers
    key = hkdf(b"a secret", b"seal by BLAKE3", 32)
    assert signer.seal(NONCE, b"value") == blake3(NONCE.encode() + b"value", key=key).digest()


def test_an_unsigned_seal_is_what_b3sum_prints():
    assert PLAIN.seal(NONCE, b"value") == blake3(NONCE.encode() + b"value").digest()


@pytest.mark.parametrize("size", [0, 1, 1024, 1025, 100_000, (8 << 20) - 1, 8 << 20, (16 << 20) + 7])
def test_a_seal_is_the_same_in_pieces_of_any_size(size):
    (signer,) = SigningKeys.derive([b"a secret"]).signers
    payload = random.Random(size).randbytes(size)
    for step in (max(1, size // 1000 | 1), 1 << 20, 3_000_001, 8 << 20):
        seal = signer.sealing(NONCE)
        for at in range(0, size, step):
            seal.update(memoryview(payload)[at : at + step])
        assert seal.digest() == signer.seal(NONCE, payload)


def test_a_signature_is_a_keyed_blake3_in_hexadecimal():
    (signer,) = SigningKeys.derive([b"a secret"]).signers
    key = hkdf(b"a secret", b"metadata by BLAKE3", 32)
    assert signer.sign(b"canonical") == blake3(b"canonical", key=key).hexdigest()
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
