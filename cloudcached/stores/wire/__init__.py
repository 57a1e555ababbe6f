"""The whole port over keep-alive sockets of our own: HTTP/1.1, signed, bounded and strict."""

from __future__ import annotations
