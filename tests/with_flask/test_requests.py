"""What each call asks of the bucket."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask_caching import Cache

from cloudcached import Client
from cloudcached_flask import S3Cache

Call = Callable[[S3Cache], Any]
MANY = [f"key{number}" for number in range(40)]

COSTS: list[tuple[str, Call, dict[str, int]]] = [
    ("get", lambda c: c.get("there"), {"GET": 1}),
    ("get a missing key", lambda c: c.get("missing"), {"GET": 1}),
    ("has", lambda c: c.has("there"), {"HEAD": 1}),
    ("set", lambda c: c.set("there", 2), {"PUT": 1}),
    ("add", lambda c: c.add("new", 1), {"PUT": 1}),
    ("delete", lambda c: c.delete("there"), {"HEAD": 1, "DELETE": 1}),
    ("delete a missing key", lambda c: c.delete("missing"), {"HEAD": 1}),
    ("inc", lambda c: c.inc("there"), {"GET": 1, "PUT": 1}),
    ("inc a missing key", lambda c: c.inc("new"), {"GET": 1, "PUT": 1}),
    ("get_many", lambda c: c.get_many(*MANY), {"GET": len(MANY)}),
    ("get_dict", lambda c: c.get_dict(*MANY), {"GET": len(MANY)}),
    ("set_many", lambda c: c.set_many(dict.fromkeys(MANY, 1)), {"PUT": len(MANY)}),
    ("delete_many", lambda c: c.delete_many("there", *MANY), {"DELETE MANY": 1}),
    ("delete_many of none", lambda c: c.delete_many(), {}),
    ("clear", lambda c: c.clear(), {"LIST": 1, "DELETE MANY": 1}),
]


@pytest.fixture
def warm(asked: list[str], s3_url: str) -> Client:
    """Give a client that has done what is done once per process, such as finding the bucket."""
    client = Client.shared(s3_url, signing_key="secret", fail_silently=True)
    client.put("p:there", 1)
    client.get("p:missing")
    client.has("p:missing")
    asked.clear()
    return client


@pytest.mark.parametrize(("call", "cost"), [case[1:] for case in COSTS], ids=[case[0] for case in COSTS])
@pytest.mark.usefixtures("warm")
def test_requests(asked: list[str], s3_url: str, call: Call, cost: dict[str, int]) -> None:
    call(S3Cache(s3_url, key_prefix="p:", signing_key="secret"))
    assert Counter(asked) == cost


@pytest.mark.usefixtures("warm")
def test_requests_of_a_cached_page_and_a_memoized_function(asked: list[str], s3_url: str) -> None:
    app = Flask(__name__)
    app.secret_key = "secret"
    cache = Cache(app, config={"CACHE_TYPE": "cloudcached_flask.S3Cache", "CACHE_S3_URL": s3_url})
    assert asked == []

    @app.get("/")
    @cache.cached()
    def page() -> str:
        return "page"

    @cache.memoize()
    def memoized(number: int) -> int:
        return number

    browser = app.test_client()
    browser.get("/")
    assert asked == ["GET", "PUT"]
    asked.clear()
    browser.get("/")
    assert asked == ["GET"]
    with app.app_context():
        memoized(1)
        asked.clear()
        memoized(1)
    assert asked == ["GET", "GET"]  # the version of the function's entries, and the entry
