"""Several callers, one result: locks, leases, single flight."""

from __future__ import annotations
