"""A call's arguments as a short, stable text: the same for equal arguments in every process, and different for others.

Neither ``repr`` nor pickle will do: both depend on the order in which a dict or a set was filled, ``repr`` shows the
addresses of objects, and pickle differs between versions. So only types with one exact form are accepted.
"""

from __future__ import annotations

import datetime as dt
import enum
import hashlib
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final
from uuid import UUID

from ..errors import KeyRejected


def _moment(value: Any) -> str:
    zone = getattr(value.tzinfo, "key", "")  # Paris and Berlin have the same offsets today, but perhaps not for ever
    return f"{value.isoformat()} {value.fold} {zone}"


_SCALARS: Final[dict[type, tuple[str, Callable[[Any], str]]]] = {
    type(None): ("n", str),
    bool: ("b", str),
    int: ("i", hex),  # Python limits the length of decimal text
    float: ("f", float.hex),
    complex: ("c", lambda value: f"{value.real.hex()} {value.imag.hex()}"),
    str: ("s", str),
    bytes: ("y", bytes.hex),
    Decimal: ("D", str),
    Fraction: ("F", str),
    UUID: ("U", str),
    dt.date: ("d", dt.date.isoformat),
    dt.time: ("t", _moment),
    dt.datetime: ("T", _moment),
    dt.timedelta: ("L", lambda value: f"{value.days} {value.seconds} {value.microseconds}"),
}


def digest(arguments: Mapping[str, Any]) -> str:
    """Return 64 hex digits for *arguments*, which come in the order of the function's parameters.

    Types count: 1, 1.0 and ``True`` differ. The order in which dicts and sets were filled does not count. Accepted are
    the base types, ``Decimal``, ``Fraction``, ``UUID``, dates and times, enum members, and lists, tuples, dicts, sets
    and frozensets of these. Raises ``KeyRejected`` for a value of any other type.
    """
    whole = hashlib.sha256()
    for name, value in arguments.items():
        try:
            whole.update(_tagged("a", _encoded(name) + _encoded(value)))
        except KeyRejected as error:
            raise KeyRejected(f"the argument {name!r}: {error}") from None
        except RecursionError:
            raise KeyRejected(f"the argument {name!r} is nested too deeply, or contains itself") from None
    return whole.hexdigest()


def _encoded(value: Any) -> bytes:
    """Return bytes that begin with the value's type and length, so that joined values cannot be confused."""
    kind = type(value)
    if kind in _SCALARS:
        tag, text = _SCALARS[kind]
        return _tagged(tag, text(value).encode("utf-8", "surrogatepass"))
    if kind is list or kind is tuple:
        return _tagged("l" if kind is list else "u", b"".join(map(_encoded, value)))
    if kind is set or kind is frozenset:
        return _tagged("e", b"".join(sorted(map(_encoded, value))))
    if kind is dict:
        return _tagged("m", b"".join(sorted(_encoded(key) + _encoded(item) for key, item in value.items())))
    if isinstance(value, enum.Enum):
        name = (
            str(value.value) if isinstance(value, enum.Flag) else value.name
        )  # a combination of flags may have no name
        return _tagged("E", f"{kind.__module__}.{kind.__qualname__}.{name}".encode())
    raise KeyRejected(
        f"a {kind.__module__}.{kind.__qualname__} has no stable text; leave the argument out with ignore=, or pass key="
    )


def _tagged(tag: str, content: bytes) -> bytes:
    return b"%s%d:%s" % (tag.encode(), len(content), content)
