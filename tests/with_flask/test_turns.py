"""Of all requests that miss a cached view one computes it, with the option ``lock``."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from computations import until
from flask import Flask
from flask_caching import Cache

from cloudcached import ConfigError
from cloudcached_flask import S3Cache

CROWD = 12
PATIENCE = 20


class View:
    """A view that may be held, fail or leave, and counts its calls."""

    def __init__(self) -> None:
        self.calls = 0
        self.began = threading.Semaphore(0)
        self.may_end = threading.Event()
        self.error: Exception | None = None

    def __call__(self, *_: Any) -> str:
        self.calls += 1
        answer = f"call {self.calls}"
        self.began.release()
        assert self.may_end.wait(PATIENCE)
        if self.error is not None:
            raise self.error
        return answer


@pytest.fixture
def view() -> View:
    return View()


@pytest.fixture
def sites(any_url: str, view: View) -> list[Flask]:
    """Give two apps on one bucket, as two processes would have them."""
    return [site(any_url, view, lock=PATIENCE) for _ in range(2)]


def site(url: str, view: View, **options: Any) -> Flask:
    app = Flask(__name__)
    app.config.update(
        TESTING=True,
        PROPAGATE_EXCEPTIONS=False,
        SECRET_KEY="of these tests",
        CACHE_TYPE="cloudcached_flask.S3Cache",
        CACHE_S3_URL=url,
        CACHE_OPTIONS=options,
    )
    cache = Cache(app)
    app.add_url_rule("/page", view_func=cache.cached(timeout=60)(view.__call__), endpoint="page")
    remembered = cache.memoize(60)(view.__call__)
    app.add_url_rule("/part", view_func=lambda: remembered(1), endpoint="part")
    app.add_url_rule("/other-part", view_func=lambda: remembered(2), endpoint="other-part")
    app.add_url_rule("/look", view_func=lambda: str(cache.get("nothing")), endpoint="look")
    return app


@pytest.fixture
def crowd(sites: list[Flask]) -> Iterator[Callable[[str], list[Any]]]:
    """Give what sends a crowd to a page, half of it to each site; returns futures of the answers."""
    with ThreadPoolExecutor(CROWD) as threads:
        yield lambda path: [
            threads.submit(lambda app: app.test_client().get(path), sites[number % 2]) for number in range(CROWD)
        ]


def test_one_computes(crowd, view):
    answers = crowd("/page")
    assert view.began.acquire(timeout=PATIENCE)
    view.may_end.set()
    assert {answer.result(PATIENCE).text for answer in answers} == {"call 1"}
    assert view.calls == 1


def test_one_computes_for_memoize(sites, crowd, view):
    """Not for the very first call: Flask-Caching gives a function its version by a get and a set."""
    view.may_end.set()
    sites[0].test_client().get("/other-part")
    assert view.began.acquire(timeout=PATIENCE)
    view.may_end.clear()
    answers = crowd("/part")
    assert view.began.acquire(timeout=PATIENCE)
    view.may_end.set()
    assert {answer.result(PATIENCE).text for answer in answers} == {"call 2"}
    assert view.calls == 2


def test_those_who_wait_in_one_process_ask_no_lease(sites, view):
    app = sites[0]
    with app.app_context(), ThreadPoolExecutor(CROWD) as threads:
        client = next(iter(app.extensions["cache"].values())).client
        answers = [threads.submit(app.test_client().get, "/page") for _ in range(CROWD)]
        assert view.began.acquire(timeout=PATIENCE)
        until(lambda: client.stats()["requests.get"] >= CROWD + 2)  # all have missed it
        view.may_end.set()
        assert {answer.result(PATIENCE).text for answer in answers} == {"call 1"}
        stats = client.stats()
    assert stats["requests.get"] == 2 * CROWD + 1  # each twice, and whose turn it is the lease too
    assert stats["requests.put"] == 3  # the lease, the page, and the lease's end


def test_a_view_that_fails_hands_the_turn_on(sites, crowd, view):
    view.error = ZeroDivisionError()
    answers = crowd("/page")
    assert view.began.acquire(timeout=PATIENCE)
    view.may_end.set()
    assert {answer.result(PATIENCE).status_code for answer in answers} == {500}
    assert view.calls == CROWD  # one after the other: each has looked first
    view.error = None
    assert sites[0].test_client().get("/page").text == f"call {CROWD + 1}"
    assert sites[1].test_client().get("/page").text == f"call {CROWD + 1}"


def test_a_get_without_a_set_keeps_its_turn_for_its_request_only(sites):
    for _ in range(3):
        for app in sites:
            assert app.test_client().get("/look").text == "None"


def test_outside_of_a_request_nobody_waits(any_url):
    cache = S3Cache(any_url, lock=True)
    assert cache.get("k") is None
    assert cache.get("k") is None
    assert cache.set("k", 1)
    assert cache.get("k") == 1


def test_a_request_with_a_turn_waits_for_no_other(any_url, view):
    """Two requests that miss two keys in turn would wait for each other."""
    app = Flask(__name__)
    cache = S3Cache(any_url, lock=PATIENCE)
    both = threading.Barrier(2, timeout=PATIENCE)

    def ask(first: str, second: str) -> Any:
        with app.test_request_context():
            assert cache.get(first) is None
            both.wait()
            value = cache.get(second)
            both.wait()
            cache.set(first, first)
            cache._turns.end_all()
            return value

    with ThreadPoolExecutor(2) as threads:
        asked = [threads.submit(ask, "a", "b"), threads.submit(ask, "b", "a")]
        assert [future.result(PATIENCE) for future in asked] == [None, None]


def test_whoever_waits_too_long_computes_too(any_url):
    app = Flask(__name__)
    cache = S3Cache(any_url, lock=0.2)
    with app.test_request_context():
        assert cache.get("k") is None
        with app.test_request_context():  # another request, while the first does not end
            assert cache.get("k") is None


def test_a_store_that_is_away_is_no_reason_to_wait(free_url, view):
    view.may_end.set()
    app = site(free_url, view, lock=True, timeout=0.5)
    assert app.test_client().get("/page").text == "call 1"


@pytest.mark.parametrize("read_only", ["refuse", "drop"])
def test_a_read_only_cache_takes_no_turns(any_url, view, read_only):
    view.may_end.set()
    app = site(any_url, view, lock=2, read_only=read_only)
    assert app.test_client().get("/look").text == "None"
    assert app.test_client().get("/page").text == "call 1"
    with app.app_context():
        stats = next(iter(app.extensions["cache"].values())).client.stats()
    assert (stats["requests.get"], "requests.put" in stats) == (2, False)  # each was looked for once


@pytest.fixture
def free_url(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return "s3://bucket/prefix"


@pytest.mark.parametrize("lock", [0, -1, "yes", None, float("nan")])
def test_a_lease_that_is_none_is_refused(lock):
    with pytest.raises(ConfigError, match="lock is"):
        S3Cache("memory://", lock=lock)
