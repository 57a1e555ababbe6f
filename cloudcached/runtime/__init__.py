"""What every floor may use: time, threads, processes, counts."""

from __future__ import annotations
