"""Flask-Session's cachelib type on this backend."""

from __future__ import annotations

import pytest
from flask import Flask, session

from cloudcached import Client
from cloudcached_flask import S3Cache

flask_session = pytest.importorskip("flask_session")


@pytest.fixture
def app(any_url: str) -> Flask:
    """Give an app that keeps its sessions in the bucket."""
    app = Flask(__name__)
    app.config.update(
        SECRET_KEY="of these tests",
        SESSION_TYPE="cachelib",
        SESSION_CACHELIB=S3Cache(any_url, signing_key="of these tests"),
        PERMANENT_SESSION_LIFETIME=600,
    )
    flask_session.Session(app)

    @app.get("/visit")
    def visit() -> str:
        session["visits"] = session.get("visits", 0) + 1
        return str(session["visits"])

    @app.get("/leave")
    def leave() -> str:
        session.clear()
        return "bye"

    return app


def test_a_session_lives_in_the_bucket_until_it_is_cleared(app: Flask, any_url: str) -> None:
    browser, other = app.test_client(), app.test_client()
    stored = Client(any_url, signing_key="of these tests")
    assert [browser.get("/visit").text for _ in range(3)] == ["1", "2", "3"]
    assert other.get("/visit").text == "1"
    keys = list(stored.keys("session:"))
    assert len(keys) == 2
    assert sorted(stored.get(key)["visits"] for key in keys) == [1, 3]
    assert all(590 < (stored.ttl(key) or 0) <= 600 for key in keys)
    browser.get("/leave")
    assert len(list(stored.keys("session:"))) == 1
    assert browser.get("/visit").text == "1"


def test_a_session_that_nobody_signed_is_none(app: Flask, any_url: str) -> None:
    browser = app.test_client()
    browser.get("/visit")
    stored = Client(any_url)
    (key,) = stored.keys("session:")
    stored.put(key, {"visits": 99}, replace=True)
    assert browser.get("/visit").text == "1"
