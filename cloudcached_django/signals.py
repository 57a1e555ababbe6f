"""``cache_event``: sent for what happens to a cache beside its calls, such as a refused entry or an outage.

    @receiver(cache_event)
    def on_event(event: str, count: int, url: str, **_: object) -> None: ...

event: the name under which ``client.stats()`` counts it. It is sent in the thread where it happens, so receivers should
take no time; what they raise is logged by Django, and goes no further.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.dispatch import Signal

cache_event: Final = Signal()


@dataclass(frozen=True)
class Sender:
    """Sends what a client counts; those of one URL are the same listener to it."""

    url: str

    def __call__(self, event: str, count: int) -> None:
        """Send one event."""
        cache_event.send_robust(sender=Sender, url=self.url, event=event, count=count)
