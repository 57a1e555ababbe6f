"""Beside what sites watch themselves with: django-debug-toolbar's cache panel, and django-prometheus."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

SITE = """
import json, sys
import django
from django.conf import settings

settings.configure(
    DEBUG=True,
    SECRET_KEY="of this test",
    ALLOWED_HOSTS=["testserver"],
    ROOT_URLCONF="__main__",
    INTERNAL_IPS=["127.0.0.1"],
    STATIC_URL="/static/",
    INSTALLED_APPS=["django.contrib.staticfiles", "cloudcached_django", *APPS],
    MIDDLEWARE=MIDDLEWARE,
    CACHES={"default": {"BACKEND": "cloudcached_django.S3Cache", "LOCATION": "memory://beside"}},
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
    DEBUG_TOOLBAR_CONFIG={"IS_RUNNING_TESTS": False},
)
django.setup()

from django.core.cache import cache
from django.http import HttpResponse
from django.urls import include, path
from django.test import Client


def page(request):
    cache.set("k", 1)
    cache.get("k")
    cache.get("none")
    cache.get_many(["k", "none"])
    cache.touch("k")
    return HttpResponse("<html><body>page</body></html>")
"""

TOOLBAR = (
    'APPS, MIDDLEWARE = ["debug_toolbar"], ["debug_toolbar.middleware.DebugToolbarMiddleware"]\n'
    + SITE
    + """
from debug_toolbar.panels.cache import CachePanel
from debug_toolbar.toolbar import debug_toolbar_urls

urlpatterns = [path("page/", page), *debug_toolbar_urls()]
seen = []
generate = CachePanel.generate_stats


def keep(panel, request, response):
    generate(panel, request, response)
    seen.append(panel.get_stats())


CachePanel.generate_stats = keep
response = Client().get("/page/")
(stats,) = seen
names = [call["name"] for call in stats["calls"]]
print(json.dumps({
    "status": response.status_code, "names": names, "hits": stats["hits"], "misses": stats["misses"],
    "shown": b"djdt-CachePanel" in response.content, "counted": cache.client.stats(),
}))
"""
)

PROMETHEUS = (
    """
NAME = "django_prometheus.middleware.Prometheus"
APPS, MIDDLEWARE = ["django_prometheus"], [NAME + "BeforeMiddleware", NAME + "AfterMiddleware"]
"""
    + SITE
    + """
from prometheus_client import REGISTRY
from cloudcached.metrics.prometheus import CacheCollector

REGISTRY.register(CacheCollector(cache.client))
urlpatterns = [path("page/", page), path("", include("django_prometheus.urls"))]
Client().get("/page/")
print(json.dumps({"text": Client().get("/metrics").content.decode()}))
"""
)


def told(script: str) -> Any:
    """Return what a site in a process of its own prints."""
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_cache_panel_of_the_debug_toolbar() -> None:
    pytest.importorskip("debug_toolbar")
    found = told(TOOLBAR)
    assert (found["status"], found["shown"]) == (200, True)
    assert found["names"] == ["set", "get", "get", "get_many", "touch"]
    assert (found["hits"], found["misses"]) == (2, 2)
    assert (found["counted"]["hits"], found["counted"]["misses"]) == (2, 2)


def test_django_prometheus_shows_the_site_and_the_cache() -> None:
    pytest.importorskip("django_prometheus")
    lines = told(PROMETHEUS)["text"].splitlines()
    assert 'cloudcached_lookups_total{cache="default",result="hit"} 2.0' in lines
    assert 'cloudcached_calls_total{cache="default",verb="put"} 1.0' in lines
    assert any(line.startswith("django_http_requests_total_by_method_total") for line in lines)
