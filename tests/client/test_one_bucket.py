"""One bucket for Django, Flask and plain Python: with one key and one signing key each reads what the others wrote."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
from typing import Any

import pytest
from flask import Flask
from flask_caching import Cache

from cloudcached import Client
from cloudcached_flask import S3Cache

SECRET_KEY = "one key for all"

#: What both sides compute for themselves: equal values, whoever stored them.
VALUES = {
    "text": "Grüße",
    "bytes": b"\x00\xff",
    "number": 2**70,
    "nothing": None,
    "no": False,
    "page": {"title": "Ising", "spins": [1, -1], "when": dt.datetime(2026, 11, 22, tzinfo=dt.timezone.utc)},
    "a key: with/everything?": (1.5, {2, 3}),
}

DJANGO = """
import datetime, json, sys
from django.conf import settings

url, secret_key = sys.argv[1:3]
backend = {"BACKEND": "cloudcached_django.S3Cache", "LOCATION": url}
settings.configure(SECRET_KEY=secret_key, CACHES={
    "default": backend,
    "versioned": {**backend, "KEY_PREFIX": "site", "VERSION": 2},
})
from django.core.cache import cache, caches
"""


@pytest.fixture
def url(s3_url: str) -> str:
    """Give the URL that all three use."""
    return s3_url


def django(url: str, code: str, secret_key: str = SECRET_KEY) -> Any:
    """Run *code* in a Django site of its own, and return what it assigns to ``answer``."""
    script = f"{DJANGO}\nanswer = None\nVALUES = {VALUES!r}\n{code}\nprint(json.dumps(answer))"
    done = subprocess.run([sys.executable, "-c", script, url, secret_key], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def flask(url: str, prefix: str = ":1:", secret_key: str = SECRET_KEY) -> S3Cache:
    """Return the cache of a Flask app."""
    app = Flask(__name__)
    config = {"CACHE_TYPE": "cloudcached_flask.S3Cache", "CACHE_S3_URL": url, "CACHE_KEY_PREFIX": prefix}
    Cache(app, config=config)
    app.secret_key = secret_key
    (backend,) = app.extensions["cache"].values()
    assert isinstance(backend, S3Cache)
    return backend


def test_what_django_wrote(url: str) -> None:
    django(url, "cache.set_many(VALUES)")
    assert flask(url).get_dict(*VALUES) == VALUES
    client = Client(url, signing_key=SECRET_KEY)
    assert client.get_many(f":1:{key}" for key in VALUES) == {f":1:{key}": value for key, value in VALUES.items()}
    assert flask(url).add("text", "ours") is False


def test_what_flask_wrote(url: str) -> None:
    flask(url).set_many(VALUES)
    assert django(url, "answer = cache.get_many(VALUES) == VALUES and cache.add('text', 'ours')") is False
    assert Client(url, signing_key=SECRET_KEY).get(":1:page") == VALUES["page"]


def test_what_a_client_wrote(url: str) -> None:
    Client(url, signing_key=SECRET_KEY).put_many({f":1:{key}": value for key, value in VALUES.items()})
    assert django(url, "answer = cache.get_many(VALUES) == VALUES") is True
    assert flask(url).get_dict(*VALUES) == VALUES


def test_the_prefix_and_version_of_django(url: str) -> None:
    django(url, "caches['versioned'].set('key', 'value', 60)")
    assert flask(url).get("key") is None
    cache = flask(url, "site:2:")
    assert cache.get("key") == "value"
    assert 0 < (cache.client.ttl("site:2:key") or 0) <= 60


def test_a_counter_that_all_count_on(url: str) -> None:
    cache, client = flask(url), Client(url, signing_key=SECRET_KEY)
    assert django(url, "cache.set('hits', 1); answer = cache.incr('hits')") == 2
    assert cache.inc("hits") == 3
    assert client.incr(":1:hits") == 4
    assert django(url, "answer = cache.decr('hits', 2)") == 2


def test_a_delete_is_seen_by_all(url: str) -> None:
    cache = flask(url)
    cache.set_many({"one": 1, "two": 2})
    assert django(url, "answer = cache.delete('one')") is True
    assert cache.get_many("one", "two") == [None, 2]
    cache.delete_many("two")
    assert django(url, "answer = 'two' in cache") is False


def test_flask_clears_its_prefix_and_django_its_location(url: str) -> None:
    cache, other = flask(url), flask(url, "flask_cache_")
    django(url, "cache.set('key', 1); caches['versioned'].set('key', 2)")
    other.set("key", 3)
    cache.clear()
    assert django(url, "answer = [cache.get('key'), caches['versioned'].get('key')]") == [None, 2]
    assert other.get("key") == 3
    django(url, "cache.clear()")
    assert other.get("key") is None


def test_another_secret_key_is_a_stranger(url: str) -> None:
    django(url, "cache.set('key', 'theirs')", secret_key="another")
    assert flask(url).get("key") is None
    assert flask(url).add("key", "ours") is True
    assert django(url, "answer = cache.get('key')", secret_key="another") is None
    assert django(url, "answer = cache.get('key')") == "ours"
