"""Values as bytes: a readable encoding for each base type, pickle for the rest.

Types are exact (``type(value) is int``): a subclass, such as Django's ``SafeString`` of ``str`` or ``bool`` of ``int``,
must come back as itself. Unpickling runs code, so unsigned bytes are loaded only through an exact table of harmless
types.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from .._types import MISSING, Bytes
from ..errors import EntryRefused, ValueRejected

PICKLE = "pickle"

#: Fixed, so that every supported Python can read the entries of every other.
_PICKLE_PROTOCOL = 5
#: Python refuses decimal text of over 4,300 digits, a limit that can be set as low as 640 (2,126 bits); hexadecimal
#: text has no limit.
_DECIMAL_LIMIT_BITS = 2_100


def _encode_int(value: int) -> bytes:
    return (str(value) if value.bit_length() <= _DECIMAL_LIMIT_BITS else hex(value)).encode("ascii")


def _decode_int(data: bytes) -> int:
    return int(data, 16) if b"x" in data[:3] else int(data)


def _float_text(value: float) -> str:
    # repr keeps every bit except the sign of a nan.
    return "-nan" if math.isnan(value) and math.copysign(1.0, value) < 0 else repr(value)


def _encode_complex(value: complex) -> bytes:
    # Two floats: repr(complex) loses the signs of zeros and nans.
    return f"{_float_text(value.real)} {_float_text(value.imag)}".encode("ascii")


def _decode_complex(data: bytes) -> complex:
    real, imaginary = data.split(b" ")
    return complex(float(real), float(imaginary))


def _decode_constant(value: Any, text: bytes) -> Callable[[bytes], Any]:
    def decode(data: bytes) -> Any:
        if data != text:
            raise ValueError(f"not {text!r}")
        return value

    return decode


def _decode_bool(data: bytes) -> bool:
    return {b"true": True, b"false": False}[data]


_Encoder = Callable[[Any], bytes]
_Decoder = Callable[[bytes], Any]

#: Tag, encoder and decoder of each base type. "surrogatepass" lets every str through, lone surrogates included.
_BASE: dict[type, tuple[str, _Encoder, _Decoder]] = {
    str: ("str", lambda v: v.encode("utf-8", "surrogatepass"), lambda d: d.decode("utf-8", "surrogatepass")),
    bytes: ("bytes", lambda v: v, lambda d: d),
    int: ("int", _encode_int, _decode_int),
    float: ("float", lambda v: _float_text(v).encode("ascii"), float),
    complex: ("complex", _encode_complex, _decode_complex),
    bool: ("bool", lambda v: b"true" if v else b"false", _decode_bool),
    type(None): ("none", lambda _: b"none", _decode_constant(None, b"none")),
}
_DECODERS: dict[str, _Decoder] = {tag: decode for tag, _, decode in _BASE.values()}

#: The types that unsigned bytes may name; lists, dicts, tuples, sets and bytearrays need no name.
#: A pickle can call any object that it names and set attributes on it. So classes written in Python (``Counter``,
#: ``Fraction``, ``IPv4Address``) are not here: a pickle could change them for the whole process. ``UUID`` is protected
#: by its ``__setstate__``; ``_MUTABLE`` are loaded only from pickles that set no attribute. ``range`` is not here
#: either: passed to ``deque``, it fills the memory from a dozen bytes.
_HARMLESS = frozenset(
    {
        ("builtins", "complex"),
        ("builtins", "slice"),
        ("collections", "OrderedDict"),
        ("collections", "deque"),
        ("datetime", "date"),
        ("datetime", "datetime"),
        ("datetime", "time"),
        ("datetime", "timedelta"),
        ("datetime", "timezone"),
        ("decimal", "Decimal"),
        ("django.utils.safestring", "SafeString"),
        ("markupsafe", "Markup"),
        ("uuid", "UUID"),
    }
)
#: Loaded only from pickles that set no attribute.
_MUTABLE = frozenset({"Markup", "SafeString"})
_MEMO_WRITES = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})


class _NotHarmless(pickle.UnpicklingError):
    """A pickle names a type that is not in the table."""


class _RestrictedUnpickler(pickle.Unpickler):
    def __init__(self, data: bytes, *, sets_attributes: bool) -> None:
        super().__init__(io.BytesIO(data))
        self._sets_attributes = sets_attributes

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _HARMLESS or (name in _MUTABLE and self._sets_attributes):
            raise _NotHarmless(f"{module}.{name}")
        return super().find_class(module, name)


def _load_untrusted(data: Bytes) -> Any:
    """Return the value of an unsigned pickle, after reading through its opcodes without executing them."""
    data = bytes(data)
    opcodes = set()
    for opcode, argument, _ in pickletools.genops(data):
        opcodes.add(opcode.name)
        # The unpickler allocates room for all indices up to the given one: a few bytes would fill the memory.
        if opcode.name in _MEMO_WRITES and int(argument or 0) > len(data):
            raise pickle.UnpicklingError(f"a memo index of {argument:,}")
    return _RestrictedUnpickler(data, sets_attributes="BUILD" in opcodes).load()


class Encoded(NamedTuple):
    """A value that is encoded already: ``encode`` returns it unchanged."""

    tag: str
    data: bytes

    def __reduce__(self) -> NoReturn:
        # Inside another value it would come back as this tuple, and its pickle would name this module.
        raise TypeError("an encoded value is stored by itself, not inside another one")


def encode(value: Any, *, trusted: bool) -> Encoded:
    """Return the type tag and the bytes of *value*.

    trusted: whether the entry will be signed; if not, only base types and containers of harmless types are accepted.
    Raises ``ValueRejected`` if *value* cannot be pickled, or its pickle would not be loaded again.
    """
    if type(value) is Encoded:
        return value
    base = _BASE.get(type(value))
    if base is not None:
        return Encoded(base[0], base[1](value))
    if value is MISSING:
        raise ValueRejected("MISSING means that there is no entry; stored, it would look like a miss")
    try:
        data = pickle.dumps(value, _PICKLE_PROTOCOL)
    except Exception as error:  # any class's __reduce__ and __getstate__ run here, and can raise anything
        raise ValueRejected(f"a {type(value).__qualname__} cannot be pickled: {error}") from error
    if not trusted:
        try:
            _load_untrusted(data)
        except _NotHarmless as error:
            raise ValueRejected(
                f"a {type(value).__qualname__} holds a {error}, which is not loaded from unsigned entries, since"
                " pickles can run code; set signing_key to store any type that can be pickled"
            ) from error
        except Exception as error:  # as above: the pickle of such a class may fail to load
            raise ValueRejected(
                f"a {type(value).__qualname__} can be pickled, but not loaded again: {error}"
            ) from error
    return Encoded(PICKLE, data)


def decode(tag: str, data: Bytes, *, trusted: bool) -> Any:
    """Return the value of *data*.

    trusted: whether the seal and the signature were made with one of our keys.
    Raises ``EntryRefused`` for an unknown tag, data that does not fit its type, a pickle of a class that no longer
    exists, and an untrusted pickle of anything but harmless types.
    """
    decoder = _DECODERS.get(tag)
    if decoder is None and tag != PICKLE:
        raise EntryRefused("type", f"unknown type tag {tag!r}")
    try:
        if decoder is not None:
            return decoder(bytes(data))
        if trusted:
            return pickle.loads(data)  # noqa: S301 - verified above
        return _load_untrusted(data)
    except _NotHarmless as error:
        raise EntryRefused("unsigned", f"an unsigned pickle names {error}") from error
    except Exception as error:  # any class's constructor runs here; a renamed class is a miss, not an outage
        raise EntryRefused("decode", f"{type(error).__name__}: {error}") from error
