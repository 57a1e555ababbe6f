"""``cache_event``: sent for events in a cache that no call reports, such as a refused entry or an outage.

    @receiver(cache_event)
    def on_event(event: str, count: int, url: str, **_: object) -> None: ...

event: the name under which ``client.stats()`` counts it. The signal is sent in the thread where the event happens, so
receivers should be fast. Django logs an exception in a receiver and does not pass it on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.dispatch import Signal

cache_event: Final = Signal()


@dataclass(frozen=True)
class Sender:
    """Sends the events of a client. Equal for equal URLs, so that a client has one such listener."""

    url: str

    def __call__(self, event: str, count: int) -> None:
        """Send one event."""
        cache_event.send_robust(sender=Sender, url=self.url, event=event, count=count)
