"""The bytes of one entry. Nothing here does I/O or reads a clock."""

from __future__ import annotations
