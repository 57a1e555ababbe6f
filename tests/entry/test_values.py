"""Values as bytes: exact types, traps, and pickles that are not to be trusted."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import fractions
import ipaddress
import math
import os
import pickle
import random
import sys
import threading
import uuid

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from samples import BASE, HARMLESS, NEGATIVE_NAN, SIGNED_ONLY, Point, same

from cloudcached import MISSING, EntryRefused, ValueRejected
from cloudcached.entry.values import _HARMLESS, decode, encode

BASE_VALUES = (
    st.text(st.characters())
    | st.binary()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.booleans()
    | st.none()
)
HASHABLE = st.recursive(
    BASE_VALUES | st.decimals(allow_nan=False) | st.datetimes() | st.timedeltas() | st.uuids(),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=6,
)
CONTAINERS = st.recursive(
    HASHABLE,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(HASHABLE, inner, max_size=3) | st.sets(HASHABLE, max_size=3)
    ),
    max_leaves=8,
)


def returned(value, *, trusted: bool):
    """Return what becomes of a value."""
    tag, data = encode(value, trusted=trusted)
    assert type(data) is bytes
    return decode(tag, data, trusted=trusted)


def call(module: str, name: str, *arguments: bytes, then: bytes = b"") -> bytes:
    """Return a pickle that calls what it names with pickled arguments."""
    return b"\x80\x05" + f"c{module}\n{name}\n".encode() + b"(" + b"".join(arguments) + b"tR" + then + b"."


def text(value: str) -> bytes:
    """Return the pickle opcode of a short str."""
    return b"\x8c" + bytes([len(value)]) + value.encode()


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("value", [pytest.param(v, id=n) for n, v in {**BASE, **HARMLESS}.items()])
def test_samples_come_back(value, trusted):
    assert same(returned(value, trusted=trusted), value)


@pytest.mark.parametrize("value", [pytest.param(v, id=n) for n, v in SIGNED_ONLY.items()])
def test_any_type_comes_back_where_entries_are_signed(value):
    assert same(returned(value, trusted=True), value)


@given(BASE_VALUES, st.booleans())
@example(NEGATIVE_NAN, True)
@example(10**4_299, True)
@example(-(2**14_000), True)
@example(2**14_000 - 1, True)
def test_base_types_come_back(value, trusted):
    tag, _ = encode(value, trusted=trusted)
    assert tag != "pickle"
    assert same(returned(value, trusted=trusted), value)


@given(CONTAINERS, st.booleans())
def test_containers_come_back(value, trusted):
    """Compared by repr, in which a nan is a nan."""
    back = returned(value, trusted=trusted)
    assert type(back) is type(value)
    assert sorted(repr(back)) == sorted(repr(value))


@given(st.integers(0, 20_000), st.booleans())
def test_ints_of_every_length_come_back(bits, negative):
    value = random.Random(bits).getrandbits(bits + 1) * (-1 if negative else 1)
    assert returned(value, trusted=False) == value


@pytest.mark.parametrize(
    ("value", "data"),
    [
        ("é\ud800", b"\xc3\xa9\xed\xa0\x80"),
        (b"\x00", b"\x00"),
        (-42, b"-42"),
        (1.5, b"1.5"),
        (-0.0, b"-0.0"),
        (NEGATIVE_NAN, b"-nan"),
        (math.inf, b"inf"),
        (complex(1, -0.0), b"1.0 -0.0"),
        (True, b"true"),
        (None, b"none"),
    ],
)
def test_base_types_are_readable_text(value, data):
    assert encode(value, trusted=False)[1] == data


def test_a_long_int_needs_no_change_of_the_interpreters_limit():
    limit = sys.get_int_max_str_digits()
    assert returned(-(10**50_000), trusted=False) == -(10**50_000)
    assert sys.get_int_max_str_digits() == limit


def test_the_interpreters_limit_may_be_at_its_lowest():
    """An application may lower it to 640 digits; what was stored stays readable."""
    limit = sys.get_int_max_str_digits()
    value = 10**4_000
    sys.set_int_max_str_digits(640)
    try:
        same_value = returned(value, trusted=False) == value
    finally:
        sys.set_int_max_str_digits(limit)
    assert same_value


@pytest.mark.parametrize("value", [pytest.param(v, id=n) for n, v in SIGNED_ONLY.items()])
def test_what_would_not_be_loaded_is_refused_before_it_is_stored(value):
    with pytest.raises(ValueRejected, match="set signing_key"):
        encode(value, trusted=False)


class FailsToPickle:
    def __reduce__(self):
        raise ZeroDivisionError("no")


class FailsToLoad:
    def __reduce__(self):
        return decimal.Decimal, ("not a number",)


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize(
    "value",
    [lambda: 0, threading.Lock(), sys, (x for x in ()), FailsToPickle(), [FailsToPickle()], MISSING],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_pickled_is_refused(value, trusted):
    with pytest.raises(ValueRejected) as caught:
        encode(value, trusted=trusted)
    assert isinstance(caught.value, pickle.PickleError)
    assert isinstance(caught.value, TypeError)


def test_what_could_not_be_loaded_again_is_refused():
    with pytest.raises(ValueRejected, match="FailsToLoad"):
        encode(FailsToLoad(), trusted=False)


def test_too_deep_a_value_is_refused():
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ValueRejected, match="list"):
        encode(deep, trusted=True)
    while deep:  # taken apart, since freeing it recurses as well
        deep = deep[0]


@pytest.mark.parametrize(
    "name", ["Counter", "Fraction", "IPv4Address", "IPv6Address", "bytearray", "range", "set", "type"]
)
def test_the_table_has_no_type_that_a_pickle_could_abuse(name):
    assert name not in {known for _, known in _HARMLESS}


@pytest.mark.parametrize(("module", "name"), sorted(_HARMLESS))
def test_no_class_of_the_table_can_be_changed_by_a_pickle(module, name):
    """``BUILD`` sets attributes on whatever is named: on a class written in Python, for the whole process."""
    pytest.importorskip(module)
    build = b"\x80\x05" + f"c{module}\n{name}\n".encode() + b"N}" + text("poisoned") + b"K\x01s\x86b."
    with pytest.raises(EntryRefused):
        decode("pickle", build, trusted=False)
    assert not hasattr(getattr(sys.modules[module], name), "poisoned")
    plain = b"\x80\x05" + f"c{module}\n{name}\n".encode() + b"}" + text("poisoned") + b"K\x01sb."
    with pytest.raises(EntryRefused):
        decode("pickle", plain, trusted=False)
    assert not hasattr(getattr(sys.modules[module], name), "poisoned")


def test_markup_comes_back_unsigned_but_not_with_what_sets_attributes():
    """Django's ``SafeString`` is written in Python, so a pickle could change the class for every page."""
    markup = pytest.importorskip("django.utils.safestring").mark_safe("<b>")
    assert same(returned(markup, trusted=False), markup)
    assert same(returned([markup, {"a": markup}], trusted=False), [markup, {"a": markup}])
    with pytest.raises(ValueRejected, match=r"SafeString.*set signing_key"):
        encode([markup, uuid.UUID(int=1)], trusted=False)


class RunsCode:
    """What CVE-2025-69872 is about."""

    def __reduce__(self):
        return os.mkdir, (self.path,)

    def __init__(self, path):
        self.path = str(path)


def hostile_pickles(path):
    """Yield pickles that would make the directory *path*, or worse."""
    path = str(path)
    yield pickle.dumps(RunsCode(path))
    yield pickle.dumps([1, {"a": RunsCode(path)}])
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        yield pickle.dumps(RunsCode(path), protocol)
    yield call("posix", "mkdir", text(path))
    yield call("builtins", "eval", text(f"__import__('os').mkdir({path!r})"))
    yield call("builtins", "exec", text("1"))
    yield call("builtins", "getattr", text("a"), text("upper"))
    yield call("os", "system", text("true"))
    yield call("collections", "OrderedDict.fromkeys", text("a"))  # a dotted name
    yield b"\x80\x05" + text("collections") + text("deque.__class__") + b"\x93."
    yield b"\x80\x05" + text("datetime") + text("sys.modules") + b"\x93."
    yield b"ios\nsystem\n."  # INST
    yield b"(cos\nsystem\n" + text("true") + b"o."  # OBJ
    yield b"\x80\x02\x82\x01."  # EXT1: the extension registry
    yield b"\x80\x05" + b"Pname\n."  # a persistent id
    yield b"\x80\x05\x97."  # an out-of-band buffer


def test_an_unsigned_pickle_that_would_run_code_is_refused(tmp_path):
    target = tmp_path / "made"
    for data in hostile_pickles(target):
        with pytest.raises(EntryRefused):
            decode("pickle", data, trusted=False)
        assert not target.exists()


def test_the_hostile_pickles_are_hostile(tmp_path):
    """Otherwise the test above would prove nothing."""
    target = tmp_path / "made"
    decode("pickle", next(iter(hostile_pickles(target))), trusted=True)
    assert target.exists()


def test_the_refusal_names_what_was_refused():
    with pytest.raises(EntryRefused, match=r"os\.system") as caught:
        decode("pickle", call("os", "system", text("true")), trusted=False)
    assert caught.value.reason == "unsigned"


@pytest.mark.parametrize(
    "value",
    [collections.Counter("aab"), fractions.Fraction(1, 3), ipaddress.ip_address("::1"), range(10**12)],
    ids=repr,
)
def test_an_unsigned_pickle_of_what_is_not_in_the_table_is_refused(value):
    with pytest.raises(EntryRefused, match="unsigned"):
        decode("pickle", pickle.dumps(value, 5), trusted=False)


@given(st.binary(max_size=60))
@example(b"\x80\x05.")
@example(b"\x80\xff.")
@example(b"\x80\x05]" + b"\x94" * 10)
def test_any_bytes_give_a_value_or_a_refusal(data):
    for tag in ("pickle", "str", "bytes", "int", "float", "complex", "bool", "none", "", "unknown"):
        try:
            decode(tag, data, trusted=False)
        except EntryRefused:
            continue


@given(CONTAINERS, st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_pickle_gives_a_value_or_a_refusal(value, position, change):
    data = bytearray(pickle.dumps([value], 5))
    data[position % len(data)] ^= change
    try:
        decode("pickle", bytes(data), trusted=False)
    except EntryRefused:
        return


def test_a_class_that_is_gone_is_a_refusal_and_not_an_error(monkeypatch):
    """As in a rolling deploy."""
    tag, data = encode(Point(1), trusted=True)
    monkeypatch.delattr(sys.modules[Point.__module__], "Point")
    with pytest.raises(EntryRefused, match="Point") as caught:
        decode(tag, data, trusted=True)
    assert caught.value.reason == "decode"


@pytest.mark.parametrize(
    ("tag", "data"),
    [
        ("int", b"4 2"),
        ("int", b""),
        ("int", b"1.0"),
        ("float", b""),
        ("float", b"one"),
        ("complex", b"1"),
        ("complex", b"1 2 3"),
        ("bool", b"True"),
        ("bool", b""),
        ("none", b"null"),
        ("str", b"\xff"),
        ("pickle", b""),
    ],
)
def test_data_that_is_not_of_its_type_is_refused(tag, data):
    with pytest.raises(EntryRefused) as caught:
        decode(tag, data, trusted=True)
    assert caught.value.reason == "decode"


@pytest.mark.parametrize("tag", ["", "Str", "json", "pickle "])
def test_an_unknown_tag_is_refused(tag):
    with pytest.raises(EntryRefused, match="unknown type tag") as caught:
        decode(tag, b"", trusted=True)
    assert caught.value.reason == "type"


def test_a_memoryview_is_decoded_to_plain_types():
    for value in ("text", b"bytes", 42, [1, b"x"]):
        tag, data = encode(value, trusted=False)
        assert same(decode(tag, memoryview(data), trusted=False), value)


def test_pickles_are_of_protocol_5_on_every_python():
    assert encode([uuid.UUID(int=1), dt.date(2024, 1, 1)], trusted=False)[1][:2] == b"\x80\x05"


def test_an_unsigned_pickle_cannot_fill_the_memory_by_a_memo_index() -> None:
    """The unpickler would make room for 2**32 objects."""
    bomb = b"\x80\x05]r\xff\xff\xff\xfe."
    with pytest.raises(EntryRefused, match="memo index"):
        decode("pickle", bomb, trusted=False)
