"""The status page: one HTML file and its figures as JSON, which Django and Flask only need to serve.

Live figures are those of this process: ``Client.stats`` sends no requests. Counting the bucket's contents costs a few
LISTs, so it happens only on request, within a budget, and the result is kept for a while.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import threading
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any, Final

from ..client import Client
from ..maintenance.survey import survey
from ..metrics import dollars, events, group, hit_rate
from ..runtime.clock import SystemClock
from ..runtime.forks import PerProcess

#: The most LISTs of one count, which counts up to 10,000 entries exactly; and the seconds for which it is kept.
LISTS: Final = 10
REMEMBERED: Final = 60.0
#: The number of key prefixes that are shown.
_ROWS: Final = 20
#: The header with which the page asks for the bucket's contents. A form or an image on another site cannot send it, so
#: other sites cannot make a signed-in member of the staff spend requests.
ASKING: Final = ("X-Requested-With", "cloudcached")


def _page() -> tuple[str, Mapping[str, str]]:
    """Return the page, and headers that allow its own script and style and nothing else."""
    html = files(__name__).joinpath("page.html").read_text(encoding="utf-8")
    hashes = {}
    for tag in ("script", "style"):
        inside = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in inside]
        hashes[tag] = " ".join(f"'sha256-{digest}'" for digest in digests)
    policy = (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return html, {"Content-Security-Policy": policy, **PRIVATE}


#: Headers of every answer: no cache on the way, nor the site's own, may keep it.
PRIVATE: Final[Mapping[str, str]] = {
    "Cache-Control": "max-age=0, no-cache, no-store, must-revalidate, private",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class StatusPage:
    """The contents of a status page for some caches.

    caches: a function that returns the clients by the names that the page shows; called at each view. The page loads
    ``data/`` and, when a button is pressed, ``contents/?cache=NAME``, both relative to its own URL. The framework
    decides who may see it.
    """

    #: Headers of the page, and of what it loads.
    page_headers: Mapping[str, str]
    headers: Mapping[str, str] = PRIVATE

    def __init__(self, caches: Callable[[], Mapping[str, Client]]) -> None:
        self._caches = caches
        self._clock = SystemClock()
        self.html, self.page_headers = _page()
        #: A lock that is held while a bucket is counted; and for each client, when its count becomes stale, and the count.
        self._looked: PerProcess[tuple[threading.Lock, dict[Client, tuple[float, dict[str, Any]]]]] = PerProcess(
            lambda: (threading.Lock(), {})
        )

    def data(self) -> dict[str, Any]:
        """Return the statistics of this process's caches, for JSON. **Cost:** no requests."""
        return {
            "pid": os.getpid(),
            "now": self._clock.time(),
            "caches": [_figures(name, client) for name, client in self._caches().items()],
        }

    def contents(self, name: str, asking: str | None) -> dict[str, Any] | None:
        """Return the count of the bucket's contents for the cache *name*, for JSON; ``None`` if there is no such cache.

        asking: the header ``X-Requested-With`` of the request; unless it is the one that the page sends, the answer is
        ``None`` too. Raises ``StoreError``. **Cost:** up to 10 LISTs; none if there is a count less than a minute old.
        """
        client = self._caches().get(name)
        if client is None or asking != ASKING[1]:
            return None
        lock, looked = self._looked()
        with lock:  # concurrent callers wait, and get the same count
            until, found = looked.get(client, (0.0, {}))
            if self._clock.monotonic() >= until:
                found = _contents(client)
                looked[client] = self._clock.monotonic() + REMEMBERED, {**found, "counted": self._clock.time()}
            return looked[client][1]


def _figures(name: str, client: Client) -> dict[str, Any]:
    stats = client.stats()
    errors = group(stats, "errors.")
    rows = {
        what: {
            "count": latency.count,
            "errors": errors.get(what, 0),
            "median": _finite(latency.percentile(50)),
            "p99": _finite(latency.percentile(99)),
        }
        for what, latency in client.latencies().items()
    }
    return {
        "name": name,
        "url": client.url,
        "hits": stats.get("hits", 0),
        "misses": stats.get("misses", 0),
        "hit_rate": hit_rate(stats),
        "near": group(stats, "near."),
        "bytes": group(stats, "bytes."),
        "requests": sum(group(stats, "requests.").values()),
        "dollars": dollars(stats, client.url) if client.url.startswith("s3:") else 0.0,
        "calls": {what: row for what, row in rows.items() if "." not in what},
        "store": group(rows, "store."),
        "near_hits": group(rows, "near."),
        "events": dict(events({what: count for what, count in stats.items() if count})),
    }


def _finite(seconds: float) -> float | None:
    """Return *seconds*, or ``None`` for infinity, which JSON cannot express."""
    return None if seconds == float("inf") else seconds


def _contents(client: Client) -> dict[str, Any]:
    found = survey(client.engine, budget=LISTS)
    return {
        "entries": found.entries,
        "bytes": found.bytes,
        "oldest": found.oldest,
        "estimated": found.scale > 1,
        "known": found.known,
        "requests": found.requests,
        "prefixes": found.largest(_ROWS),
    }
