"""Reading for ``get``, ``get_many`` and the first look of ``get_or_put``: what a near tier can answer.

All other methods ask the store, by the engine.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from ..entry.format import Place
from .engine import Engine
from .snapshot import UNKNOWN, Snapshot


class Reader(Protocol):
    """Where values are read from."""

    def read(self, key: str, /) -> Any:
        """Return the live value of *key*, or ``MISSING``. Cost: at most 1 GET."""

    def fetch(self, place: Place, /) -> Any:
        """Return what ``read`` does, and ask the store. Cost: 1 GET."""

    def near_value(self, key: str) -> Any:
        """Return what ``read`` would, or ``UNKNOWN`` if that needs a request or would block the event loop."""

    def near_values(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values of those *keys* that need no request."""

    def snapshot(self, place: Place) -> Snapshot:
        """Return what ``read`` does and what is known about it; metadata without a nonce was held near. Cost: as it."""


class StoreReader:
    """Reads from the store: there is no near tier."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def read(self, key: str) -> Any:
        """Return the live value of *key*, or ``MISSING``. Cost: 1 GET."""
        return self.snapshot(self._engine.place(key)).value

    def fetch(self, place: Place) -> Any:
        """Return what ``read`` does. Cost: 1 GET."""
        return self.snapshot(place).value

    def near_value(self, key: str) -> Any:  # noqa: ARG002 - nothing is near
        """Return ``UNKNOWN``."""
        return UNKNOWN

    def near_values(self, keys: Iterable[str]) -> dict[str, Any]:  # noqa: ARG002
        """Return nothing."""
        return {}

    def snapshot(self, place: Place) -> Snapshot:
        """Return what is under *place*. Cost: 1 GET."""
        engine = self._engine
        return engine.note_read(place, engine.get(place))
