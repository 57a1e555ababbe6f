"""The status page on a Django site: who may see it, and what it tells."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache, caches
from django.test import Client

from cloudcached import StoreUnreachable, status
from cloudcached.stores.port import Write
from cloudcached_django import signals

pytestmark = pytest.mark.django_db
ASKING = {"HTTP_X_REQUESTED_WITH": "cloudcached"}
PATHS = ["/status/", "/status/data/", "/status/contents/?cache=default"]


@pytest.fixture
def staff(site: Any) -> Client:
    client = Client()
    client.force_login(User.objects.create_user("staff", is_staff=True))
    return client


@pytest.mark.parametrize("path", PATHS)
def test_who_is_not_signed_in_is_sent_to_the_login(site: Any, path: str) -> None:
    response = Client().get(path, **ASKING)
    assert response.status_code == 302
    assert response["Location"].startswith("/accounts/login/?next=/status/")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("user", [{"is_staff": False}, {"is_staff": True, "is_active": False}])
def test_all_others_are_refused(site: Any, path: str, user: dict[str, bool]) -> None:
    client = Client()
    client.force_login(User.objects.create_user("user", **user))
    assert client.get(path, **ASKING).status_code in ({403} if user.get("is_active", True) else {302})


@pytest.mark.parametrize("path", PATHS)
def test_the_staff_sees_it(staff: Client, path: str) -> None:
    response = staff.get(path, **ASKING)
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    assert staff.post(path, **ASKING).status_code == 405


def test_the_page_runs_its_own_script_alone(staff: Client) -> None:
    response = staff.get("/status/")
    html = response.content.decode()
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in response["Content-Security-Policy"]
    assert "default-src 'none'" in response["Content-Security-Policy"]
    assert not re.findall(r"innerHTML|insertAdjacent|document\.write|https?://|<link|<img|\son\w+=", html)


def test_figures_are_those_of_the_caches(staff: Client) -> None:
    cache.set("k", 1)
    cache.get("k")
    cache.get("none")
    (found,) = staff.get("/status/data/").json()["caches"]
    assert (found["name"], found["url"]) == ("default", caches["default"].client.url)
    assert (found["hits"], found["misses"], found["hit_rate"]) == (1, 1, 0.5)
    assert found["calls"]["put"]["count"] == found["store"]["put"]["count"] == 1
    before = found["requests"]
    assert staff.get("/status/data/").json()["caches"][0]["requests"] == before


def test_contents_are_counted_once_a_minute(staff: Client, watch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "<script>alert(1)</script>/x"
    cache.set(key, 1)
    store = watch(cache)
    response = staff.get(PATHS[2], **ASKING)
    assert response["Content-Type"] == "application/json"
    assert response["X-Content-Type-Options"] == "nosniff"
    found = response.json()
    assert (found["entries"], found["estimated"]) == (1, False)
    assert found["prefixes"][0][:2] == [":1:<script>alert(1)</", 1]
    assert staff.get(PATHS[2], **ASKING).json() == found
    assert store.since() == ["list"]
    monkeypatch.setattr("cloudcached.runtime.clock.SystemClock.monotonic", staticmethod(lambda: 1e12))
    staff.get(PATHS[2], **ASKING)
    assert store.since() == ["list"]


def test_no_other_site_can_have_it_counted(staff: Client, watch: Any) -> None:
    store = watch(cache)
    assert staff.get(PATHS[2]).status_code == 404
    assert staff.get("/status/contents/?cache=other", **ASKING).status_code == 404
    assert store.since() == []


def test_a_store_that_is_away_is_told(staff: Client, watch: Any) -> None:
    def away(verb: str, _: str) -> None:
        raise StoreUnreachable("away")

    watch(cache).before = away
    assert staff.get(PATHS[2], **ASKING).status_code == 503


def test_other_caches_are_not_shown(staff: Client, settings: Any) -> None:
    settings.CACHES = {**settings.CACHES, "local": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    assert [found["name"] for found in staff.get("/status/data/").json()["caches"]] == ["default"]
    assert staff.get("/status/contents/?cache=local", **ASKING).status_code == 404


def test_the_page_is_in_the_package() -> None:
    assert (Path(status.__file__).parent / "page.html").is_file()


def test_a_signal_tells_of_events(site: Any, watch: Any) -> None:
    told: list[tuple[str, str, int]] = []

    def receive(url: str, event: str, count: int, **_: Any) -> None:
        told.append((url, event, count))
        raise ValueError("of a receiver")

    signals.cache_event.connect(receive)
    try:
        engine = cache.client.engine
        engine.store.put(Write(engine.place(":1:bad").object_key, b"no entry", {}), timeout=1)
        assert cache.get("bad") is None
        assert caches["default"].client.url == told[0][0]
    finally:
        signals.cache_event.disconnect(receive)
    assert [(event, count) for _, event, count in told] == [("refused.format", 1)]
