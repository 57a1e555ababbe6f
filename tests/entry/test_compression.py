"""zstd where it pays, and never more than the limit."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudcached import EntryRefused
from cloudcached.entry.compression import compress, decompress

TEXT = b"cloud cached " * 100
NOISE = random.Random(1).randbytes(5_000)


@given(st.binary(min_size=1, max_size=200).map(lambda part: part * 50))
def test_what_was_compressed_comes_back(data):
    compressed = compress(data, 0)
    if compressed is not None:
        assert decompress(compressed, len(data)) == data


def test_it_is_kept_only_where_it_pays():
    assert len(compress(TEXT, 0)) < len(TEXT) / 10
    assert compress(NOISE, 0) is None
    assert compress(b"", 0) is None
    assert compress(b"ab", 0) is None


def test_a_tenth_must_be_saved():
    for extra in range(200, 900, 20):
        data = NOISE + bytes(extra)
        compressed = compress(data, 0)
        assert (compressed is None) or len(compressed) <= 0.9 * len(data)
    assert compress(NOISE + bytes(400), 0) is None
    assert compress(NOISE + bytes(700), 0) is not None


@pytest.mark.parametrize("place", [0, 1 << 20, 2 << 20])
def test_of_a_large_value_a_piece_that_pays_is_enough_to_try(place):
    noise = bytearray(random.Random(2).randbytes(3 << 20))
    assert compress(bytes(noise), 0) is None
    noise[place : place + (1 << 20)] = bytes(1 << 20)
    compressed = compress(bytes(noise), 0)
    assert compressed is not None
    assert decompress(compressed, 3 << 20) == noise


def test_of_a_large_value_without_one_nothing_more_is_tried(monkeypatch):
    tried = []
    monkeypatch.setattr("cloudcached.entry.compression._smaller", lambda data: tried.append(len(data)))
    assert compress(random.Random(3).randbytes(2 << 20), 0) is None
    assert tried == [1 << 16] * 3


def test_the_threshold_is_in_bytes_and_inclusive():
    assert compress(TEXT, len(TEXT)) is not None
    assert compress(TEXT, len(TEXT) + 1) is None
    assert compress(TEXT, None) is None


def test_a_memoryview_is_taken():
    compressed = compress(memoryview(TEXT), 0)
    assert decompress(memoryview(compressed), len(TEXT)) == TEXT


def test_the_limit_is_exact():
    compressed = compress(TEXT, 0)
    assert decompress(compressed, len(TEXT)) == TEXT
    with pytest.raises(EntryRefused, match="more than 1,299 bytes") as caught:
        decompress(compressed, len(TEXT) - 1)
    assert caught.value.reason == "size"


def test_a_bomb_is_refused_without_being_unpacked():
    """40 MB of zeros in some 4 KB; the limit, not the bomb, decides how much memory is taken."""
    import tracemalloc

    bomb = compress(bytes(40_000_000), 0)
    assert len(bomb) < 5_000
    tracemalloc.start()
    try:
        with pytest.raises(EntryRefused, match="decompresses to more than"):
            decompress(bomb, 100_000)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_a_nested_bomb_of_many_frames_is_refused():
    frame = compress(bytes(1_000_000), 0)
    with pytest.raises(EntryRefused):
        decompress(frame * 50, 10_000_000)


@pytest.mark.parametrize("cut", [0, 1, 4, -1])
def test_a_frame_that_ends_early_is_refused(cut):
    compressed = compress(TEXT, 0)
    with pytest.raises(EntryRefused, match="compression"):
        decompress(compressed[:cut], len(TEXT))


def test_what_follows_a_frame_is_refused():
    with pytest.raises(EntryRefused, match="exactly one"):
        decompress(compress(TEXT, 0) + b"x", len(TEXT))


@given(st.binary(max_size=300))
def test_any_bytes_give_bytes_or_a_refusal(data):
    with suppress(EntryRefused):
        assert len(decompress(data, 1_000)) <= 1_000


@given(st.integers(0, 100), st.integers(1, 255))
def test_a_changed_byte_gives_bytes_within_the_limit_or_a_refusal(position, change):
    compressed = bytearray(compress(TEXT, 0))
    compressed[position % len(compressed)] ^= change
    with suppress(EntryRefused):
        assert len(decompress(bytes(compressed), len(TEXT))) <= len(TEXT)
