"""A real site on the cache: pages, fragments and sessions."""

from __future__ import annotations

from typing import Any

import django
import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import CreateError
from django.contrib.sessions.backends.cache import SessionStore
from django.core.cache import cache, caches
from django.core.cache.utils import make_template_fragment_key
from django.test import AsyncClient, Client

from cloudcached.stores.port import Write

ENGINES = ["cache", "cached_db"]
PER_SITE = ["django.middleware.cache.UpdateCacheMiddleware", "django.middleware.cache.FetchFromCacheMiddleware"]


def body(client: Client, path: str, **headers: str) -> str:
    response = client.get(path, **headers)
    assert response.status_code == 200
    return response.content.decode()


def test_cache_page_computes_a_page_once(site: Any) -> None:
    assert body(Client(), "/cached/") == "cached 1"
    assert body(Client(), "/cached/") == "cached 1"
    assert body(Client(), "/cached/?page=2") == "cached 2"
    cache.clear()
    assert body(Client(), "/cached/") == "cached 3"


def test_cache_page_keeps_headers_and_varies_on_them(site: Any) -> None:
    assert body(Client(), "/varied/", HTTP_X_REGION="north") == "north 1"
    assert body(Client(), "/varied/", HTTP_X_REGION="south") == "south 2"
    response = Client().get("/varied/", HTTP_X_REGION="north")
    assert response.content == b"north 1"
    assert "max-age=600" in response["Cache-Control"]
    assert "X-Region" in response["Vary"]


def test_the_middleware_caches_every_page(site: Any) -> None:
    site.MIDDLEWARE = [PER_SITE[0], *site.MIDDLEWARE, PER_SITE[1]]
    site.CACHE_MIDDLEWARE_SECONDS = 60
    first, second = Client().get("/plain/"), Client().get("/plain/")
    assert first.content == second.content == b"plain 1"
    assert second.cookies == first.cookies
    assert second.cookies["seen"].value == "yes"
    assert Client().head("/plain/").status_code == 200
    assert Client().post("/plain/").content == b"plain 2"


def test_a_fragment_is_rendered_once_for_each_name(site: Any) -> None:
    assert body(Client(), "/fragment/Ada/") == "Ada 1"
    assert body(Client(), "/fragment/Grace/") == "Grace 2"
    assert body(Client(), "/fragment/Ada/") == "Ada 1"
    assert cache.delete(make_template_fragment_key("greeting", ["Ada"])) is True
    assert body(Client(), "/fragment/Ada/") == "Ada 4"


def test_a_fragment_comes_back_safe(site: Any) -> None:
    """The tag stores a SafeString; as a plain str it would be escaped on the next page."""
    body(Client(), "/fragment/Ada/")
    stored = cache.get(make_template_fragment_key("greeting", ["Ada"]))
    assert type(stored).__name__ == "SafeString"


async def test_an_async_view(site: Any) -> None:
    first, second = await AsyncClient().get("/low-level/"), await AsyncClient().get("/low-level/")
    assert first.content == second.content == b"low level 1"


@pytest.mark.django_db
@pytest.mark.parametrize("engine", ENGINES)
def test_sessions(site: Any, engine: str) -> None:
    site.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    ada, grace = Client(), Client()
    assert [body(ada, "/visits/"), body(ada, "/visits/"), body(grace, "/visits/")] == ["1", "2", "1"]
    ada.session.flush()
    assert body(ada, "/visits/") == "1"


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(django.VERSION < (5, 1), reason="the session's async methods came with Django 5.1")
@pytest.mark.parametrize("engine", ENGINES)
async def test_async_sessions(site: Any, engine: str) -> None:
    site.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    ada = AsyncClient()
    assert [(await ada.get("/async-visits/")).content for _ in range(3)] == [b"1", b"2", b"3"]


@pytest.mark.django_db
@pytest.mark.parametrize("engine", ENGINES)
def test_a_login_outlives_the_process_that_wrote_it(site: Any, engine: str) -> None:
    """Every thread and process has cache objects of its own."""
    site.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    client = Client()
    client.force_login(User.objects.create_user("ada"))
    caches.close_all()
    assert client.session["_auth_user_id"] == str(User.objects.get().pk)
    client.logout()
    assert "_auth_user_id" not in client.session


@pytest.mark.django_db
def test_cached_db_sessions_outlive_a_cleared_cache(site: Any) -> None:
    site.SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"
    client = Client()
    body(client, "/visits/")
    cache.clear()
    assert body(client, "/visits/") == "2"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.django_db
def test_damaged_entries_are_misses_and_no_errors(site: Any, engine: str, caplog: pytest.LogCaptureFixture) -> None:
    site.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    client = Client()
    assert [body(client, path) for path in ("/cached/", "/fragment/Ada/", "/visits/")] == ["cached 1", "Ada 1", "1"]
    inner = cache.client.engine
    entries, _ = inner.store.list(inner.names.root, timeout=5)
    assert len(entries) == 4
    for entry in entries:
        inner.store.put(Write(entry.object_key, b"junk", {"junk": "x"}), timeout=5)
    visits = {"cache": "1", "cached_db": "2"}[engine]
    assert [body(client, path) for path in ("/cached/", "/fragment/Ada/", "/visits/")] == ["cached 2", "Ada 2", visits]
    assert "it counts as a miss" in caplog.text


def test_a_session_key_is_taken_by_one(site: Any) -> None:
    """``create`` depends on ``add`` to find a collision."""
    first = SessionStore()
    first.create()
    assert first.exists(first.session_key)
    with pytest.raises(CreateError):
        SessionStore(first.session_key).save(must_create=True)
