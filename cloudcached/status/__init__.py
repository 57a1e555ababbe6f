"""The status page: one HTML file and its figures as JSON, which Django and Flask only hand out.

Live figures are this process's own: ``Client.stats`` sends no request. What the bucket holds costs a few LISTs, so it
is counted when somebody asks, within a budget, and remembered for a while.
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

#: LISTs for one look at the bucket: up to 10,000 entries are counted exactly; and seconds for which it is remembered.
LISTS: Final = 10
REMEMBERED: Final = 60.0
#: Beginnings of keys that are shown.
_ROWS: Final = 20
#: What the page sends when it asks for the bucket's contents. No form or picture of another site can, so none can
#: let a signed-in member of the staff spend requests.
ASKING: Final = ("X-Requested-With", "cloudcached")


def _page() -> tuple[str, Mapping[str, str]]:
    """Return the page, and headers that let its own script and style run and nothing else."""
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


#: Headers of every answer: caches on the way, and the site's own, are to keep none.
PRIVATE: Final[Mapping[str, str]] = {
    "Cache-Control": "max-age=0, no-cache, no-store, must-revalidate, private",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class StatusPage:
    """What a status page shows of some caches.

    caches: returns the clients by the names that the page gives them; asked at each view. The page loads ``data/``
    and, by a button, ``contents/?cache=NAME``, both beside its own URL. Who may see it is for the framework to say.
    """

    #: Headers of the page, and of what it loads.
    page_headers: Mapping[str, str]
    headers: Mapping[str, str] = PRIVATE

    def __init__(self, caches: Callable[[], Mapping[str, Client]]) -> None:
        self._caches = caches
        self._clock = SystemClock()
        self.html, self.page_headers = _page()
        #: Held while a bucket is looked at; by client what was found, and until when it holds.
        self._looked: PerProcess[tuple[threading.Lock, dict[Client, tuple[float, dict[str, Any]]]]] = PerProcess(
            lambda: (threading.Lock(), {})
        )

    def data(self) -> dict[str, Any]:
        """Return what this process's caches have done, for JSON. **Cost:** no request."""
        return {
            "pid": os.getpid(),
            "now": self._clock.time(),
            "caches": [_figures(name, client) for name, client in self._caches().items()],
        }

    def contents(self, name: str, asking: str | None) -> dict[str, Any] | None:
        """Return what the bucket of the cache *name* holds, for JSON; ``None`` for one that is not there.

        asking: the header ``X-Requested-With`` of the request; without the page's own the answer is ``None`` too.
        Raises ``StoreError``. **Cost:** up to 10 LISTs; none where the same was asked less than a minute ago.
        """
        client = self._caches().get(name)
        if client is None or asking != ASKING[1]:
            return None
        lock, looked = self._looked()
        with lock:  # whoever asks meanwhile gets the same
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
    """Return *seconds*, ``None`` for what JSON cannot say."""
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
