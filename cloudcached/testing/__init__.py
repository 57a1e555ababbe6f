"""For tests of code that uses CloudCached: a clock, watched stores, a local S3 server, and fixtures for pytest.

pytest finds the fixtures by itself (``plugin``). Everything else here works without pytest too: see ``docs/testing.md``.
"""

from __future__ import annotations

from .clock import FakeClock
from .guard import only_on
from .server import LocalServer
from .stores import Request
from .watch import Faults, Requests, Watch

__all__ = ["FakeClock", "Faults", "LocalServer", "Request", "Requests", "Watch", "only_on"]
