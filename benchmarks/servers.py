"""Other servers for comparison, on loopback, for one run: Debian's redis-server and memcached.

    python -m benchmarks.servers     install those that are missing with apt-get (needs root or sudo)

They store nothing on disk.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = {"redis-server": "redis-server", "memcached": "memcached"}
START_S = 10.0


def free_port() -> int:
    """Return a free port on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def redis(folder: Path) -> Iterator[int | None]:
    """Yield the port of a Redis that keeps everything in memory, or ``None`` if it is not installed."""
    port = free_port()
    options = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder)]
    with _running("redis-server", ["--port", str(port), *options], port) as started:
        yield started


@contextmanager
def memcached() -> Iterator[int | None]:
    """Yield the port of a memcached that accepts values of 128 MB, or ``None`` if it is not installed."""
    port = free_port()
    options = ["-l", "127.0.0.1", "-U", "0", "-m", "2048", "-I", "128m"]
    who = ["-u", "nobody"] if os.geteuid() == 0 else []
    with _running("memcached", ["-p", str(port), *options, *who], port) as started:
        yield started


@contextmanager
def _running(program: str, arguments: list[str], port: int) -> Iterator[int | None]:
    path = shutil.which(program)
    if path is None:
        yield None
        return
    with subprocess.Popen([path, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:  # noqa: S603
        try:
            _await(port, process)
            yield port
        finally:
            process.terminate()


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"{process.args!r} did not start") from None
            time.sleep(0.02)
        else:
            return


def main() -> None:
    """Install the missing servers, or print which ones will be left out."""
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    if not missing:
        return
    root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    command = [*root, "apt-get", "install", "-y", "--no-install-recommends", *missing]
    # Debian starts them as services too, which a run does not use.
    found = shutil.which(command[0]) and subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode == 0  # noqa: S603
    if not found:
        print(f"left out, because not installed: {', '.join(missing)}", file=sys.stderr)


if __name__ == "__main__":
    main()
