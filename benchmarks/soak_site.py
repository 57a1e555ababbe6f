"""The Django site of the soak: each page gets a value from the cache, checks it, and sets one if there was none."""

from __future__ import annotations

import os
import time

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

settings.configure(
    SECRET_KEY="soak",  # noqa: S106 - of a site that lives for minutes on loopback
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["cloudcached_django"],
    CACHES={
        "default": {
            "BACKEND": "cloudcached_django.S3Cache",
            "LOCATION": os.environ["SOAK_URL"],
            "OPTIONS": {"timeout": 2},
        }
    },
)
django.setup()

from django.core.cache import cache  # noqa: E402 - needs the settings

_began = time.monotonic()


def page(_request: HttpRequest, number: int) -> JsonResponse:
    """Answer whether the value of *number* was in the cache; a wrong value is an error 500."""
    key = f"page-{number}"
    value = cache.get(key)
    cached = value is not None
    if cached and value != {"number": number, "text": "x" * 2000}:
        return JsonResponse({"wrong": value}, status=500)
    if not cached:
        cache.set(key, {"number": number, "text": "x" * 2000}, 60)
    if number % 10 == 0:
        cache.get_or_set("shared", lambda: time.monotonic() - _began, 5)
    return JsonResponse({"cached": cached, "pid": os.getpid()})


urlpatterns = [path("<int:number>", page)]
application = get_wsgi_application()
