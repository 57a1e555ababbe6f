"""Compression with zstd, kept only where it pays."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any

from .._types import Bytes
from ..errors import EntryRefused

ZSTD = "zstd"

#: zstd's own default: higher levels cost more time than they save in the request.
_LEVEL = 3
#: The compressed form is kept only if it saves at least a tenth: decompressing it on every read is not free.
_MAX_RATIO = 0.9
#: From this size on, three samples are tried first: a picture or an archive of 64 MB would be compressed for nothing.
_SAMPLED_FROM_BYTES = 1 << 20
_SAMPLE_BYTES = 1 << 16


@cache
def _zstd() -> Any:
    """Return the zstd module, imported at the first use: the import takes a tenth of a process's first get."""
    return import_module("backports.zstd" if sys.version_info < (3, 14) else "compression.zstd")


def compress(data: Bytes, min_bytes: int | None) -> Bytes | None:
    """Return *data* compressed, or ``None`` if it is shorter than *min_bytes* or compression saves too little.

    min_bytes: ``None`` never compresses.
    """
    if min_bytes is None or len(data) < min_bytes:
        return None
    if len(data) >= _SAMPLED_FROM_BYTES and not any(_smaller(sample) for sample in _samples(memoryview(data))):
        return None
    return _smaller(data)


def _smaller(data: Bytes) -> bytes | None:
    compressed: bytes = _zstd().compress(data, _LEVEL)
    return compressed if len(compressed) <= len(data) * _MAX_RATIO else None


def _samples(view: memoryview) -> Iterator[memoryview]:
    """Yield a piece from the beginning, the middle and the end."""
    for start in (0, (len(view) - _SAMPLE_BYTES) // 2, len(view) - _SAMPLE_BYTES):
        yield view[start : start + _SAMPLE_BYTES]


def decompress(data: Bytes, limit_bytes: int) -> bytes:
    """Return the original of *data*, which has at most *limit_bytes*.

    Raises ``EntryRefused`` for damaged data, and for an original over the limit, however small its compressed form is
    (a decompression bomb).
    """
    zstd = _zstd()
    decompressor = zstd.ZstdDecompressor()
    try:
        original: bytes = decompressor.decompress(data, max_length=limit_bytes + 1)
    except (zstd.ZstdError, MemoryError) as error:
        raise EntryRefused("compression", str(error)) from error
    if len(original) > limit_bytes:
        raise EntryRefused("size", f"decompresses to more than {limit_bytes:,} bytes")
    if not decompressor.eof or decompressor.unused_data:
        raise EntryRefused("compression", "not exactly one zstd frame")
    return original
