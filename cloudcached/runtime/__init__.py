"""What every room above may use: clocks, time budgets, threads, processes, counters, log lines. Knows nothing of S3."""

from __future__ import annotations
