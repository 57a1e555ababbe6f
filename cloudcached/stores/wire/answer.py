"""Answers read from bytes. Pure, and strict: whatever is not plain HTTP/1.1 is refused.

A lenient reader could take bytes of one answer for the next one, which on a kept connection is somebody else's. So line
endings, header names, lengths and chunks have to be exactly as RFC 9112 has them, and everything is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from ...errors import StoreUnreachable

#: Bytes of a head, and of one line of it: S3's are under 10 KB.
HEAD_LIMIT: Final = 1 << 16
HEADERS_LIMIT: Final = 200
#: Bytes of the line before a chunk, extensions included, and of the trailer behind the last one.
_LINE_LIMIT: Final = 4096
_TRAILER_LIMIT: Final = 1 << 13

_STATUS: Final = re.compile(r"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\x00]*)?", re.ASCII)
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_CHUNK: Final = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;[^\x00\r\n]*)?")
_LENGTH: Final = re.compile(r"[0-9]{1,18}", re.ASCII)

#: Header names as servers write them, in lower case: a look-up costs half of what checking and lowering does.
_names: Final[dict[str, str]] = {}
_NAMES_LIMIT: Final = 1000

#: Answers to these have no body, whatever their headers say.
_BODYLESS: Final = frozenset((204, 304))


class Bad(StoreUnreachable):
    """What came back is not HTTP/1.1. Nothing more may be read from the connection.

    It is not an answer: of a write that it followed, nothing is known.
    """


class Head(NamedTuple):
    """The head of an answer."""

    status: int
    #: Names in lower case.
    headers: dict[str, str]
    #: Bytes of the body; ``None``: until it ends by itself, in chunks or with the connection.
    length: int | None
    is_chunked: bool
    #: Whether the connection can be used again once the body was read.
    stays: bool


def head_end(data: bytes | bytearray) -> int:
    """Return where the head ends, behind its blank line; 0 while it is not complete. Raises ``Bad`` if it is too large."""
    found = data.find(b"\r\n\r\n", 0, HEAD_LIMIT)
    if found >= 0:
        return found + 4
    if len(data) >= HEAD_LIMIT:
        raise Bad(f"the head of an answer is over {HEAD_LIMIT:,} bytes")
    return 0


def parse_head(data: bytes | bytearray, end: int, method: str) -> Head:
    """Return the head in ``data[:end]`` of the answer to *method*. Raises ``Bad``."""
    first, *lines = bytes(data[: end - 4]).decode("latin-1").split("\r\n")
    status_line = _STATUS.fullmatch(first)
    if status_line is None or "\n" in first or "\r" in first:
        raise Bad(f"not an answer of HTTP/1.1: {first[:80]!r}")
    status = int(status_line[2])
    if len(lines) > HEADERS_LIMIT:
        raise Bad(f"over {HEADERS_LIMIT} headers in an answer")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        low = _names.get(name) or _lowered(name, line)
        if not colon or "\n" in value or "\r" in value or "\0" in value:
            raise Bad(f"a header of an answer is damaged: {line[:80]!r}")
        value = value.strip(" \t")
        if low in headers:
            value = _joined(low, headers[low], value)
        headers[low] = value
    length, is_chunked = _framing(method, status, headers)
    connection = headers.get("connection", "").lower()
    if status_line[1] == "1":
        # A body behind one that has none may still be on its way.
        stays = "close" not in connection and (status != 204 or _is_bare(headers))  # noqa: PLR2004
    else:  # 1.0 knows no chunks: somebody in between may have read them otherwise
        stays = "keep-alive" in connection and not is_chunked
    return Head(status, headers, length, is_chunked, stays and (is_chunked or length is not None))


def _is_bare(headers: dict[str, str]) -> bool:
    return headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers


def _lowered(name: str, line: str) -> str:
    """Return a header's name in lower case, and remember it. Raises ``Bad`` for one that is not a token."""
    if _NAME.fullmatch(name) is None:  # a blank before the colon, a folded line, or no header at all
        raise Bad(f"a header of an answer is damaged: {line[:80]!r}")
    low = name.lower()
    if len(_names) < _NAMES_LIMIT:
        _names[name] = low
    return low


def _joined(name: str, first: str, second: str) -> str:
    """Return what two headers of one name mean. Raises ``Bad`` where that is not clear."""
    if name in ("content-length", "transfer-encoding", "etag", "content-range") or name.startswith("x-amz-meta-"):
        if first != second or name == "transfer-encoding":
            raise Bad(f"an answer has two headers {name!r}")
        return first
    return f"{first}, {second}"


def _framing(method: str, status: int, headers: dict[str, str]) -> tuple[int | None, bool]:
    """Return the body's length, ``None`` if it is not told, and whether it comes in chunks."""
    coding, length = headers.get("transfer-encoding"), headers.get("content-length")
    if length is not None and _LENGTH.fullmatch(length) is None:
        raise Bad(f"an answer has the length {length[:40]!r}")
    if method == "HEAD" or status in _BODYLESS or status < 200:  # noqa: PLR2004 - 1xx
        return 0, False
    if coding is not None:
        if coding.lower() != "chunked":
            raise Bad(f"an answer has the transfer coding {coding[:40]!r}")
        if length is not None:  # RFC 9112, 6.3: this is how requests are smuggled
            raise Bad("an answer has both a length and chunks")
        return None, True
    return (None if length is None else int(length)), False


class Chunks:
    """Reads a body that comes in chunks: fed with bytes, it gives those of the body."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._state: Callable[[list[bytes]], bool] = self._size
        #: Bytes of the current chunk that are still to come.
        self._left = 0
        self._trailer = 0
        #: What follows the body, once it has ended: there must be nothing.
        self.rest: bytes | None = None

    @property
    def done(self) -> bool:
        """Whether the body has ended."""
        return self.rest is not None

    def feed(self, data: bytes | bytearray | memoryview) -> list[bytes]:
        """Return the bytes of the body that *data* holds. Raises ``Bad``."""
        self._pending += data
        found: list[bytes] = []
        while not self.done and self._state(found):
            pass
        return found

    # States: each takes its part off what is pending, and returns whether there was enough for it.

    def _size(self, _: list[bytes]) -> bool:
        line = self._line()
        if line is None:
            return False
        size = _CHUNK.fullmatch(line)
        if size is None:
            raise Bad(f"not a chunk of an answer: {line[:40]!r}")
        self._left = int(size[1], 16)
        self._state = self._data if self._left else self._end
        return True

    def _data(self, found: list[bytes]) -> bool:
        taken = bytes(self._pending[: self._left])
        if not taken:
            return False
        del self._pending[: len(taken)]
        found.append(taken)
        self._left -= len(taken)
        if not self._left:
            self._state = self._after_data
        return True

    def _after_data(self, _: list[bytes]) -> bool:
        line = self._line()
        if line is None:
            return False
        if line:
            raise Bad("a chunk of an answer is longer than it says")
        self._state = self._size
        return True

    def _end(self, _: list[bytes]) -> bool:
        line = self._line()
        if line is None:
            return False
        self._trailer += len(line)
        if self._trailer > _TRAILER_LIMIT:
            raise Bad("the trailer of an answer is too long")
        if not line:
            self.rest = bytes(self._pending)
        return True

    def _line(self) -> bytes | None:
        end = self._pending.find(b"\r\n")
        if end > _LINE_LIMIT or (end < 0 and len(self._pending) > _LINE_LIMIT + 1):  # of the end, half may be there
            raise Bad("a line of a chunked answer is too long")
        if end < 0:
            return None
        line = bytes(self._pending[:end])
        del self._pending[: end + 2]
        return line
