"""The near tier under Django's cache API."""

from __future__ import annotations

import threading
import warnings

import pytest
from django.core.cache.backends.base import BaseCache
from hypothesis import example, given
from hypothesis import strategies as st
from store_doubles import CountingStore, wrap

from cloudcached_django import S3Cache

NEAR = {"max_bytes": 2**20, "max_age": 60}


def test_the_caches_of_all_threads_share_one_tier(any_url: str):
    cache = S3Cache(any_url, {"OPTIONS": {"near": NEAR}})
    store = wrap(cache.client, CountingStore)
    cache.set_many({"a": 1, "b": [2]})
    store.forget()

    def read() -> None:
        mine = S3Cache(any_url, {"OPTIONS": {"near": dict(NEAR)}})
        assert mine.get_many(["a", "b", "c"]) == {"a": 1, "b": [2]}
        assert mine.get("a") == 1
        assert mine.get_or_set("b", 3) == [2]

    for _ in range(3):
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
    assert store.counts == {"GET": 2 + 3}  # c each time
    cache.set("a", 2)
    assert cache.get("a") == 2
    cache.clear()
    assert cache.get_many(["a", "b"]) == {}


def warnings_of(validate, key: str) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        validate(key)
    return [str(warning.message) for warning in caught]


@given(st.text(st.characters(), max_size=260))
@example("x" * 250)
@example("x" * 251)
@example("x\n")
@example("\x20")
@example("\x7f")
@example("\x80")
@example("\xa0")
def test_django_s_warnings_of_keys_are_kept(key: str):
    cache = S3Cache("memory://", {})
    assert warnings_of(cache.validate_key, key) == warnings_of(BaseCache({}).validate_key, key)


def test_a_key_that_is_no_text_is_an_error_as_in_django():
    for cache in (S3Cache("memory://", {}), BaseCache({})):
        for key in (b"k", 1):
            with pytest.raises(TypeError):
                cache.validate_key(key)
