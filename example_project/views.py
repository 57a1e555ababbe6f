"""Ways to cache in Django, on pages that take seconds to compute."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np
from django.core.cache import cache
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.cache import cache_page

from . import conf, ising, ladder, plots, quench, visits


def index(request: HttpRequest) -> HttpResponse:
    """Explain the site, under a strip of pictures."""
    some = [quench.TIMES[round(share * (len(quench.TIMES) - 1))] for share in (0, 0.25, 0.45, 0.65, 0.85)]
    context = {
        "page": "index",
        "url": conf.CLOUDCACHED_URL,
        "shared": not conf.CLOUDCACHED_URL.startswith("memory:"),
        "frames": _frames("cold", some),
    }
    return render(request, "index.html", context)


def flask(request: HttpRequest) -> HttpResponse:  # noqa: ARG001
    """Redirect to the Flask app: a direct link on a cached page could be older than its address."""
    if not conf.FLASK_ADDRESS:
        raise Http404("FLASK_ADDRESS is not set")
    return redirect(conf.FLASK_ADDRESS)


def worker(request: HttpRequest) -> HttpResponse:  # noqa: ARG001
    """Return the name of the worker that answers, after its first request to S3, which imports the client."""
    cache.get("worker")
    return HttpResponse(conf.WORKER, content_type="text/plain")


@cache_page(conf.KEEP)
def energy(request: HttpRequest) -> HttpResponse:
    """Show energy against magnetisation: the whole page is one entry."""
    with visits.computing():
        temperatures = np.linspace(1.5, 3.5, 24).tolist()
        result = ising.exchange(temperatures, sweeps=conf.sweeps(5000))
    context = {
        "page": "energy",
        "picture": mark_safe(plots.energy_against_magnetisation(result)),  # noqa: S308 our own SVG
        "temperatures": len(temperatures),
        "samples": f"{result.energies.size:,}",
        "accepted": round(100 * result.accepted),
    }
    return render(request, "energy.html", context)


def hysteresis(request: HttpRequest) -> HttpResponse:
    """Show hysteresis loops: only the fragment with the picture is an entry.

    The template calls ``picture`` inside ``{% cache %}``, so only if the fragment is not in the cache.
    """

    def picture() -> SafeString:
        with visits.computing():
            loops = ising.hysteresis([1.2, 1.8, 3.0], steps=160, sweeps=conf.sweeps(10), copies=6)
        return mark_safe(plots.hysteresis_loops(loops))  # noqa: S308 our own SVG

    return render(request, "hysteresis.html", {"page": "hysteresis", "picture": picture, "keep": conf.KEEP})


def replicas(request: HttpRequest, *, fine: bool) -> HttpResponse:
    """Show averages against temperature: each temperature is an entry, and only missing ones are computed."""
    wanted = {ladder.key(t): t for t in ladder.temperatures(fine=fine)}
    found = cache.get_many(wanted)
    missing = [t for key, t in wanted.items() if key not in found]
    if missing:
        with visits.computing():
            fresh = {ladder.key(r.temperature): r for r in ladder.compute(missing)}
        cache.set_many(fresh)
        found |= fresh
    visits.tell(f"{len(wanted)} temperatures: {len(wanted) - len(missing)} from the cache, {len(missing)} computed")
    context = {
        "page": "replicas",
        "pictures": [mark_safe(svg) for svg in plots.thermodynamics([found[key] for key in wanted])],  # noqa: S308
        "fine": fine,
        "side": ladder.SIDE,
        "chains": ladder.CHAINS,
    }
    return render(request, "replicas.html", context)


def lattice(request: HttpRequest, *, state: str) -> HttpResponse:
    """Show a lattice as it cools: each frame is a PNG, and an entry."""
    if state not in quench.TEMPERATURES:
        raise Http404("no such state")
    frames = _frames(state, quench.TIMES)
    context = {
        "page": "lattice",
        "state": state,
        "temperature": quench.TEMPERATURES[state],
        "temperatures": quench.TEMPERATURES,
        "times": quench.TIMES,
        "frames": frames,
    }
    return render(request, "lattice.html", context)


def _frames(state: str, times: Sequence[int]) -> list[str]:
    """Return frames of a lattice as data URLs; if one of them is missing, all frames of that lattice are computed."""
    keys = [quench.key(state, time) for time in times]
    found = cache.get_many(keys)
    if len(found) < len(keys):
        with visits.computing():
            found = quench.compute(state)
        cache.set_many(found)
    visits.tell(f"{len(keys)} pictures, {sum(len(found[key]) for key in keys) / 1024:.0f} KB")
    return [f"data:image/png;base64,{base64.b64encode(found[key]).decode()}" for key in keys]
