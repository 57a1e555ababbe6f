"""Values and keys that are easily lost on the way."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import math
import struct
import sys
import uuid
from collections import OrderedDict, deque
from fractions import Fraction
from typing import Any

#: A nan with its sign bit set.
NEGATIVE_NAN = struct.unpack(">d", b"\xff\xf8" + bytes(6))[0]

#: What is stored under a tag of its own, with or without a signing key.
BASE: dict[str, Any] = {
    "empty str": "",
    "str": "naïve Ω \U0001f9ca",
    "str of blanks and newlines": " \t\r\n\0",
    "str with lone surrogates": "\ud800 and \udfff",
    "str that looks like an int": "42",
    "long str": "zstd " * 5_000,
    "empty bytes": b"",
    "bytes": bytes(range(256)),
    "bytes that look like text": b"true",
    "long bytes": b"\0" * 20_000,
    "zero": 0,
    "one": 1,
    "minus one": -1,
    "int past 64 bits": -(2**64) - 1,
    "int past Python's limit of digits": 10**5_000 + 7,
    "negative int past the limit": -(10**5_000),
    "int at the limit": 10**4_300 - 1,
    "zero float": 0.0,
    "negative zero": -0.0,
    "float": 0.1 + 0.2,
    "smallest float": 5e-324,
    "largest float": sys.float_info.max,
    "inf": math.inf,
    "minus inf": -math.inf,
    "nan": math.nan,
    "negative nan": NEGATIVE_NAN,
    "complex": 1.5 - 2j,
    "complex of signed zeros": complex(-0.0, -0.0),
    "complex of zero and minus zero": complex(0.0, -0.0),
    "complex of nans": complex(math.nan, NEGATIVE_NAN),
    "complex of infinities": complex(-math.inf, math.inf),
    "True": True,
    "False": False,
    "None": None,
}

#: What is pickled, and loaded again from bytes that nobody signed.
HARMLESS: dict[str, Any] = {
    "empty list": [],
    "empty dict": {},
    "empty tuple": (),
    "empty set": set(),
    "nested": {"a": [1, (2.5, None, True)], "b": {"c": {3, b"x"}}, 4: frozenset({5})},
    "bytearray": bytearray(b"ab"),
    "complex inside": [1j],
    "slice": slice(1, None, 2),
    "OrderedDict": OrderedDict([("b", 1), ("a", 2)]),
    "bounded deque": deque([1, 2], maxlen=3),
    "date": dt.date(2024, 2, 29),
    "datetime": dt.datetime(2024, 2, 29, 12, 30, 1, 5, tzinfo=dt.timezone(dt.timedelta(hours=-3))),
    "datetime in the fold": dt.datetime(2024, 10, 27, 2, 30, fold=1),  # noqa: DTZ001 - wall time is the point
    "time": dt.time(1, 2, 3, 4),
    "timedelta": dt.timedelta(days=-1, microseconds=1),
    "utc": dt.timezone.utc,
    "Decimal": decimal.Decimal("-1.50"),
    "UUID": uuid.UUID(int=7),
    "long list": list(range(1_000)),
}


class Text(str):
    """A subclass, as Django's ``SafeString`` is."""

    __slots__ = ()


class Number(int):
    """A subclass of ``int`` that is no enum."""


class Level(enum.IntEnum):
    """An int that is not exactly an int."""

    LOW = 1


class Colour(enum.Enum):
    """An enum of nothing in particular."""

    RED = "red"


class Point:
    """A class of an application."""

    def __init__(self, x: int) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return type(other) is Point and other.x == self.x

    def __hash__(self) -> int:
        return hash(self.x)

    def __repr__(self) -> str:
        return f"Point({self.x})"


#: What is stored only where entries are signed.
SIGNED_ONLY: dict[str, Any] = {
    "subclass of str": Text("<b>"),
    "subclass of int": Number(3),
    "IntEnum": Level.LOW,
    "Enum": Colour.RED,
    "instance": Point(3),
    "class": Point,
    "range": range(3),
    "Fraction": Fraction(1, 3),
    "instances inside": [Point(1), {"p": Point(2)}],
}


def same(left: Any, right: Any) -> bool:
    """Tell whether two values are of one type and equal to the last bit."""
    if type(left) is not type(right):
        return False
    if type(left) is float:
        return struct.pack(">d", left) == struct.pack(">d", right) or (
            math.isnan(left) and math.isnan(right) and math.copysign(1, left) == math.copysign(1, right)
        )
    if type(left) is complex:
        return same(left.real, right.real) and same(left.imag, right.imag)
    return bool(left == right)


#: Keys that differ, and that stores, escapings and file systems like to confuse.
ODD_KEYS = (
    "",
    " ",
    "a",
    "A",
    "a ",
    " a",
    "a/",
    "/a",
    "/",
    "//",
    "a//b",
    "a/b",
    ".",
    "..",
    "...",
    "../a",
    "./a",
    "a/../b",
    "%",
    "%2F",
    "%2f",
    "%252F",
    "a%2Fb",
    "%25",
    "+",
    "a+b",
    "a b",
    "a%20b",
    "~",
    "~a",
    "~~",
    "%7E",
    "~" + "0" * 64,
    "?",
    "?x=1&y=2",
    "#",
    "&",
    "<>",
    '"',
    "'",
    "\\",
    "a\\b",
    "*",
    ":",
    ";",
    "=",
    "@",
    "!",
    "$",
    "|",
    "`",
    "^",
    "{}",
    "[]",
    "\0",
    "a\0",
    "\n",
    "\r\n",
    "\t",
    "\x01",
    "\x7f",
    "\x85",
    "\u2028",
    "\ufffe",
    "\uffff",
    "\ufeff",
    "é",
    "e\u0301",
    "Ω",
    "ß",
    "\u0131",
    "\U0001f9ca",
    "\ud800",
    "\udfff",
    "\ud83e\uddca",
    "00/a",
    "_cloudcached",
    "_cloudcached/lock/a",
    "None",
    "True",
    ":1:views.decorators.cache.cache_page..GET.d41d8cd98f00b204e9800998ecf8427e.en-us.UTC",
)
