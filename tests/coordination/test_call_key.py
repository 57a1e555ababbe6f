"""Keys of arguments: equal ones have one in every process, others have others."""

from __future__ import annotations

import datetime as dt
import enum
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction
from itertools import combinations
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudcached import KeyRejected
from cloudcached.coordination.call_key import digest


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


class Number(enum.IntEnum):
    ONE = 1


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Pair(NamedTuple):
    left: int
    right: int


class Text(str):
    __slots__ = ()


NOON = dt.datetime(2030, 7, 1, 12, 0)  # noqa: DTZ001 - also of naive ones

#: All different, though some are equal to others, or have the same text.
DIFFERENT: list[Any] = [
    None, True, False, 1, 0, -1, 10**5000, 1.0, 0.0, -0.0, float("nan"), float("inf"), 1j, 1 + 0j, complex("-0j"),
    "", "1", "None", "a", "\ud800", b"", b"1", b"a", Decimal(1), Decimal("1.0"), Decimal("NaN"), Fraction(1), Fraction(1, 3),
    UUID(int=1), dt.date(2030, 7, 1), dt.time(12), dt.time(12, tzinfo=dt.timezone.utc), dt.timedelta(1), dt.timedelta(0, 1),
    NOON, NOON.replace(fold=1), NOON.replace(tzinfo=dt.timezone.utc), NOON.replace(tzinfo=ZoneInfo("Europe/Berlin")),
    NOON.replace(tzinfo=ZoneInfo("Europe/Paris")), NOON.replace(tzinfo=dt.timezone(dt.timedelta(hours=2))),
    Colour.RED, Colour.GREEN, Number.ONE, Rights.READ, Rights.READ | Rights.WRITE, Rights(0),
    [], (), {}, set(), [1], (1,), {1}, {1: 1}, [[1], 2], [[1, 2]], [1, 2], [12], ["12"], ["1", "2"], [(), ()], [((),)],
    {1: 2, 3: 4}, {1: 4, 3: 2}, {"1": 2, "3": 4}, {(1, 2): [3]}, {frozenset([1]), frozenset([2])}, {frozenset([1, 2])},
]  # fmt: skip

#: Equal, and made in different ways.
EQUAL: list[tuple[Any, Any]] = [
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    pytest.param(set("abcdefgh"), set("hgfedcba"), id="sets"),
    ({1}, frozenset([1])),
    ({"a": {2: {3, 4}, 1: [5]}}, {"a": {1: [5], 2: {4, 3}}}),
    (float("nan"), -float("nan")),
]


def test_different_arguments():
    digests = [digest({"x": value}) for value in DIFFERENT]
    for one, other in combinations(range(len(DIFFERENT)), 2):
        assert digests[one] != digests[other], (DIFFERENT[one], DIFFERENT[other])


@pytest.mark.parametrize(("left", "right"), EQUAL, ids=repr)
def test_equal_arguments(left, right):
    assert digest({"x": left}) == digest({"x": right})


def test_names_belong_to_it():
    assert len({digest({"x": 1}), digest({"y": 1}), digest({"x": 1, "y": 1}), digest({}), digest({"x": {"y": 1}})}) == 5


def test_it_is_short_text():
    assert len(digest({"x": "y" * 10**6})) == 64


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda values: st.lists(values) | st.tuples(values, values) | st.dictionaries(st.text() | st.integers(), values),
)


@given(VALUES, VALUES)
def test_any_two_arguments(left, right):
    """``repr`` tells 1 from True and 0.0 from -0.0 in containers; the order of dicts is all that it knows too much."""
    same = left == right and repr(_sorted(left)) == repr(_sorted(right))
    assert (digest({"x": left}) == digest({"x": right})) == same


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return sorted(((repr(key), _sorted(item)) for key, item in value.items()), key=repr)
    return type(value)(map(_sorted, value)) if isinstance(value, (list, tuple)) else value


def test_other_processes_have_the_same():
    """Not even the order of sets of strings, which is another in each process, may matter."""
    value = '{"x": [set("abcdefgh"), {"b": 1.5, "a": (None, b"c")}]}'
    script = f"from cloudcached.coordination.call_key import digest; print(digest({value}))"
    there = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.strip()
    assert there == digest(eval(value)) == "3b98638108a031a1de97cc858aa6e64a0643f302240f37e13fb455aa03aa45c2"


@pytest.mark.parametrize(
    "value",
    [object(), Pair(1, 2), Text("a"), [1, [object()]], {1: object()}, int, print, bytearray(), range(3), iter([])],
)
def test_what_has_no_stable_text(value):
    with pytest.raises(
        KeyRejected,
        match=r"the argument 'x': a \S+ has no stable text; leave the argument out with ignore=, or pass key=",
    ):
        digest({"y": 1, "x": value})


def test_what_holds_itself():
    value: list[Any] = []
    value.append(value)
    with pytest.raises(KeyRejected, match="contains itself"):
        digest({"x": value})
