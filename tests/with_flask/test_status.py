"""The status page on a Flask app: refused unless the app allows it, and what it tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, request
from flask_caching import Cache

from cloudcached import ConfigError, StoreUnreachable
from cloudcached.stores.port import Write
from cloudcached_flask import S3Cache, signals, status_blueprint

ASKING = {"X-Requested-With": "cloudcached"}
STAFF = {**ASKING, "X-User": "staff"}
PATHS = ["/cache/", "/cache/data/", "/cache/contents/?cache=cache"]


@pytest.fixture
def app(make_app: Callable[..., tuple[Flask, Cache]]) -> tuple[Flask, Cache]:
    app, cache = make_app()
    app.register_blueprint(status_blueprint(cache, allowed=lambda: request.headers.get("X-User") == "staff"))
    return app, cache


@pytest.mark.parametrize("path", PATHS)
def test_only_who_is_allowed_sees_it(app: tuple[Flask, Cache], path: str) -> None:
    client = app[0].test_client()
    assert client.get(path, headers=ASKING).status_code == 403
    response = client.get(path, headers=STAFF)
    assert response.status_code == 200
    assert "no-store" in response.headers["Cache-Control"]


def test_it_is_off_unless_it_is_mounted(make_app: Callable[..., tuple[Flask, Cache]]) -> None:
    app, _ = make_app()
    assert {app.test_client().get(path, headers=STAFF).status_code for path in PATHS} == {404}


def test_the_page_is_that_of_django(app: tuple[Flask, Cache]) -> None:
    from cloudcached.status import StatusPage

    response = app[0].test_client().get("/cache/", headers=STAFF)
    assert response.mimetype == "text/html"
    assert response.get_data(as_text=True) == StatusPage(dict).html
    assert "script-src 'sha256-" in response.headers["Content-Security-Policy"]


def test_figures_and_contents(app: tuple[Flask, Cache]) -> None:
    flask_app, cache = app
    with flask_app.app_context():
        cache.set("<b>/x", 1)
        cache.get("<b>/x")
        cache.get("none")
    client = flask_app.test_client()
    (found,) = client.get("/cache/data/", headers=STAFF).get_json()["caches"]
    assert (found["hits"], found["misses"], found["calls"]["get"]["count"]) == (1, 1, 2)
    found = client.get(PATHS[2], headers=STAFF).get_json()
    assert (found["entries"], found["requests"]) == (1, 1)
    assert found["prefixes"][0][0].endswith("<b>/")


def test_no_other_site_can_have_it_counted(app: tuple[Flask, Cache]) -> None:
    client = app[0].test_client()
    assert client.get(PATHS[2], headers={"X-User": "staff"}).status_code == 404
    assert client.get("/cache/contents/?cache=other", headers=STAFF).status_code == 404


def test_a_store_that_is_away_is_told(app: tuple[Flask, Cache], monkeypatch: pytest.MonkeyPatch) -> None:
    flask_app, cache = app

    def away(*_: Any, **__: Any) -> None:
        raise StoreUnreachable("away")

    with flask_app.app_context():
        monkeypatch.setattr(cache.cache.client.engine.store, "list", away)
    assert flask_app.test_client().get(PATHS[2], headers=STAFF).status_code == 503


def test_several_caches_by_name(cache: S3Cache) -> None:
    app = Flask(__name__)
    app.register_blueprint(status_blueprint({"pages": cache}, allowed=lambda: True, url_prefix="/status"))
    caches = app.test_client().get("/status/data/").get_json()["caches"]
    assert [found["name"] for found in caches] == ["pages"]


def test_caches_of_other_kinds_are_refused() -> None:
    app = Flask(__name__)
    app.config.update(TESTING=True, CACHE_TYPE="SimpleCache")
    app.register_blueprint(status_blueprint(Cache(app), allowed=lambda: True))
    with pytest.raises(ConfigError, match="SimpleCache"):
        app.test_client().get("/cache/data/")
    with pytest.raises(ConfigError, match="allowed"):
        status_blueprint({}, allowed=True)  # type: ignore[arg-type]


def test_a_signal_tells_of_events(cache: S3Cache, caplog: pytest.LogCaptureFixture) -> None:
    told: list[tuple[Any, str, int]] = []

    def receive(client: Any, event: str, count: int) -> None:
        told.append((client, event, count))
        raise ValueError("of a receiver")

    engine = cache.client.engine
    engine.store.put(Write(engine.place("p:bad").object_key, b"no entry", {}), timeout=1)
    with signals.cache_event.connected_to(receive):
        assert cache.get("bad") is None
    assert told == [(cache.client, "refused.format", 1)]
    assert "a receiver of cache_event failed" in caplog.text
