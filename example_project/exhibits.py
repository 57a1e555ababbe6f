"""Two exhibits with buttons: a stampede, with and without protection, and the plug of S3."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

from django.core import signing
from django.core.cache import cache
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from . import conf, crowd, ising, outage, plug, quench, visits

#: Seconds for which the exhibits' results are kept.
KEEP = 60
WAYS = ("plain", "lock")
SWITCH = ("in", "out")


def stampede(request: HttpRequest) -> HttpResponse:
    """Show the page with the buttons."""
    return render(request, "stampede.html", {"page": "stampede", "size": crowd.SIZE})


@require_POST
def stampede_run(request: HttpRequest, way: str) -> StreamingHttpResponse:
    """Send a crowd to ``value``; stream a line of JSON about each visit as soon as it is over.

    Each run requests a value of its own, which cannot have been computed before. Its name is signed, so that only this
    button can make entries. The crowd's requests come back to this site, which therefore needs threads or several workers.
    """
    if way not in WAYS:
        raise Http404("no such way")
    run = signing.dumps([way, secrets.token_hex(8)], salt="stampede")
    url = request.build_absolute_uri(f"/stampede/value/{run}/")

    def lines() -> Iterator[str]:
        for visit in crowd.ask(url):
            yield json.dumps(visit) + "\n"

    return StreamingHttpResponse(lines(), content_type="application/x-ndjson")


@never_cache
def value(request: HttpRequest, run: str) -> JsonResponse:  # noqa: ARG001
    """Return the value that the crowd wants, in one of the two ways."""
    try:
        way, name = signing.loads(run, salt="stampede", max_age=600)
    except signing.BadSignature as error:
        raise Http404("no run of this name") from error
    computed = False

    def compute() -> float:
        nonlocal computed
        computed = True
        return ising.replica(2.3, side=64, chains=8, sweeps=160).energy

    key = f"stampede:{name}"
    if way == "lock":
        energy = cache.get_or_set(key, compute, KEEP, lock=True)
    else:
        energy = cache.get(key)
        if energy is None:
            energy = compute()
            cache.set(key, energy, KEEP)
    return JsonResponse({"energy": energy, "computed": computed, "worker": conf.WORKER})


def pull(request: HttpRequest) -> HttpResponse:
    """Show the page with the plug, or explain how to get one."""
    context = {"page": "plug", "ours": bool(conf.PLUG_ADDRESS), "plugged": _plug()["in"] if conf.PLUG_ADDRESS else True}
    return render(request, "plug.html", context)


@require_POST
def pull_switch(request: HttpRequest, to: str) -> JsonResponse:  # noqa: ARG001
    """Pull the plug, or put it in."""
    if to not in SWITCH:
        raise Http404("in or out")
    return JsonResponse({"in": _plug(to)["in"]})


@never_cache
def tick(request: HttpRequest) -> JsonResponse:  # noqa: ARG001
    """Serve as a page that is visited all the time: a cached picture, and what this process knows about S3."""
    begun = time.perf_counter()
    computed = False

    def compute() -> bytes:
        nonlocal computed
        computed = True
        with visits.computing():
            return quench.png(ising.quench(1.0, side=64, times=[100])[0])

    picture = cache.get_or_set("plug:picture", compute, KEEP)
    stats = cache.client.stats()
    counts = {name: stats.get(name, 0) for name in ("hits", "misses", "outages", "not_asked", "retries")}
    counts["requests"] = sum(count for name, count in stats.items() if name.startswith("requests."))
    return JsonResponse(
        {
            "worker": conf.WORKER,
            "computed": computed,
            "bytes": len(picture),
            "ms": round(1000 * (time.perf_counter() - begun), 1),
            "away": outage.away,
            "lines": outage.lines,
            "stats": counts,
        }
    )


def _plug(to: str = "") -> dict[str, Any]:
    """Return the state of the plug, after switching it if *to* is given."""
    if not conf.PLUG_ADDRESS:
        raise Http404("S3 is not the demo's own server")
    request = Request(conf.PLUG_ADDRESS, data=to.encode() or None, headers={plug.HEADER: "demo"})  # noqa: S310 our own
    with build_opener(ProxyHandler({})).open(request, timeout=10) as response:
        state: dict[str, Any] = json.load(response)
    return state
