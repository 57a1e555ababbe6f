"""The pages of the test site. Each answers with the number of times that it was computed."""

from __future__ import annotations

from collections import Counter

from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import include, path
from django.views.decorators.cache import cache_page
from django.views.decorators.vary import vary_on_headers

#: How often each page was computed.
computed: Counter[str] = Counter()


def count(name: str) -> int:
    computed[name] += 1
    return computed[name]


def plain(request: HttpRequest) -> HttpResponse:
    """For the per-site middleware."""
    response = HttpResponse(f"plain {count('plain')}")
    response.set_cookie("seen", "yes")
    return response


@cache_page(600)
def cached(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"cached {count('cached')}")


@cache_page(600, key_prefix="regions")
@vary_on_headers("X-Region")
def varied(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{request.headers['X-Region']} {count('varied')}")


def fragment(request: HttpRequest, name: str) -> HttpResponse:
    return render(request, "fragment.html", {"name": name, "visit": count("fragment")})


async def low_level(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"low level {await cache.aget_or_set('number', lambda: count('low level'))}")


def visits(request: HttpRequest) -> HttpResponse:
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse(str(request.session["visits"]))


async def async_visits(request: HttpRequest) -> HttpResponse:
    """The session's own async methods came with Django 5.0."""
    number = await request.session.aget("visits", 0) + 1
    await request.session.aset("visits", number)
    return HttpResponse(str(number))


urlpatterns = [
    path("plain/", plain),
    path("status/", include("cloudcached_django.urls")),
    path("cached/", cached),
    path("varied/", varied),
    path("fragment/<str:name>/", fragment),
    path("low-level/", low_level),
    path("visits/", visits),
    path("async-visits/", async_visits),
]
