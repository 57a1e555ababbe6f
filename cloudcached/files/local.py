"""The local ends of transfers: sources, targets, and progress."""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple, Protocol

from .._types import Bytes, FileSource, Progress
from ..entry.streams import SealedStream, Sealing
from ..errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

#: Bytes that are copied at a time.
COPY_BYTES: Final = 1 << 20


class Sink(Protocol):
    """Where content goes before it is verified."""

    def begin(self) -> None:
        """Begin, or discard what was written and start over."""

    def write(self, content: Bytes) -> None:
        """Append the next piece."""


class Nowhere:
    """Discards content that only has to be verified."""

    def begin(self) -> None:
        """Do nothing."""

    def write(self, content: Bytes) -> None:
        """Do nothing."""


class Meter:
    """Reports progress to a callback: never fewer bytes than before, and all of them at the end."""

    def __init__(self, report: Progress | None, total: int | None = None) -> None:
        self._report = report
        self._total = total
        self._reported = -1

    def expect(self, total: int) -> None:
        """Set the total, known from here on."""
        self._total = total

    def at(self, done: int) -> None:
        """Report that *done* bytes are done."""
        if self._total is not None:
            done = min(done, self._total)
        if self._report is not None and done > self._reported:
            self._reported = done
            self._report(done, self._total)

    def end(self, total: int) -> None:
        """Report that all *total* bytes are done."""
        if self._total is None:
            self._reported = -1  # again, now with a total
        self._total = total
        self.at(total)


class Content(NamedTuple):
    """The content of a source."""

    file: Any
    #: Bytes; ``None`` if unknown.
    size: int | None
    #: The position at which it begins; ``None`` if it can be read only once.
    start: int | None

    def sealed(self, sealing: Sealing) -> SealedStream:
        """Return the body of the entry, from the beginning."""
        if self.start is not None:
            self.file.seek(self.start)
        return SealedStream(self.file, sealing, size=self.size, start=self.start)


@contextmanager
def opened(source: FileSource) -> Iterator[Content]:
    """Yield the content of a source. Raises ``OSError`` for a path that cannot be read."""
    if isinstance(source, (str, os.PathLike)):
        with open(source, "rb", buffering=0) as file:  # noqa: PTH123 - an os.PathLike need not be a Path
            yield content_of(file)
    elif isinstance(source, io.TextIOBase) or not hasattr(source, "read"):
        raise ConfigError(f"put_file takes a path or a file opened in binary mode, not {source!r}")
    else:
        yield content_of(source)


def content_of(file: Any) -> Content:
    """Return the content of an open file, from its position to its end."""
    seekable = getattr(file, "seekable", None)
    if seekable is None or not seekable():
        return Content(file, None, None)
    start = file.tell()
    end = file.seek(0, os.SEEK_END)
    if end is None:  # SpooledTemporaryFile before Python 3.11
        end = file.tell()
    file.seek(start)
    return Content(file, max(0, end - start), start)


@contextmanager
def sized(content: Content) -> Iterator[tuple[Content, int]]:
    """Yield content that can be read again, and its size in bytes: a copy in a temporary file if it is unknown."""
    if content.size is not None:
        yield content, content.size
        return
    import shutil  # noqa: PLC0415 - these imports take time, and few processes move files
    import tempfile  # noqa: PLC0415

    with tempfile.TemporaryFile() as spool:
        shutil.copyfileobj(content.file, spool, COPY_BYTES)
        size = spool.tell()
        yield Content(spool, size, 0), size


class Replacement:
    """A file in the target's directory, which takes the target's place once it is complete."""

    def __init__(self, target: Path) -> None:
        if not target.parent.is_dir():
            raise FileNotFoundError(f"there is no directory {target.parent} to write {target.name!r} to")
        if target.is_dir():
            raise IsADirectoryError(f"{target} is a directory; name a file in it")
        self._target = target
        self._temporary = target.parent / f".cloudcached-{secrets.token_hex(8)}.part"
        self._file: Any = None

    def begin(self) -> None:
        """Begin, or discard what was written and start over. The file is made by the first write: a miss makes none."""
        if self._file is not None:
            self._file.seek(0)
            self._file.truncate()

    def write(self, content: Bytes) -> None:
        """Append the next piece."""
        write_all(self._opened(), content)

    def commit(self) -> None:
        """Put the file in the target's place."""
        self._opened().close()
        self._temporary.replace(self._target)
        self._file = None

    def discard(self) -> None:
        """Remove the file unless it was committed."""
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
        """Begin, or discard what was written and start over."""
        self._file.seek(0)
        self._file.truncate()

    def write(self, content: Bytes) -> None:
        """Append the next piece."""
        write_all(self._file, content)


def write_all(file: BinaryIO, content: Bytes) -> None:
    """Write all of *content*, even to a raw file that takes less at a time."""
    view = memoryview(content)
    while view:
        count = file.write(view)
        view = view[len(view) if count is None else count :]
