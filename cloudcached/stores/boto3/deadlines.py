"""Deadlines for exchanges that boto3 would wait for without end.

botocore's read timeout starts again with every byte that arrives, and its connect timeout also limits the sending of a
whole body. ``Bounded`` wraps botocore's HTTP session and holds each exchange to one deadline.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from ..._types import Bytes
from ...errors import StoreTimeout, StoreUnreachable
from ...runtime.budget import FREE_BYTES, allowance
from ..port import Stream

_CHUNK_BYTES: Final = 1 << 18
#: Larger bodies are sent in pieces of this size: sent whole over a slow line, they would run into the connect timeout.
PIECE_BYTES: Final = 1 << 16


class Deadline:
    """When an exchange must be over, and how long each step of it may take."""

    __slots__ = ("_end", "_patience")

    def __init__(self, seconds: float) -> None:
        self._patience = seconds
        self._end = time.monotonic() + seconds

    def extend(self, size: int) -> None:
        """Add the time that a body of *size* bytes may take."""
        self._end += allowance(size)

    def left(self) -> float:
        """Return the seconds that the next step may take. Raises ``StoreTimeout`` when none are left."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise StoreTimeout("the answer was not complete in time")
        return min(left, self._patience)


class Upload(io.RawIOBase):
    """A request body that is sent in pieces until a deadline, without a copy."""

    def __init__(self, body: Bytes, deadline: Deadline) -> None:
        super().__init__()
        self._view = memoryview(body).cast("B")
        self._deadline = deadline
        self._at = 0

    def __len__(self) -> int:
        return len(self._view)

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that it can be read again: botocore signs it before it sends it."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._view)}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int = -1) -> Any:
        """Return the next piece. Raises ``StoreTimeout`` after the deadline.

        The piece may be larger than *size*: urllib3 asks for 16 KiB, and each piece costs a system call.
        """
        if size < 0:
            return bytes(self._next(len(self._view)))
        return self._next(max(size, PIECE_BYTES))

    def readinto(self, buffer: Any) -> int:
        """Fill *buffer* with the next piece: awscrt, by which botocore signs where it is installed, reads this way."""
        piece = self._next(len(buffer))
        memoryview(buffer).cast("B")[: len(piece)] = piece
        return len(piece)

    def _next(self, size: int) -> memoryview:
        self._deadline.left()
        piece = self._view[self._at : self._at + size]
        self._at += len(piece)
        return piece


class StreamedUpload(io.RawIOBase):
    """A request body that is read from a stream until a deadline."""

    def __init__(self, body: Stream, deadline: Deadline) -> None:
        super().__init__()
        self._body = body
        self._deadline = deadline
        #: The exception that reading raised, which botocore takes for a failure of the connection.
        self.error: Exception | None = None
        body.seek(0)

    def __len__(self) -> int:
        return len(self._body)

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that it can be read again: botocore signs it before it sends it."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._body.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position."""
        return self._body.seek(offset, whence)

    def readinto(self, buffer: Any) -> int | None:
        """Fill *buffer* with the next piece. Raises ``StoreTimeout`` after the deadline."""
        self._deadline.left()
        try:
            return self._body.readinto(buffer)
        except Exception as error:
            self.error = error
            raise


class _Download:
    """A response body that is read until a deadline; stands in for a urllib3 response in botocore."""

    def __init__(self, raw: Any, deadline: Deadline, size: int | None) -> None:
        self._raw = raw
        self._deadline = deadline
        self._size = size
        if size is not None:
            deadline.extend(size)

    def read(self, _amount: int | None = None) -> bytes:
        """Return the rest of the body: nothing here asks for less."""
        chunks = []
        got = 0
        try:
            while chunk := self._next():
                chunks.append(chunk)
                got += len(chunk)
        except BaseException:
            self._raw.close()  # half read: the connection cannot be used again
            raise
        if self._size is not None and got < self._size:
            self._raw.close()
            raise StoreUnreachable(f"the answer broke off after {got:,} of {self._size:,} bytes")
        self._raw.release_conn()
        return b"".join(chunks)

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        """Yield the whole body."""
        yield self.read()

    def close(self) -> None:
        """Close the connection."""
        self._raw.close()

    def _next(self) -> bytes:
        from urllib3.exceptions import HTTPError, ReadTimeoutError  # noqa: PLC0415 - comes with botocore

        self._settimeout(self._deadline.left())
        try:
            # read1, since read would wait for the whole chunk
            return bytes(self._raw.read1(_CHUNK_BYTES))
        except ReadTimeoutError as exc:
            raise StoreTimeout("the answer stopped arriving") from exc
        except HTTPError as exc:
            raise StoreUnreachable(f"the answer broke off: {exc}") from exc

    def _settimeout(self, seconds: float) -> None:
        # As botocore's StreamingBody.set_socket_timeout does. The socket is gone once the last byte has arrived.
        file = getattr(self._raw._fp, "fp", None)  # noqa: SLF001
        if file is not None:
            file.raw._sock.settimeout(seconds)  # noqa: SLF001


class Bounded:
    """botocore's HTTP session, held to deadlines."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._current = threading.local()

    @contextmanager
    def until(self, deadline: Deadline) -> Iterator[None]:
        """Hold the requests that this thread sends inside the block to *deadline*."""
        self._current.deadline = deadline
        try:
            yield
        finally:
            del self._current.deadline

    def send(self, request: Any) -> Any:
        """Send a prepared request, as botocore's session does."""
        deadline: Deadline | None = getattr(self._current, "deadline", None)
        if deadline is None:  # a direct user of the client has its own timeouts
            return self._session.send(request)
        streams = request.stream_output
        request.stream_output = True  # read below, until the deadline
        if getattr(request, "context", None) is not None:
            request.context["read_timeout"] = deadline.left()  # since botocore 1.43; older ones use the client's own
        if int(request.headers.get("Content-Length", 0)) <= FREE_BYTES:
            # Waiting for permission to send costs a round trip, and a second where the server does not know the header.
            request.headers.pop("Expect", None)
        response = self._session.send(request)
        if request.method != "HEAD":
            length = response.headers.get("Content-Length")
            response.raw = _Download(response.raw, deadline, None if length is None else int(length))
        if not streams:
            response.content  # noqa: B018 - reads it
        return response

    def close(self) -> None:
        """Close all connections."""
        self._session.close()
