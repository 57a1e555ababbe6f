"""Rivals: threads that start together, and processes with clients of their own.

    together(32, client.put, "key", 1)
    at_once(*[partial(client.put, "key", 1) for client in clients])

    with Crew(8) as crew:
        crew.open(url, **options)
        crew.each("put", "key", 1)          # all at once; eight answers
        crew.each("incr", "hits", times=50)

Run as a script this is a worker, or with more than one pipe the parent that uses its client and forks them.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from cloudcached import Client, CloudCachedError, Lock

R = TypeVar("R")

#: Seconds that workers are told to begin from now: the slowest has read its order by then.
HEAD_START = 0.004


def settings_for(server: Any, endpoint: str = "") -> dict[str, str]:
    """Return the ``s3`` option that leads to a test server, also from a process without its environment."""
    return {
        "endpoint_url": endpoint or server.endpoint,
        "aws_access_key_id": server.env["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": server.env["AWS_SECRET_ACCESS_KEY"],
        "region_name": server.env["AWS_DEFAULT_REGION"],
    }


def at_once(*functions: Callable[[], R]) -> list[R | CloudCachedError]:
    """Call each function in a thread of its own, all at once; return what each returned, or our error it raised."""
    barrier = threading.Barrier(len(functions))

    def call(function: Callable[[], R]) -> R | CloudCachedError:
        barrier.wait()
        try:
            return function()
        except CloudCachedError as error:
            return error

    with ThreadPoolExecutor(len(functions)) as pool:
        return list(pool.map(call, functions))


def together(count: int, function: Callable[..., R], *arguments: Any) -> list[R | CloudCachedError]:
    """Call one function in so many threads at once."""
    return at_once(*[partial(function, *arguments)] * count)


class Crew:
    """Worker processes, each with a client of its own; forked ones come from a parent that had used its client."""

    def __init__(self, count: int, *, forked_on: tuple[str, dict[str, Any]] | None = None) -> None:
        pairs = [Pipe() for _ in range(count)]
        self._pipes = [ours for ours, _ in pairs]
        theirs = [pipe for _, pipe in pairs]
        groups = [theirs] if forked_on else [[pipe] for pipe in theirs]
        self._processes = [self._start(group) for group in groups]
        for pipe in theirs:
            pipe.close()
        if forked_on:
            self._pipes[0].send(forked_on)
        #: The workers' process ids.
        self.pids: list[int] = [pipe.recv() for pipe in self._pipes]

    @staticmethod
    def _start(pipes: list[Connection]) -> subprocess.Popen[bytes]:
        numbers = [pipe.fileno() for pipe in pipes]
        command = [sys.executable, "-W", "ignore", str(Path(__file__)), *map(str, numbers)]
        paths = os.pathsep.join(path for path in sys.path if path)
        return subprocess.Popen(command, pass_fds=numbers, env={**os.environ, "PYTHONPATH": paths})

    def open(self, url: str, **options: Any) -> None:
        """Let each worker open a client."""
        self._all("open", (url,), options)

    def each(self, verb: str, *arguments: Any, times: int = 0, **options: Any) -> list[Any]:
        """Let all call a verb of their clients, or a function of this module, at once; return their answers.

        times: how often each calls it; the answers are lists then. An error of the library's is an answer.
        """
        return self._all("call", (verb, times, arguments), options)

    def _all(self, what: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> list[Any]:
        begin = time.monotonic() + HEAD_START  # one clock for all processes of a machine
        for pipe in self._pipes:
            pipe.send((what, begin, arguments, options))
        answers = [pipe.recv() for pipe in self._pipes]
        for answer in answers:
            if isinstance(answer, Exception) and not isinstance(answer, CloudCachedError):
                raise answer
        return answers

    def __enter__(self) -> Crew:  # noqa: PYI034 - Self needs Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.wait(30)


class _Worker:
    """The other end of a pipe."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._client: Client | None = None

    def serve(self) -> None:
        """Do what is asked until the pipe is closed."""
        self._pipe.send(os.getpid())
        with contextlib.suppress(EOFError):
            while True:
                what, begin, arguments, options = self._pipe.recv()
                work = getattr(self, what)
                time.sleep(max(0.0, begin - time.monotonic()))
                try:
                    answer = work(*arguments, **options)
                except Exception as error:  # noqa: BLE001 - raised where the answer is read
                    answer = error
                self._pipe.send(answer)

    def open(self, url: str, **options: Any) -> None:
        self._client = Client.shared(url, **options)

    def call(self, verb: str, times: int, arguments: tuple[Any, ...], **options: Any) -> Any:
        function = getattr(self._client, verb, None)
        if function is None:
            client = self._client
            local = globals()[verb]

            def function(*arguments: Any, **options: Any) -> Any:
                return local(client, *arguments, **options)

        if not times:
            return function(*arguments, **options)
        answers = []
        for _ in range(times):
            try:
                answers.append(function(*arguments, **options))
            except CloudCachedError as error:
                answers.append(error)
        return answers


def count(client: Client, key: str, threads: int, times: int) -> list[int]:
    """Count in several threads; return all that they were told."""
    totals = together(threads, lambda: [client.incr(key) for _ in range(times)])
    return [total for told in totals for total in told]


def count_in_file(client: Client, name: str, path: str, rounds: int) -> None:
    """Add lines to a file that only a lock protects: each holder's fencing number."""
    for _ in range(rounds):
        with client.lock(name, timeout=30) as lock:
            lines = Path(path).read_text()
            time.sleep(0.001)  # rivals get their chance
            Path(path).write_text(f"{lines}{lock.fencing}\n")


#: What the process holds until it ends.
held: list[Lock] = []


def hold(client: Client, name: str, lease: float) -> int:
    """Take a lock and keep it; return the fencing number."""
    held.append(client.lock(name, timeout=lease))
    assert held[-1].acquire()
    return held[-1].fencing


def compute_once(client: Client, key: str, path: str, threads: int) -> list[Any]:
    """Get or compute the value of a key in several threads; each computation leaves a line in a file."""

    def compute() -> int:
        with Path(path).open("a") as log:
            log.write(f"{os.getpid()}\n")
        time.sleep(0.3)
        return 42

    return together(threads, partial(client.get_or_put, key, compute, lock=True))


def main(numbers: list[str]) -> None:
    """Serve one pipe, or use a client and fork a worker for each."""
    pipes = [Connection(int(number)) for number in numbers]
    if len(pipes) > 1:
        url, options = pipes[0].recv()
        Client.shared(url, **options).put("before the fork", 1, replace=True)
        children = []
        for pipe in pipes:
            child = os.fork()
            if not child:
                _Worker(pipe).serve()
                os._exit(0)
            children.append(child)
        for pipe in pipes:
            pipe.close()
        for child in children:
            os.waitpid(child, 0)
    else:
        _Worker(pipes[0]).serve()


if __name__ == "__main__":
    main(sys.argv[1:])
