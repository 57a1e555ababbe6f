"""For the tests of those who use CloudCached: a clock, watched stores, a local S3 server, and fixtures of pytest.

pytest finds the fixtures by itself (``plugin``). What is here works without it too: ``docs/testing.md``.
"""

from __future__ import annotations

from .clock import FakeClock
from .guard import only_on
from .server import LocalServer
from .stores import Request
from .watch import Faults, Requests, Watch

__all__ = ["FakeClock", "Faults", "LocalServer", "Request", "Requests", "Watch", "only_on"]
