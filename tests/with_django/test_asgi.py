"""A Django site on a real ASGI server: a process of its own, with many requests at a time."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from crew import at_once

MANY = 100

#: Nobody is answered before all have come, so that all of them ask the cache at once.
SITE = """
import asyncio, json, os, socket, sys

from django.conf import settings
from django.http import HttpResponse
from django.urls import path

settings.configure(
    SECRET_KEY="of this test",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    CACHES={
        "default": {
            "BACKEND": "cloudcached_django.S3Cache",
            "LOCATION": os.environ["CACHE_URL"],
            "OPTIONS": {"timeout": 60},  # a busy machine is no bug
        },
    },
)

import django
import uvicorn
from django.core.asgi import get_asgi_application
from django.core.cache import cache

MANY = int(os.environ["MANY"])
arrived = 0
everyone = asyncio.Event()

async def fill(request):
    failed = await cache.aset_many({str(number): {"number": number} for number in range(MANY)}, 60)
    return HttpResponse(json.dumps(failed))

async def one(request, number):
    global arrived
    arrived += 1
    if arrived == MANY:
        everyone.set()
    await everyone.wait()
    return HttpResponse(json.dumps(await cache.aget(str(number))))

async def together(request):
    values = await asyncio.gather(*[cache.aget(str(number)) for number in range(MANY)])
    return HttpResponse(json.dumps(values))

async def count(request):
    return HttpResponse(json.dumps(await cache.aincr("visits")))

async def begin(request):
    return HttpResponse(json.dumps(await cache.aadd("visits", 0, 60)))

urlpatterns = [path(f"{view.__name__}/", view) for view in (fill, together, count, begin)]
urlpatterns.append(path("one/<int:number>/", one))

config = uvicorn.Config(get_asgi_application(), lifespan="off", log_level="warning")
uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(sys.argv[1]))])
"""


@pytest.fixture
def ask(s3_url: str) -> Iterator[Callable[[str], Any]]:
    """Give what asks a site that uvicorn serves for a page, and returns its JSON."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=2 * MANY)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    number = listener.fileno()
    paths = os.pathsep.join(filter(None, sys.path))
    env = {**os.environ, "PYTHONPATH": paths, "CACHE_URL": s3_url, "MANY": str(MANY)}
    env.pop("DJANGO_SETTINGS_MODULE", None)
    command = [sys.executable, "-c", SITE, str(number)]
    with listener, subprocess.Popen(command, pass_fds=[number], env=env) as process:

        def ask(page: str) -> Any:
            with urllib.request.urlopen(f"{address}/{page}/", timeout=120) as response:
                return json.load(response)

        try:
            yield ask
        finally:
            process.terminate()
            try:
                process.wait(30)
            finally:
                process.kill()


@pytest.mark.slow
def test_many_requests_that_await_the_cache(ask: Callable[[str], Any]) -> None:
    assert ask("fill") == []
    answers = at_once(*[partial(ask, f"one/{number}") for number in range(MANY)])
    assert answers == [{"number": number} for number in range(MANY)]


@pytest.mark.slow
def test_a_view_that_awaits_many_at_once(ask: Callable[[str], Any]) -> None:
    assert ask("fill") == []
    assert ask("together") == [{"number": number} for number in range(MANY)]


@pytest.mark.slow
@pytest.mark.real
def test_many_requests_that_count(ask: Callable[[str], Any], server: Any) -> None:
    assert ask("begin") is True
    answers = at_once(*[partial(ask, "count") for _ in range(MANY)])
    assert sorted(answers) == list(range(1, MANY + 1))
