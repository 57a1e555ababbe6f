"""An app whose bucket cannot be reached."""

from __future__ import annotations

import pytest
from flask import Flask
from flask_caching import Cache

from cloudcached import PartialFailure, StoreUnreachable
from cloudcached_flask import S3Cache


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the URL of a bucket behind a port where nobody listens."""
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "testsecret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    return "s3://unreachable/prefix"


@pytest.mark.parametrize("silent", [False, True])
def test_pages_are_served(url: str, silent: bool) -> None:
    app = Flask(__name__)
    app.secret_key = "secret"
    options = {"timeout": 0.2, "fail_silently": silent}
    cache = Cache(
        app, config={"CACHE_TYPE": "cloudcached_flask.S3Cache", "CACHE_S3_URL": url, "CACHE_OPTIONS": options}
    )

    @app.get("/")
    @cache.cached()
    def page() -> str:
        return "page"

    assert app.test_client().get("/").text == "page"


def test_the_calls_raise(url: str) -> None:
    cache = S3Cache(url, timeout=0.2, fail_silently=False)
    with pytest.raises(StoreUnreachable):
        cache.get("key")
    with pytest.raises(StoreUnreachable):
        cache.set("key", 1)
    with pytest.raises(StoreUnreachable):
        cache.inc("key")
    with pytest.raises(PartialFailure):
        cache.get_many("key", "other")
    with pytest.raises(RuntimeError, match="Failed to delete keys"):
        cache.delete_many("key", "other")
    assert cache.set_many({"key": 1}) == []


def test_the_calls_answer_as_an_empty_cache_would(url: str) -> None:
    cache = S3Cache(url, timeout=0.2)
    assert cache.get("key") is None
    assert cache.get_many("key", "other") == [None, None]
    assert cache.get_dict("key") == {"key": None}
    assert cache.has("key") is False
    assert cache.set("key", 1) is False
    assert cache.add("key", 1) is False
    assert cache.set_many({"key": 1}) == []
    assert cache.delete("key") is False
    assert cache.inc("key") is cache.dec("key") is None
    assert cache.delete_many("key", "other") == []
    assert cache.clear() is False
