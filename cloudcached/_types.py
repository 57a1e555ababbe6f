"""Sentinels and small types that every floor may use."""

from __future__ import annotations

import datetime as dt
import enum
import os
from collections.abc import Callable
from typing import Any, BinaryIO, Final, Protocol, TypeAlias


class Missing(enum.Enum):
    """The type of ``MISSING``: an enum, so that type checkers can narrow on ``is MISSING``."""

    #: Where ``MISSING`` is public: pickles name that, and not this module.
    __module__ = "cloudcached"

    MISSING = "MISSING"

    def __reduce_ex__(self, protocol: object) -> Any:
        return "MISSING"  # pickled as the global of that name

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False


#: "There is no live entry", as opposed to a stored ``None``: pass it as ``default`` to tell the two apart.
MISSING: Final = Missing.MISSING

#: Seconds, a ``timedelta``, or ``None`` for never; zero or negative: gone at once.
TimeToExpire: TypeAlias = "int | float | dt.timedelta | None"

#: The types of a request's body.
Bytes: TypeAlias = "bytes | bytearray | memoryview"

#: The source of ``put_file``: a path, or an object that is read like a binary file.
FileSource: TypeAlias = "str | os.PathLike[str] | BinaryIO"
#: The target of ``get_file``: a path, or an object that is written like a binary file.
FileTarget: TypeAlias = "str | os.PathLike[str] | BinaryIO"
#: Called with the number of bytes transferred so far, and the total if it is known.
Progress: TypeAlias = "Callable[[int, int | None], object]"


class Clock(Protocol):
    """The source of all time; tests pass one that they advance themselves."""

    def time(self) -> float:
        """Return seconds since the epoch."""

    def monotonic(self) -> float:
        """Return seconds that never go back; only differences between them have a meaning."""

    def sleep(self, seconds: float) -> None:
        """Wait."""
