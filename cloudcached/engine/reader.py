"""Reads by ``get``, ``get_many`` and the first look of ``get_or_put``: those that a near tier may answer.

All other methods ask the store, through the engine.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from ..entry.format import Place
from .engine import Engine
from .snapshot import UNKNOWN, Snapshot


class Reader(Protocol):
    """Reads values, from the store or from nearer."""

    def read(self, key: str, /) -> Any:
        """Return the live value of *key*, or ``MISSING``. Cost: at most 1 GET."""

    def fetch(self, place: Place, /) -> Any:
        """Return the value that ``read`` would, without looking in this process's memory. Cost: at most 1 GET."""

    def near_value(self, key: str) -> Any:
        """Return what ``read`` would, or ``UNKNOWN`` if that needs a request or would block the event loop."""

    def near_values(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values of those *keys* that need no request, by key."""

    def snapshot(self, place: Place) -> Snapshot:
        """Return the state of *place*, from where ``read`` would take it. Metadata without a nonce was held near.

        Cost: as ``read``.
        """


class StoreReader:
    """Reads from the store, if there is no near tier."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def read(self, key: str) -> Any:
        """Return the live value of *key*, or ``MISSING``. Cost: 1 GET."""
        engine = self._engine
        return engine.read(engine.place(key))

    def fetch(self, place: Place) -> Any:
        """Return the live value of *place*, or ``MISSING``. Cost: 1 GET."""
        return self._engine.read(place)

    def near_value(self, key: str) -> Any:  # noqa: ARG002 - nothing is near
        """Return ``UNKNOWN``."""
        return UNKNOWN

    def near_values(self, keys: Iterable[str]) -> dict[str, Any]:  # noqa: ARG002
        """Return no values."""
        return {}

    def snapshot(self, place: Place) -> Snapshot:
        """Return what is under *place*. Cost: 1 GET."""
        engine = self._engine
        return engine.note_read(place, engine.get(place))
