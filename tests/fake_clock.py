"""The clock of these tests, which is the one that users get for theirs."""

from __future__ import annotations

from cloudcached.testing import FakeClock

__all__ = ["FakeClock"]
