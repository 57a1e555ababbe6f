"""One request and its answer over one connection, blocking. Never sent twice.

Three endings are told apart: ``NotSent`` (there was no connection, or ``Closed``: a kept one was closed before it
answered a request without a body), an answer, and everything else, after which it is open whether it was done.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import Final

from ..._types import Bytes
from ...errors import StoreRefused, StoreUnreachable
from ..port import Body, Closed, Stream
from .answer import Bad, Chunks, Head, head_end, parse_head
from .clock import monotonic
from .connection import Connection, Deadline, Endpoint, keep_session
from .pool import POOL
from .request import Ask, pieces_of

#: Bodies up to this size are read with their head, so that their connections can be used again at once.
SMALL_BYTES: Final = 1 << 16
#: From this size on the server is asked whether it wants the body at all: one that it refuses is not sent in vain.
EXPECT_BYTES: Final = 1 << 20
#: Seconds that it may take to say so.
_EXPECT_SECONDS: Final = 1.0
#: Interim answers (1xx) before the real one.
_INTERIM_LIMIT: Final = 8
_STREAM_BYTES: Final = 1 << 18
#: A body is sent in pieces of this size, so that an answer that comes meanwhile ends the sending. Over TLS a piece
#: that could only be sent in part must be sent again exactly, so pieces are small there.
_PIECE_BYTES: Final = 1 << 18
_TLS_PIECE_BYTES: Final = 1 << 16


class Reply:
    """An answer whose head has come; of a small one the body too."""

    __slots__ = ("_begun", "_body", "_connection", "_deadline", "head", "ignored_expect")

    def __init__(
        self, head: Head, begun: bytes, connection: Connection, deadline: Deadline, *, ignored_expect: bool
    ) -> None:
        self.head = head
        #: Whether the server said nothing when it was asked whether it wants the body.
        self.ignored_expect = ignored_expect
        #: The body, once it was read.
        self._body: Bytes | None = None
        self._connection: Connection | None = connection
        self._deadline = deadline
        #: What has come of the body with the head.
        self._begun = begun

    def begin(self) -> None:
        """Read a small body; give a large one time of its own."""
        length = self.head.length
        if length is not None:
            if length <= SMALL_BYTES:
                self._body = self._small(length)
            else:
                self._deadline.extend(length)

    def read(self, limit: int | None = None) -> Bytes:
        """Return the whole body. Raises ``StoreRefused`` for one without a length that is over *limit* bytes."""
        if self._body is not None:
            return self._body
        try:
            self._body = self._unbounded(limit) if self.head.length is None else self._large(self.head.length)
        except BaseException:
            self.close()
            raise
        return self._body

    def pieces(self) -> Iterator[Bytes]:
        """Yield the body as it comes."""
        if self._body is not None:
            yield self._body
            return
        connection = self._opened()
        try:
            yield from self._chunks(connection) if self.head.is_chunked else self._counted(connection)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection, unless the body was read to its end."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def __del__(self) -> None:
        self.close()  # whoever forgets an answer does not leave its connection to the garbage collector

    def _opened(self) -> Connection:
        """Return the connection, on which the rest of the body comes."""
        connection = self._connection
        if connection is None:
            raise StoreUnreachable("the body was read already, or closed")
        if connection.pid != os.getpid():  # what a child read here would be missing in its parent
            raise StoreUnreachable("the parent process reads this body")
        return connection

    def _done(self, *, whole: bool) -> None:
        """Give the connection back, if nothing is left over on it."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if connection.endpoint.is_tls and not connection.reused:
            keep_session(connection)
        if whole and self.head.stays:
            POOL.give(connection)
        else:
            connection.close()

    def _unbounded(self, limit: int | None) -> bytes:
        found, size = [], 0
        for piece in self.pieces():
            size += len(piece)
            if limit is not None and size > limit:
                raise StoreRefused(f"a body without a length is over {limit:,} bytes")
            found.append(piece)
        return b"".join(found)

    def _small(self, length: int) -> bytes:
        connection, data = self._connection, self._begun
        assert connection is not None  # noqa: S101 - for the type checker
        while len(data) < length:
            more = connection.recv(self._deadline)
            if not more:
                raise self._early(len(data), length)
            data += more
        self._done(whole=len(data) == length)
        return data[:length]

    def _large(self, length: int) -> bytes:
        """Receive the body into the ``bytes`` that are returned: a copy takes as long as hashing."""
        connection = self._opened()
        buffer = io.BytesIO()
        try:
            buffer.seek(length - 1)
            buffer.write(b"\0")
        except (MemoryError, OverflowError) as error:
            raise StoreRefused(f"a body of {length:,} bytes does not fit into memory") from error
        with buffer.getbuffer() as view:
            got = min(len(self._begun), length)
            view[:got] = self._begun[:got]
            while got < length:
                with view[got:] as rest:  # what an exception's frames keep must not keep the buffer
                    count = connection.recv_into(rest, self._deadline)
                if not count:
                    raise self._early(got, length)
                got += count
        self._done(whole=len(self._begun) <= length)
        return buffer.getvalue()

    def _counted(self, connection: Connection) -> Iterator[bytes]:
        """Yield a body of a known length, or one that ends with the connection."""
        length, data, got = self.head.length, self._begun, 0
        if length is not None:
            data = data[:length]
        while True:
            got += len(data)
            if data:
                yield data
            if length is not None and got >= length:
                break
            data = connection.recv(self._deadline)
            if not data:
                if length is not None:
                    raise self._early(got, length)
                break
            if length is not None and got + len(data) > length:
                yield data[: length - got]
                self._done(whole=False)
                return
        self._done(whole=length is not None and len(self._begun) <= length)

    def _chunks(self, connection: Connection) -> Iterator[bytes]:
        chunks = Chunks()
        found = chunks.feed(self._begun)
        while True:
            yield from found
            if chunks.done:
                self._done(whole=not chunks.rest)
                return
            data = connection.recv(self._deadline)
            if not data:
                raise StoreUnreachable("a chunked body ended early")
            found = chunks.feed(data)

    @staticmethod
    def _early(got: int, length: int) -> StoreUnreachable:
        return StoreUnreachable(f"the body ended early: {got:,} of {length:,} bytes")


class _Heard:
    """What the server says before a request was sent as a whole."""

    #: What has come of the answer.
    data = b""
    #: Whether it wants the body, and whether it said nothing when it was asked that.
    may_proceed = was_silent = False
    _interim = 0

    def __init__(self, method: str) -> None:
        self._method = method

    def __call__(self, data: bytes) -> bool:
        """Take bytes; return whether they begin the answer. Interim answers are passed over."""
        self.data += data
        while end := head_end(self.data):
            status = parse_head(self.data, end, self._method).status
            if status >= 200 or status == 101:  # noqa: PLR2004
                return True
            self._interim += 1
            if self._interim > _INTERIM_LIMIT:
                raise Bad("interim answers without end")
            self.may_proceed = self.may_proceed or status == 100  # noqa: PLR2004
            self.data = self.data[end:]
        return False


def exchange(endpoint: Endpoint, head: bytes, ask: Ask, deadline: Deadline, *, expects: bool = False) -> Reply:
    """Send one request and return its answer. expects: the head says ``expect: 100-continue``."""
    connection = POOL.take(endpoint, deadline)
    try:
        heard = _Heard(ask.method)
        if expects:
            is_sent = _expected(connection, head, heard, deadline) and _sent(connection, b"", ask.body, heard, deadline)
        else:
            is_sent = _sent(connection, head, ask.body, heard, deadline)
        is_early = bool(heard.data)
        answered, begun = _answered(connection, ask.method, heard.data, deadline)
        if is_early or not is_sent:
            answered = answered._replace(stays=False)
        reply = Reply(answered, begun, connection, deadline, ignored_expect=heard.was_silent)
    except BaseException:
        connection.close()
        raise
    try:
        reply.begin()
    except BaseException:
        reply.close()  # not the connection: it may be another thread's already
        raise
    return reply


def _expected(connection: Connection, head: bytes, heard: _Heard, deadline: Deadline) -> bool:
    """Send the head of a request; return whether the body is to follow: the server wants it, or does not say."""
    if not connection.send(head, deadline, heard):
        return False
    end = monotonic() + min(_EXPECT_SECONDS, deadline.left())
    while not heard.may_proceed:
        data = connection.listen(end - monotonic())
        if data is None:
            heard.was_silent = True
            return True
        if not data or heard(data):
            return False
    return True


def _sent(connection: Connection, head: bytes, body: Body, heard: _Heard, deadline: Deadline) -> bool:
    """Send a request; return whether all of it was sent."""
    piece_bytes = _TLS_PIECE_BYTES if connection.endpoint.is_tls else _PIECE_BYTES
    if isinstance(body, (bytes, bytearray, memoryview)):
        if len(head) + len(body) <= piece_bytes:
            return connection.send(b"".join((head, body)) if body else head, deadline, heard)
        pieces: Iterator[memoryview] = pieces_of(body, piece_bytes)
    else:
        pieces = _read(body, piece_bytes)
    if head and not connection.send(head, deadline, heard):
        return False
    return all(connection.send_piece(piece, deadline, heard) for piece in pieces)


def _read(body: Stream, size: int) -> Iterator[memoryview]:
    """Yield a stream from its beginning in pieces of *size* bytes. Raises what reading it raises."""
    buffer = memoryview(bytearray(size))
    body.seek(0)
    while count := body.readinto(buffer):
        yield buffer[:count]


def _answered(connection: Connection, method: str, data: bytes, deadline: Deadline) -> tuple[Head, bytes]:
    """Return the head of the answer, and what came of the body with it; interim answers are passed over."""
    for _ in range(_INTERIM_LIMIT):
        while not (end := head_end(data)):
            data += _more(connection, deadline, data)
        head = parse_head(data, end, method)
        if head.status >= 200:  # noqa: PLR2004
            return head, data[end:]
        if head.status == 101:  # noqa: PLR2004
            break
        data = data[end:]
    raise Bad("an answer that is none: interim ones without end, or another protocol")


def _more(connection: Connection, deadline: Deadline, data: bytes) -> bytes:
    try:
        more = connection.recv(deadline)
    except StoreUnreachable as error:
        if connection.reused and not data and isinstance(error.__cause__, ConnectionError):
            raise Closed(str(error)) from error
        raise
    if more:
        return more
    if connection.reused and not data:
        raise Closed("the connection was closed before it answered")
    raise StoreUnreachable("the connection was closed before it answered")
