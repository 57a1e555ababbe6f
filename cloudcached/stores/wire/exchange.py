"""One request and its answer over one connection, blocking. Never sent twice.

Three endings are told apart: ``NotSent`` (there was no connection, or ``Closed``: a kept one was closed before it
answered a request without a body), an answer, and everything else, after which it is open whether it was done.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Final

from ..._types import Bytes
from ...errors import StoreUnreachable
from ...runtime.budget import allowance
from ..port import Closed
from .answer import Bad, Chunks, Head, head_end, parse_head, without_interim
from .connection import Connection, Deadline, Endpoint, keep_session
from .pool import POOL
from .request import Ask

#: Bodies up to this size are read with their head, so that their connections can be used again at once.
SMALL_BYTES: Final = 1 << 16
#: From this size on the server is asked whether it wants the body at all: one that it refuses is not sent in vain.
EXPECT_BYTES: Final = 1 << 20
#: Seconds that it may take to say so.
_EXPECT_SECONDS: Final = 1.0
#: Interim answers (1xx) before the real one.
_INTERIM_LIMIT: Final = 8
_STREAM_BYTES: Final = 1 << 18


class Reply:
    """An answer whose head has come; of a small one the body too."""

    __slots__ = ("_begun", "_connection", "_deadline", "body", "head")

    def __init__(self, head: Head, begun: bytes, connection: Connection, deadline: Deadline) -> None:
        self.head = head
        #: The body, once it was read.
        self.body: Bytes = b""
        self._connection: Connection | None = connection
        self._deadline = deadline
        #: What has come of the body with the head.
        self._begun = begun
        length = head.length
        if length is not None:
            if length <= SMALL_BYTES:
                self.body = self._small(length)
            else:
                deadline.end += allowance(length)

    def read(self, limit: int | None = None) -> Bytes:
        """Return the whole body. Raises ``Bad`` for one without a length that is over *limit* bytes."""
        if self._connection is None:
            return self.body
        length = self.head.length
        if length is None:
            found, size = [], 0
            for piece in self.pieces():
                size += len(piece)
                if limit is not None and size > limit:
                    self.close()
                    raise Bad(f"a body without a length is over {limit:,} bytes")
                found.append(piece)
            self.body = b"".join(found)
        else:
            self.body = self._large(length)
        return self.body

    def pieces(self) -> Iterator[Bytes]:
        """Yield the body as it comes."""
        connection = self._connection
        if connection is None:
            yield self.body
            return
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

    def _done(self, *, whole: bool) -> None:
        """Give the connection back, if nothing is left over on it."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if whole and self.head.stays:
            if connection.endpoint.is_tls and not connection.reused:
                keep_session(connection)
            POOL.give(connection)
        else:
            connection.close()

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
        connection = self._connection
        assert connection is not None  # noqa: S101
        buffer = io.BytesIO()
        buffer.seek(length - 1)
        buffer.write(b"\0")
        with buffer.getbuffer() as view:
            got = min(len(self._begun), length)
            view[:got] = self._begun[:got]
            while got < length:
                count = connection.recv_into(view[got:], self._deadline)
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


def exchange(endpoint: Endpoint, head: bytes, ask: Ask, deadline: Deadline, *, expects: bool = False) -> Reply:
    """Send one request and return its answer. expects: the head says ``expect: 100-continue``."""
    connection = POOL.take(endpoint, deadline)
    try:
        early, complete = _sent(connection, head, ask, deadline, expects=expects)
        answered, begun = _answered(connection, ask.method, early, deadline)
        if not complete:
            answered = answered._replace(stays=False)
        return Reply(answered, begun, connection, deadline)
    except BaseException:
        connection.close()
        raise


def _sent(connection: Connection, head: bytes, ask: Ask, deadline: Deadline, *, expects: bool) -> tuple[bytes, bool]:
    """Send a request; return what came back meanwhile, and whether all of it was sent."""
    body = ask.body
    if expects:
        connection.send(head, b"", _nothing, deadline)
        head = b""
        interim = connection.wait(min(_EXPECT_SECONDS, deadline.left()), deadline)
        if interim:
            while not head_end(interim):
                interim += _more(connection, deadline, interim)
            answer = without_interim(interim)  # some servers give the permission twice
            if answer:
                return answer, False  # it does not want the body
    if isinstance(body, (bytes, bytearray, memoryview)):
        early = connection.send(head, body, _nothing, deadline)
    else:
        buffer = memoryview(bytearray(_STREAM_BYTES))
        body.seek(0)

        def more() -> memoryview:
            return buffer[: body.readinto(buffer) or 0]

        early = connection.send(head, None, more, deadline)
    return early, not early


def _nothing() -> bytes:
    return b""


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
    more = connection.recv(deadline)
    if more:
        return more
    if connection.reused and not data:
        raise Closed("the connection was closed before it answered")
    raise StoreUnreachable("the connection was closed before it answered")
