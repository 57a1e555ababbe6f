"""The bytes of one entry: pure functions and values, no I/O, no clock, no threads."""

from __future__ import annotations
