"""``cache_event``: sent for what happens to a cache beside its calls, such as a refused entry or an outage.

    @cache_event.connect
    def on_event(client, event, count): ...

event: the name under which ``client.stats()`` counts it. It is sent in the thread where it happens, so receivers should
take no time; what they raise is logged and goes no further.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from blinker import Namespace

from cloudcached import Client

_log = logging.getLogger("cloudcached.flask")

cache_event: Final = Namespace().signal("cache-event")


@dataclass(frozen=True)
class Sender:
    """Sends what a client counts; those of one client are the same listener to it."""

    client: Client

    def __call__(self, event: str, count: int) -> None:
        """Send one event."""
        try:
            cache_event.send(self.client, event=event, count=count)
        except Exception:  # noqa: BLE001 - whatever a receiver raises, the cache goes on
            _log.exception("a receiver of cache_event failed")
