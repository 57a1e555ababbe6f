"""What the settings mean: signing, defaults, mistakes; and that starting costs nothing."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import caches
from django.http import HttpResponse

from cloudcached import Client, ConfigError, ValueRejected
from cloudcached_django import S3Cache

ROOT = Path(__file__).parents[2]

START = """
import os, sys
import cloudcached_django
os.environ["DJANGO_SETTINGS_MODULE"] = "with_django.site_settings"
import django
django.setup()
from django.core.cache import cache
cache.key_prefix
heavy = {name for name in sys.modules if name.partition(".")[0] in {"boto3", "botocore", "moto", "numpy"}}
print(sorted(heavy))
"""


def test_starting_django_imports_no_s3_client() -> None:
    path = f"{ROOT}:{ROOT / 'tests'}"
    command = [sys.executable, "-W", "error", "-c", START]
    run = subprocess.run(command, env={"PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert (run.stdout.strip(), run.stderr) == ("[]", "")


# Signing


def test_secret_key_signs(settings: Any, any_url: str) -> None:
    settings.SECRET_KEY = "first"
    S3Cache(any_url, {}).set("key", {"any": "value"})
    assert Client(any_url, signing_key="first").get(":1:key") == {"any": "value"}
    assert Client(any_url, signing_key="other").get(":1:key") is None
    assert Client(any_url).get(":1:key") is None


def test_entries_of_the_old_secret_key_stay_readable_while_it_is_a_fallback(settings: Any, any_url: str) -> None:
    settings.SECRET_KEY = "old"
    S3Cache(any_url, {}).set("key", 1)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", ["older", "old"]
    rotated = S3Cache(any_url, {})
    assert rotated.get("key") == 1
    assert rotated.incr("key") == 2
    settings.SECRET_KEY_FALLBACKS = []
    assert S3Cache(any_url, {}).get("key") == 2


def test_entries_of_a_dropped_secret_key_are_misses_and_do_not_block(settings: Any, any_url: str) -> None:
    settings.SECRET_KEY = "old"
    S3Cache(any_url, {}).set("key", 1)
    settings.SECRET_KEY = "new"
    dropped = S3Cache(any_url, {})
    assert dropped.get("key") is None
    assert dropped.add("key", 2) is True
    assert dropped.get("key") == 2


def test_an_empty_fallback_verifies_nothing(settings: Any, any_url: str) -> None:
    settings.SECRET_KEY_FALLBACKS = ["", b""]
    cache = S3Cache(any_url, {})
    cache.set("key", 1)
    assert cache.get("key") == 1


def test_a_signing_key_of_its_own(settings: Any, any_url: str) -> None:
    own = S3Cache(any_url, {"OPTIONS": {"signing_key": "own"}})
    own.set("key", 1)
    assert Client(any_url, signing_key=["own"]).get(":1:key") == 1
    settings.SECRET_KEY = "changed"
    assert S3Cache(any_url, {"OPTIONS": {"signing_key": ["new", "own"]}}).get("key") == 1


def test_unsigned_when_asked_for(any_url: str) -> None:
    S3Cache(any_url, {"OPTIONS": {"signing_key": None}}).set("key", [1])
    assert Client(any_url).get(":1:key") == [1]


def test_unsigned_refuses_pages_and_says_why(any_url: str) -> None:
    cache = S3Cache(any_url, {"OPTIONS": {"signing_key": None}})
    with pytest.raises(ValueRejected, match="signing_key"):
        cache.set("page", HttpResponse("page"))


# Mistakes show at the first use


@pytest.mark.parametrize(
    ("location", "params", "message"),
    [
        ("", {}, "s3://bucket/prefix"),
        ("s3://", {}, "no bucket"),
        (None, {}, "s3://bucket/prefix"),
        ("memory://", {"OPTIONS": {"unknown": 1}}, "known options"),
        ("memory://", {"OPTIONS": {"timeout": -1}}, "timeout"),
        ("memory://", {"TIMEOUT": "banana"}, "TIMEOUT.*banana"),
    ],
)
def test_mistakes(location: Any, params: dict[str, Any], message: str) -> None:
    cache = S3Cache(location, params)
    with pytest.raises(ConfigError, match=message):
        cache.set("key", 1)


def test_a_timeout_that_is_no_time(any_url: str) -> None:
    cache = S3Cache(any_url, {})
    with pytest.raises(ConfigError, match="soon"):
        cache.set("key", 1, "soon")


def test_django_s_own_options_have_no_effect() -> None:
    cache = S3Cache("memory://limited", {"OPTIONS": {"MAX_ENTRIES": 2, "CULL_FREQUENCY": 1}})
    cache.set_many(dict.fromkeys("abcdef", 1))
    assert len(cache.get_many("abcdef")) == 6


# Sharing


def test_the_threads_of_a_site_share_one_client(site: Any) -> None:
    """Django makes one cache object for each thread."""
    seen = []

    def work() -> None:
        caches["default"].set("key", 1)
        seen.append((caches["default"], caches["default"].client))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(cache) for cache, _ in seen}) == 8
    assert {id(client) for _, client in seen} == {id(caches["default"].client)}


def test_closing_after_a_request_closes_nothing(site: Any) -> None:
    cache = caches["default"]
    cache.set("key", 1)
    client = cache.client
    caches.close_all()
    assert caches["default"].client is client
    assert caches["default"].get("key") == 1


def test_one_location_is_one_store_whatever_the_options() -> None:
    S3Cache("memory://shared", {"OPTIONS": {"timeout": 1}}).set("key", 1)
    assert S3Cache("memory://shared", {"KEY_PREFIX": "", "TIMEOUT": 5}).get("key") == 1
