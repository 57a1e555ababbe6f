"""A forwarder on loopback that adds latency, like a network between a client and its S3 server.

    with latency.added(0.02) as endpoint: ...

It runs in its own process, so that its work does not count as the client's, and forwards bytes as they come; each piece
from the client is delayed. ``ceiling`` measures how many requests a second it forwards without added latency.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit


class Pipe(asyncio.Protocol):
    """One end of a forwarded connection."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: Pipe | None = None
        self._seconds = seconds
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport to write to."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Forward the data, now or after the delay."""
        if self._seconds:
            asyncio.get_running_loop().call_later(self._seconds, self.forward, data)
        else:
            self.forward(data)

    def forward(self, data: bytes) -> None:
        """Write to the other end, or keep the data until that is connected."""
        if self.other is None or self.other.transport is None:
            self._early.append(data)
        else:
            self.other.transport.write(data)

    def flush(self) -> None:
        """Write the data that arrived before the other end was connected."""
        early, self._early = self._early, []
        for data in early:
            self.forward(data)

    def pause_writing(self) -> None:
        """Stop reading from the other end while this one's buffer is full."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """Resume reading from the other end."""
        if self.other is not None and self.other.transport is not None:
            with contextlib.suppress(RuntimeError):  # it is closed
                self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the other end too."""
        del exc
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


class Front(Pipe):
    """The client's end."""

    def __init__(self, seconds: float, host: str, port: int) -> None:
        super().__init__(seconds)
        self._upstream = (host, port)
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connect to the server."""
        super().connection_made(transport)
        self._task = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        back = Pipe()
        back.other = self
        try:
            await asyncio.get_running_loop().create_connection(lambda: back, *self._upstream)
        except OSError:
            if self.transport is not None:
                self.transport.close()
            return
        self.other = back
        self.flush()


async def serve(upstream: str, seconds: float) -> None:
    """Forward until standard input closes; print the port as the first line of standard output."""
    parts = urlsplit(upstream)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Front(seconds, parts.hostname or "127.0.0.1", parts.port or 80), "127.0.0.1", 0
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


@contextmanager
def added(seconds: float) -> Iterator[str]:
    """Yield an endpoint that leads to the server of ``AWS_ENDPOINT_URL`` with added latency."""
    command = [sys.executable, "-m", "benchmarks.latency", os.environ["AWS_ENDPOINT_URL"], str(seconds)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdin is not None  # noqa: S101 - for the type
        assert process.stdout is not None  # noqa: S101
        try:
            port = process.stdout.readline().strip()
            if not port:
                raise SystemExit("the forwarder did not start")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.stdin.close()


def ceiling(rate: Callable[[str], float]) -> dict[str, float]:
    """Return *rate* of the server itself, and through a forwarder without latency, which shows its own cost."""
    with added(0) as endpoint:
        return {"direct": rate(os.environ["AWS_ENDPOINT_URL"]), "forwarded": rate(endpoint)}


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], float(sys.argv[2])))
