"""A site whose bucket cannot be reached serves its pages as if the cache were empty, unless it is told not to."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.sessions.backends.base import CreateError
from django.contrib.sessions.backends.cache import SessionStore
from django.core.cache import caches
from django.test import Client
from fault_proxy import FaultProxy, answers

from cloudcached import AccessDenied, PartialFailure, StoreBusy, StoreError
from cloudcached.testing import FakeClock
from cloudcached_django import S3Cache


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Give a LOCATION whose endpoint refuses every connection: a port that is bound, and not listened on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testsecret")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield f"s3://bucket/{taken.getsockname()[1]}"


@pytest.fixture
def overloaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """Give a server that answers everything with 503, and set the environment that leads to it."""
    with FaultProxy("http://127.0.0.1:9") as server:
        server.fault = answers(503, "SlowDown")
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testsecret")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield server


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest, nowhere: str) -> Callable[..., Any]:
    """Give a function that calls a verb of a cache with these OPTIONS, or awaits its twin."""
    caches: dict[bool, S3Cache] = {}

    def call(verb: str, *args: Any, silent: bool = True) -> Any:
        options = {} if silent else {"timeout": 0.2, "fail_silently": False}
        cache = caches.setdefault(silent, S3Cache(nowhere, {"OPTIONS": options}))
        if request.param == "sync":
            return getattr(cache, verb)(*args)
        return async_to_sync(getattr(cache, f"a{verb}"))(*args)

    return call


ANSWERS = [
    ("get", ("key", "default"), "default"),
    ("add", ("key", 1), False),
    ("set", ("key", 1), None),
    ("touch", ("key",), False),
    ("delete", ("key",), False),
    ("has_key", ("key",), False),
    ("get_or_set", ("key", lambda: "computed"), "computed"),
    ("get_many", (["a", "b"],), {}),
    ("set_many", ({"a": 1, "b": 2},), ["a", "b"]),
    ("delete_many", (["a", "b"],), None),
    ("clear", (), None),
    ("ttl", ("key",), 0),
    ("persist", ("key",), False),
    ("expire", ("key", 5), False),
    ("expire_at", ("key", 2_000_000_000), False),
    ("keys", ("*",), []),
    ("delete_pattern", ("*",), 0),
]


@pytest.mark.parametrize(("verb", "args", "answer"), ANSWERS, ids=[row[0] for row in ANSWERS])
def test_every_verb_answers_as_if_the_cache_were_empty(
    call: Callable[..., Any], verb: str, args: tuple[Any, ...], answer: Any
) -> None:
    assert call(verb, *args) == answer


def test_there_is_nothing_to_count_or_to_move(call: Callable[..., Any]) -> None:
    for verb in ("incr", "decr", "incr_version", "decr_version"):
        with pytest.raises(ValueError):
            call(verb, "key")


@pytest.mark.parametrize("verb", ["incr_version", "decr_version"])
def test_what_cannot_be_stored_under_its_new_version_stays(
    make_cache: Callable[..., Any], watch: Callable[[Any], Any], verb: str
) -> None:
    cache = make_cache(VERSION=5, OPTIONS={"timeout": 0.2})
    cache.set("key", "value", 60)

    def refuse_writes(request: str, _: str) -> None:
        if request == "put":
            raise StoreBusy("503 SlowDown")

    store = watch(cache)
    store.before = refuse_writes
    with pytest.raises(ValueError, match="stays under the old one"):
        getattr(cache, verb)("key")
    assert "delete" not in store.since()
    assert cache.get("key") == "value"
    assert [cache.get("key", version=version) for version in (4, 6)] == [None, None]


def test_what_could_not_be_removed_is_not_counted(make_cache: Callable[..., Any], watch: Callable[[Any], Any]) -> None:
    cache = make_cache()
    cache.set_many({"a": 1, "b": 2})

    def deny_removals(request: str, _: object) -> None:
        if request == "delete_many":
            raise AccessDenied("403 AccessDenied")

    watch(cache).before = deny_removals
    assert cache.delete_pattern("*") == 0
    assert cache.get_many(["a", "b"]) == {"a": 1, "b": 2}


@pytest.mark.parametrize(("verb", "args"), [row[:2] for row in ANSWERS if row[0] != "set_many"])
def test_every_verb_raises_where_it_shall(call: Callable[..., Any], verb: str, args: tuple[Any, ...]) -> None:
    with pytest.raises((StoreError, PartialFailure)):
        call(verb, *args, silent=False)


@pytest.mark.django_db
def test_pages_are_served(settings: Any, nowhere: str) -> None:
    from with_django.site_urls import computed

    computed.clear()
    settings.CACHES = {"default": {"BACKEND": "cloudcached_django.S3Cache", "LOCATION": nowhere}}
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"
    client = Client()
    for number in (1, 2):
        for path, page in [("cached", f"cached {number}"), ("fragment/Ada", f"Ada {number}"), ("visits", f"{number}")]:
            response = client.get(f"/{path}/")
            assert (response.status_code, response.content.decode()) == (200, page)


@pytest.fixture
def busy_site(settings: Any, overloaded: FaultProxy) -> Any:
    """Give the settings of a site whose cache is there."""
    location = f"s3://bucket/{overloaded.port}"
    settings.CACHES = {"default": {"BACKEND": "cloudcached_django.S3Cache", "LOCATION": location}}
    return settings


@pytest.fixture
def hurried(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """Give the clock by which all clients wait, and no time passes."""
    for name in ("time", "monotonic", "sleep"):
        monkeypatch.setattr(f"cloudcached.runtime.clock.SystemClock.{name}", staticmethod(getattr(clock, name)))
    return clock


@pytest.mark.django_db
def test_sessions_of_cached_db_are_kept_while_the_store_answers_503(
    busy_site: Any, overloaded: FaultProxy, hurried: FakeClock
) -> None:
    busy_site.SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"
    client = Client()
    for number in ("1", "2"):
        response = client.get("/visits/")
        assert (response.status_code, response.content.decode()) == (200, number)
    assert overloaded.counts["GET"] > 0


def test_each_try_of_a_session_takes_its_time_while_the_store_answers_503(busy_site: Any, hurried: FakeClock) -> None:
    """No circuit breaker stops the 10,000 tries of Django's ``cache`` engine: each costs the timeout twice."""
    for number in range(4):
        began = hurried.monotonic()
        session = SessionStore(f"session-{number}")
        assert not session.exists(session.session_key)
        with pytest.raises(CreateError):
            session.save(must_create=True)
        assert 2 * 4.5 <= hurried.monotonic() - began <= 2 * 5
    assert "outages" not in caches["default"].client.stats()
