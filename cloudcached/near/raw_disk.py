"""diskcache for text and bytes only: nothing is pickled, no pickle is loaded, and no other file is touched.

diskcache unpickles everything that its database calls a pickle (CVE-2025-69872): anyone who can write to its directory
can run code in every process that reads it. Here such a row is an error, which counts as a miss.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import diskcache  # type: ignore[import-untyped]
from diskcache.core import MODE_BINARY, MODE_RAW  # type: ignore[import-untyped]

#: Seconds that an access may wait for another process that writes; if it took longer, the store would have answered.
PATIENCE: Final = 0.05
#: Seconds that a thread may wait for its turn to write, while other threads of its process write.
TURN_PATIENCE: Final = 5 * PATIENCE
#: Values of at least this many bytes go into files of their own.
_MIN_FILE_BYTES: Final = 1 << 15
#: The names that diskcache gives to its files.
_FILE = re.compile(r"[0-9a-f]{2}[/\\][0-9a-f]{2}[/\\][0-9a-f]{28}\.val", re.ASCII)


class RawDisk(diskcache.Disk):  # type: ignore[misc]
    """The conversion of keys and values, through which diskcache reads and writes all of them."""

    def put(self, key: object) -> tuple[object, bool]:
        """Return a key, which must be text, as the database stores it."""
        return _only(str, key), True

    def get(self, key: object, raw: object) -> object:
        """Return a key from the database. Raises ``OSError`` for a pickled one."""
        return _only(str, key) if raw else _refuse("a pickled key")

    def store(self, value: object, read: bool, key: object = None) -> Any:
        """Store a value, which must be bytes."""
        return super().store(_only(bytes, value), read, key)

    def fetch(self, mode: int, filename: str | None, value: object, read: bool) -> Any:
        """Return a stored value. Raises ``OSError`` for a pickle, or the name of a file that is not diskcache's."""
        if mode not in (MODE_RAW, MODE_BINARY):
            _refuse(f"a value of mode {mode}")
        if filename is not None and not _FILE.fullmatch(filename):
            _refuse("the name of another file")
        return _only(bytes, super().fetch(mode, filename, value, read))

    def remove(self, file_path: str) -> None:
        """Remove the file of a value; a name that is not diskcache's is left alone."""
        if _FILE.fullmatch(file_path):
            super().remove(file_path)


class RawCache(diskcache.Cache):  # type: ignore[misc]
    """A cache to which the threads of a process take turns to write.

    SQLite lets waiting writers sleep, longer each time, while newcomers overtake them: of 32 threads that fill in the
    results of a bulk call, many would wait in vain.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._turn = threading.RLock()

    @contextmanager
    def transact(self, retry: bool = False) -> Iterator[None]:
        """Run the block as one transaction. Raises ``Timeout`` if another writer takes too long."""
        if not self._turn.acquire(timeout=TURN_PATIENCE):
            raise diskcache.Timeout
        try:
            with super().transact(retry):
                yield
        finally:
            self._turn.release()


def open_raw(directory: str, max_bytes: int) -> Any:
    """Return the cache in *directory*, which is created for this user alone if there is none."""
    Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
    return RawCache(
        directory,
        timeout=PATIENCE,
        disk=RawDisk,
        size_limit=max_bytes,
        eviction_policy="least-recently-stored",  # the other policies write at every read
        disk_min_file_size=_MIN_FILE_BYTES,
    )


def _only(kind: type, value: object) -> Any:
    return value if type(value) is kind else _refuse(f"a {type(value).__name__}")


def _refuse(what: str) -> Any:
    raise OSError(f"the cache on disk holds {what}, which was never stored in it")
