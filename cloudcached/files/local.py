"""The local ends of transfers: what is put, where what is got goes, and how far it is."""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple, Protocol

from .._types import Bytes, FileSource, Progress
from ..entry.streams import SealedStream, Sealing
from ..errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

#: Bytes that are copied at once.
COPY_BYTES: Final = 1 << 20
#: Pieces that are written at once; the system takes 1,024.
_AT_ONCE: Final = 512


class Sink(Protocol):
    """Where content goes that is not verified yet."""

    def begin(self) -> None:
        """Begin, or forget what came and begin anew."""

    def take(self, content: Bytes) -> None:
        """Take the next piece."""

    def put(self, at: int, pieces: Iterable[Bytes]) -> bool:
        """Take content out of order, from any thread; return False where that is not possible."""

    def end(self, size: int) -> None:
        """Keep so many bytes."""


class Nowhere:
    """For content that only has to be verified."""

    def begin(self) -> None:
        """Do nothing."""

    def take(self, content: Bytes) -> None:
        """Do nothing."""

    def put(self, at: int, pieces: Iterable[Bytes]) -> bool:  # noqa: ARG002
        """Do nothing."""
        return True

    def end(self, size: int) -> None:
        """Do nothing."""


class Meter:
    """Tells a callback how far it is: never less than before, and all of it in the end."""

    def __init__(self, tell: Progress | None, total: int | None = None) -> None:
        self._tell = tell
        self.total = total
        self._told = -1

    def at(self, done: int) -> None:
        """Say that so many bytes are done."""
        if self.total is not None:
            done = min(done, self.total)
        if self._tell is not None and done > self._told:
            self._told = done
            self._tell(done, self.total)

    def end(self, total: int) -> None:
        """Say that all are done."""
        if self.total is None:
            self._told = -1  # now that all are known
        self.total = total
        self.at(total)


class Content(NamedTuple):
    """What is to be put."""

    file: Any
    #: Bytes, ``None`` where nobody knows.
    size: int | None
    #: Where it begins, ``None`` for what can be read only once.
    start: int | None

    def sealed(self, sealing: Sealing) -> SealedStream:
        """Return the body of the entry, from the beginning."""
        if self.start is not None:
            self.file.seek(self.start)
        return SealedStream(self.file, sealing, size=self.size, start=self.start)


@contextmanager
def opened(source: FileSource) -> Iterator[Content]:
    """Yield what a source holds. Raises ``OSError`` for a path that cannot be read."""
    if isinstance(source, (str, os.PathLike)):
        with open(source, "rb", buffering=0) as file:  # noqa: PTH123 - an os.PathLike need not be a Path
            yield content_of(file)
    elif isinstance(source, io.TextIOBase) or not hasattr(source, "read"):
        raise ConfigError(f"a file is put from a path or a file opened in binary mode, not from {source!r}")
    else:
        yield content_of(source)


def content_of(file: Any) -> Content:
    """Return what an open file holds from where it stands."""
    seekable = getattr(file, "seekable", None)
    if seekable is None or not seekable():
        return Content(file, None, None)
    start = file.tell()
    end = file.seek(0, os.SEEK_END)
    if end is None:  # SpooledTemporaryFile before Python 3.11
        end = file.tell()
    file.seek(start)
    return Content(file, max(0, end - start), start)


class Beside:
    """A file beside the target, which takes its place when it is whole."""

    def __init__(self, target: Path) -> None:
        if not target.parent.is_dir():
            raise FileNotFoundError(f"there is no directory {target.parent} to write {target.name!r} to")
        if target.is_dir():
            raise IsADirectoryError(f"{target} is a directory: name a file in it")
        self._target = target
        self._temporary = target.parent / f".cloudcached-{secrets.token_hex(8)}.part"
        self._file: Any = None

    def begin(self) -> None:
        """Begin, or forget what came and begin anew. A miss makes no file."""
        if self._file is not None:
            self._file.seek(0)
            self._file.truncate()

    def take(self, content: Bytes) -> None:
        """Write the next piece."""
        write_all(self._opened(), content)

    def put(self, at: int, pieces: Iterable[Bytes]) -> bool:
        """Write pieces to their place, where the system can do that in any thread once the file was opened in one.

        All at once: threads that write to one file wait for each other, and take turns sooner than they rest.
        """
        if not hasattr(os, "pwritev"):
            return False
        number, left = self._opened().fileno(), [memoryview(piece) for piece in pieces]
        while left:
            count = os.pwritev(number, left[:_AT_ONCE], at)
            at += count
            done = 0
            while done < len(left) and count >= len(left[done]):
                count -= len(left[done])
                done += 1
            left = left[done:]
            if left:
                left[0] = left[0][count:]
        return True

    def end(self, size: int) -> None:
        """Cut off what is behind the content: the seal."""
        self._opened().truncate(size)

    def commit(self) -> None:
        """Put the file in its place."""
        self._opened().close()
        self._temporary.replace(self._target)
        self._file = None

    def discard(self) -> None:
        """Leave nothing behind that was not put in its place."""
        if self._file is not None:
            self._file.close()
            self._temporary.unlink()
            self._file = None

    def _opened(self) -> Any:
        if self._file is None:
            self._file = self._temporary.open("xb", buffering=0)
        return self._file


class Spool:
    """A temporary file."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def begin(self) -> None:
        """Begin, or forget what came and begin anew."""
        self._file.seek(0)
        self._file.truncate()

    def take(self, content: Bytes) -> None:
        """Write the next piece."""
        write_all(self._file, content)

    def put(self, at: int, pieces: Iterable[Bytes]) -> bool:  # noqa: ARG002
        """Refuse: its position is shared."""
        return False

    def end(self, size: int) -> None:
        """Do nothing: it has no more."""


def write_all(file: BinaryIO, content: Bytes) -> None:
    """Write all of it, also to a raw file that takes less at once."""
    view = memoryview(content)
    while view:
        count = file.write(view)
        view = view[len(view) if count is None else count :]
