"""Several callers, one result: locks, leases, single flight, memoized functions."""

from __future__ import annotations
