"""What this process knows about outages of S3, from the cache's log records: their ``event`` names the kind."""

from __future__ import annotations

import logging
import time

#: Whether there is an outage, and the last log lines: epoch seconds and message.
away = False
lines: list[tuple[float, str]] = []

KEPT = 6


class Watch(logging.Handler):
    """A handler for the logger ``cloudcached``."""

    def emit(self, record: logging.LogRecord) -> None:
        """Record the beginning and the end of an outage."""
        global away  # noqa: PLW0603 the state of this process
        event = getattr(record, "event", "")
        if event in ("outage", "recovery"):
            away = event == "outage"
            lines.append((time.time(), record.getMessage().split(" (")[0] if away else record.getMessage()))
            del lines[:-KEPT]
