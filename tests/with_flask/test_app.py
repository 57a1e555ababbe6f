"""A Flask app as its users see it: views, functions and template fragments that are computed once."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from flask import Flask, Response, abort, jsonify, render_template, request
from flask.testing import FlaskClient
from flask_caching import Cache, CachedResponse

from cloudcached.testing import FakeClock


class Adder:
    """Something with methods to memoize."""

    calls = 0

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Adder({self.name})"


def build(app: Flask, cache: Cache) -> None:
    """Give *app* views that count how often they were computed."""
    counter = count(1)

    @app.get("/page")
    @cache.cached(timeout=60)
    def page() -> str:
        return f"page {next(counter)}"

    @app.get("/query")
    @cache.cached(query_string=True)
    def query() -> str:
        return f"{sorted(request.args)} {next(counter)}"

    @app.get("/json")
    @cache.cached()
    def json() -> Response:
        return jsonify(count=next(counter))

    @app.get("/moment")
    @cache.cached(timeout=dt.timedelta(minutes=1))
    def moment() -> Response:
        return CachedResponse(Response(f"moment {next(counter)}"), timeout=2)

    @app.get("/nothing")
    @cache.cached(key_prefix="nothing", cache_none=True, response_filter=lambda _: True)
    def nothing() -> str:
        return ""

    @app.get("/gone")
    @cache.cached()
    def gone() -> str:
        abort(410, str(next(counter)))

    @app.get("/fragment/<name>")
    def fragment(name: str) -> str:
        return render_template("fragment.html", name=name, count=lambda: next(counter))

    @app.get("/forget/<name>")
    def forget(name: str) -> str:
        return render_template("forget.html", name=name, count=lambda: next(counter))


@pytest.fixture
def app(make_app: Callable[..., tuple[Flask, Cache]]) -> Flask:
    """Give an app whose ``cache`` is in its extensions."""
    app, cache = make_app()
    build(app, cache)
    return app


@pytest.fixture
def cache(app: Flask) -> Cache:
    """Give the app's cache."""
    (cache,) = app.extensions["cache"]
    assert isinstance(cache, Cache)
    return cache


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Give a browser of the app."""
    return app.test_client()


def test_a_page_is_computed_once_until_it_expires(client: FlaskClient, clock: FakeClock) -> None:
    assert [client.get("/page").text for _ in range(3)] == ["page 1"] * 3
    clock.advance(59)
    assert client.get("/page").text == "page 1"
    clock.advance(1)
    assert client.get("/page").text == "page 2"


def test_a_page_may_be_forgotten(app: Flask, client: FlaskClient, cache: Cache) -> None:
    assert client.get("/page").text == "page 1"
    with app.app_context():
        assert cache.delete("view//page") is True
    assert client.get("/page").text == "page 2"
    with app.app_context():
        cache.clear()
    assert client.get("/page").text == "page 3"


def test_query_strings_are_told_apart(client: FlaskClient) -> None:
    assert client.get("/query?a=1&b=2").text == client.get("/query?b=2&a=1").text
    assert client.get("/query?a=1").text != client.get("/query?a=2").text


def test_responses_are_stored_whole(client: FlaskClient) -> None:
    first, second = client.get("/json"), client.get("/json")
    assert first.json == second.json == {"count": 1}
    assert second.headers["Content-Type"] == "application/json"


def test_a_response_may_set_its_timeout(client: FlaskClient, clock: FakeClock) -> None:
    assert [client.get("/moment").text for _ in range(2)] == ["moment 1"] * 2
    clock.advance(2)
    assert client.get("/moment").text == "moment 2"


def test_an_empty_page_is_a_hit(client: FlaskClient) -> None:
    assert client.get("/nothing").text == client.get("/nothing").text == ""


def test_aborts(client: FlaskClient) -> None:
    assert [client.get("/gone").status_code for _ in range(2)] == [410, 410]


def test_template_fragments(client: FlaskClient) -> None:
    first = client.get("/fragment/<i>").text
    assert client.get("/fragment/<i>").text == first
    assert "&lt;i&gt;" in first  # escaped once
    assert client.get("/fragment/other").text != first
    client.get("/forget/<i>")
    assert client.get("/fragment/<i>").text != first


def test_memoize(app: Flask, cache: Cache) -> None:
    counter = count(1)

    @cache.memoize(timeout=60)
    def add(a: int, b: int = 0) -> tuple[int, int]:
        return a + b, next(counter)

    with app.app_context():
        assert add(1, 2) == add(1, b=2) == (3, 1)
        assert add(2, 2) == (4, 2)
        cache.delete_memoized(add, 1, 2)
        assert add(1, 2) == (3, 3)
        assert add(2, 2) == (4, 2)
        cache.delete_memoized(add)
        assert add(1, 2) == (3, 4)
        assert add(2, 2) == (4, 5)
        cache.delete_memoized_verhash(add)
        assert add(1, 2) == (3, 6)


def test_memoized_methods(app: Flask, cache: Cache) -> None:
    counter = count(1)

    class Counting(Adder):
        @cache.memoize(60)
        def add(self, number: int) -> tuple[str, int, int]:
            return self.name, number, next(counter)

    one, two = Counting("one"), Counting("two")
    with app.app_context():
        assert one.add(1) == one.add(1) == ("one", 1, 1)
        assert two.add(1) == ("two", 1, 2)
        cache.delete_memoized(one.add)
        assert one.add(1) == ("one", 1, 3)
        assert two.add(1) == ("two", 1, 2)
        cache.delete_memoized(Counting.add)
        assert one.add(1) == ("one", 1, 4)
        assert two.add(1) == ("two", 1, 5)


def test_a_memoized_none(app: Flask, cache: Cache) -> None:
    calls = []

    @cache.memoize(60, cache_none=True)
    def nothing() -> None:
        calls.append(1)

    with app.app_context():
        assert nothing() is nothing() is None
    assert len(calls) == 1


def test_the_low_level_calls(app: Flask, cache: Cache) -> None:
    with app.app_context():
        assert cache.set("key", [1]) is True
        assert cache.add("key", [2]) is False
        assert cache.get("key") == [1]
        assert cache.has("key") is True
        assert cache.set_many({"a": 1, "b": 2}) == ["a", "b"]
        assert cache.get_many("a", "b", "c") == [1, 2, None]
        assert cache.get_dict("a", "c") == {"a": 1, "c": None}
        assert cache.delete_many("a", "c") == ["a", "c"]
        assert cache.unlink("b") == ["b"]  # delete_many, where there is no unlink
        assert cache.cache.inc("hits", 2) == 2
        assert cache.cache.dec("hits") == 1
        assert cache.delete("key") is True
        assert cache.clear() is True


def test_two_processes_of_an_app_share_their_pages(make_app: Callable[..., tuple[Flask, Cache]]) -> None:
    pages: list[Any] = []
    for _ in range(2):
        app, cache = make_app()
        build(app, cache)
        client = app.test_client()
        client.get("/query")
        pages.append((client.get("/page").text, client.get("/json").json))
    assert pages[0] == pages[1]


def test_another_secret_key_sees_nothing(make_app: Callable[..., tuple[Flask, Cache]]) -> None:
    for number, secret in enumerate(["one", "two"]):
        app, cache = make_app(SECRET_KEY=secret)
        with app.app_context():
            assert cache.get("key") is None
            cache.set("key", number)
            assert cache.get("key") == number
