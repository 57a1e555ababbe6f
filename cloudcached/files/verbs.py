"""The verbs of ``Client`` for values that are too large for memory."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, BinaryIO, cast

from .._types import FileSource, FileTarget, Progress, TimeToExpire
from ..engine.engine import Engine
from ..engine.outages import Silencer, verb
from ..entry.expiry import deadline_of, is_expired
from ..entry.format import BYTES
from ..errors import ConfigError, KeyMissing, StoreError
from .local import Nowhere, Spool
from .transfers import Files


class FileVerbs:
    """The part of ``Client`` that moves files."""

    _engine: Engine
    _silencer: Silencer

    @verb(False, writes=True)
    def put_file(
        self,
        key: str,
        source: FileSource,
        time_to_expire: TimeToExpire = 3600,
        replace: bool = False,
        *,
        progress: Progress | None = None,
    ) -> bool:
        """Store the content of *source* under *key*, as ``bytes``; return whether it was stored.

        source: a path, or a binary file, which is read from where it stands to its end. It is not loaded into memory,
        and ``max_value_bytes`` does not count; it is neither compressed nor changed, but encrypted where an
        ``encryption_key`` is set. replace: False leaves a live entry alone, and takes up to 5 GiB; True overwrites it,
        in parallel parts, with up to what S3 takes (a source of unknown size: 160 GiB). progress: is called in this
        thread with the bytes that are done and their total (``None``: unknown). Raises ``OSError`` for a source that
        cannot be read.

        **Atomicity:** as ``put``; nobody sees a part of a file. What fails or is aborted leaves no parts behind, as
        far as the store can be reached. **Cost:** up to 8 MiB 1 PUT; with ``replace=True`` above that 1 request per
        8 MiB and 2 more; with ``replace=False`` above that 1 HEAD and, unless there is a live entry, 1 PUT; the file
        that is there has to be read.
        """
        engine = self._engine
        place, now = engine.place(key), engine.clock.time()
        deadline = deadline_of(time_to_expire, now)
        files = Files(engine)
        if is_expired(deadline, now):
            if not replace:
                return not files.read(place, Nowhere()).live
            engine.remove(place, engine.budget())
            return True
        meta = engine.codec.content(expires_ms=deadline, created_ms=int(now * 1000))
        return files.put(place, source, meta, progress, replace=replace)

    @verb(False)
    def get_file(self, key: str, target: FileTarget, *, progress: Progress | None = None) -> bool:
        """Write the content of a live entry of ``bytes`` to *target*; return whether there was one.

        target: a path, whose file appears or is replaced when the content was verified, and is left alone otherwise;
        or a binary file, which is written to when the content was verified. It is not loaded into memory, and
        ``max_value_bytes`` does not count. progress: is called in this thread with the bytes that are done and their
        total. Raises ``ValueRejected`` for a value of another type, ``OSError`` where the target cannot be written.

        **Atomicity:** one consistent entry, never a torn or unverified one; a file that is rewritten meanwhile is
        begun anew. **Cost:** 1 GET per 8 MiB, in parallel; 1 for what is missing or expired.
        """
        return Files(self._engine).get(self._engine.place(key), target, progress)

    def open(self, key: str, mode: str = "rb", time_to_expire: TimeToExpire = 3600) -> BinaryIO:
        """Return a binary file to read the entry *key* from ("rb"), or to write it to ("wb").

        What is read is a copy in a temporary file, verified before it is returned. Raises ``KeyMissing`` where there
        is no live entry. What is written goes into a temporary file, and is stored over whatever is there by
        ``close``, which raises what ``put_file`` does; a ``with`` block that ends in an exception stores nothing, and
        neither does a file that is never closed. Its ``stored`` then tells whether it was stored.

        **Atomicity** and **Cost:** those of ``get_file``, and of ``put_file`` with ``replace=True``.
        """
        if mode == "wb":
            deadline_of(time_to_expire, self._engine.clock.time())  # refused now, not when all is written
            self._engine.place(key)
            return cast("BinaryIO", Writer(lambda file: self.put_file(key, file, time_to_expire, replace=True)))
        if mode != "rb":
            raise ConfigError(f"a mode is 'rb' or 'wb', not {mode!r}")
        place = self._engine.place(key)
        with ExitStack() as stack:
            import tempfile  # noqa: PLC0415 - takes its time, and few processes move files

            file = stack.enter_context(tempfile.TemporaryFile(buffering=0))
            try:
                live = Files(self._engine).read(place, Spool(file), wanted=BYTES).live
            except StoreError as error:
                self._silencer.take("open", error)
                live = False
            if not live:
                raise KeyMissing(f"{key!r} has no live entry to read")
            file.seek(0)
            stack.pop_all()  # the caller's to close
        return io.BufferedReader(file)


class Writer(io.BufferedIOBase):
    """A file whose content is stored when it is closed."""

    def __init__(self, store: Callable[[BinaryIO], bool]) -> None:
        self._store = store
        import tempfile  # noqa: PLC0415

        self._file: Any = tempfile.TemporaryFile()  # noqa: SIM115 - closed with this one
        #: Whether the content was stored.
        self.stored = False

    def writable(self) -> bool:
        """Say that it can be written."""
        return True

    def write(self, data: Any) -> int:
        """Write bytes; return how many."""
        if self.closed:
            raise ValueError("write to a closed file")
        return int(self._file.write(data))

    def tell(self) -> int:
        """Return how many bytes were written."""
        return int(self._file.tell())

    def close(self) -> None:
        """Store what was written. Raises what ``put_file`` does; the file is closed all the same."""
        if self.closed:
            return
        try:
            self._file.seek(0)
            self.stored = self._store(self._file)
        finally:
            self.abort()

    def abort(self) -> None:
        """Close the file and store nothing."""
        self._file.close()
        super().close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def __del__(self) -> None:
        self.abort()  # without this, whoever forgets a file would store the half of it
