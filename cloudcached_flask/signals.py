"""``cache_event``: sent for events in a cache that no call reports, such as a refused entry or an outage.

    @cache_event.connect
    def on_event(client, event, count): ...

event: the name under which ``client.stats()`` counts it. The signal is sent in the thread where the event happens, so
receivers should be fast. An exception in a receiver is logged and not passed on.
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
    """Sends the events of a client. Equal for equal clients, so that a client has one such listener."""

    client: Client

    def __call__(self, event: str, count: int) -> None:
        """Send one event."""
        try:
            cache_event.send(self.client, event=event, count=count)
        except Exception:  # noqa: BLE001 - a receiver must not break the cache
            _log.exception("a receiver of cache_event failed")
