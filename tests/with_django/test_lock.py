"""``cache.lock`` with django-redis's signature."""

from __future__ import annotations

from typing import Any

import pytest

from cloudcached import LockError
from cloudcached_django import S3Cache


@pytest.fixture
def cache(any_url: str) -> S3Cache:
    return S3Cache(any_url, {"OPTIONS": {"timeout": 2}})


def test_one_holder_at_a_time(cache: S3Cache) -> None:
    with cache.lock("job", timeout=30) as lock:
        assert lock.fencing == 1
        assert not cache.lock("job", timeout=30, blocking=False).acquire()
        with pytest.raises(LockError), cache.lock("job", blocking_timeout=0.01):
            pass
    with cache.lock("job", timeout=30) as lock:
        assert lock.fencing == 2


def test_versions_and_prefixes_have_locks_of_their_own(cache: S3Cache, any_url: str) -> None:
    other = S3Cache(any_url, {"KEY_PREFIX": "other"})
    with cache.lock("job"), cache.lock("job", version=2, blocking=False), other.lock("job", blocking=False):
        pass


@pytest.mark.parametrize("arguments", [("job", None, 10, 0.5, 1, None, False), ("job", 1, 10)])
def test_it_is_called_as_django_redis_is(cache: S3Cache, arguments: tuple[Any, ...]) -> None:
    with cache.lock(*arguments):
        pass


def test_locks_are_no_entries(cache: S3Cache) -> None:
    with cache.lock("job", timeout=30) as lock:
        cache.clear()
        assert lock.owned()
        assert cache.keys("*") == []
