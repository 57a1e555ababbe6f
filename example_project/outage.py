"""What this process has heard of S3 being away, from the log records that the cache writes: ``event`` tells which."""

from __future__ import annotations

import logging
import time

#: Is there an outage, and the last lines: when in epoch seconds, and what was said.
away = False
lines: list[tuple[float, str]] = []

KEPT = 6


class Watch(logging.Handler):
    """A handler for the log ``cloudcached``."""

    def emit(self, record: logging.LogRecord) -> None:
        """Take note of the begin and of the end of an outage."""
        global away  # noqa: PLW0603 what is known of this process
        event = getattr(record, "event", "")
        if event in ("outage", "recovery"):
            away = event == "outage"
            lines.append((time.time(), record.getMessage().split(" (")[0] if away else record.getMessage()))
            del lines[:-KEPT]
