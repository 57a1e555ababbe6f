"""Files in and out of entries: in parallel, in constant memory, and believed only when they are whole."""

from __future__ import annotations

import io
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace as changed
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, Protocol

from ._types import Bytes, FileSource, FileTarget, Progress
from .engine import Engine
from .entry import BYTES, Meta, Place
from .errors import (
    ConfigError,
    EntryRefused,
    NotFound,
    PreconditionFailed,
    StoreBusy,
    StoreUnreachable,
    ValueRejected,
    ValueTooLarge,
)
from .expiry import is_expired
from .multipart import PART_BYTES, ahead, part_bytes, upload
from .pool import fan_out
from .sealed import SealedStream, Sealing
from .seen import NOTHING, Seen
from .stores.base import Head
from .stores.limits import PARTS_LIMIT, PUT_LIMIT_BYTES

#: Of sources whose size nobody knows: 10,000 of these are 160 GiB.
_BLIND_PART_BYTES: Final = 16 << 20
#: How often a file that is rewritten while it is read is begun anew.
_TRIES: Final = 5
_COPY_BYTES: Final = 1 << 20


class Sink(Protocol):
    """Where content goes that is not verified yet."""

    def begin(self) -> None:
        """Begin, or forget what came and begin anew."""

    def take(self, content: Bytes) -> None:
        """Take the next piece."""


class Nowhere:
    """For content that only has to be verified."""

    def begin(self) -> None:
        """Do nothing."""

    def take(self, content: Bytes) -> None:
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
            yield _content(file)
    elif isinstance(source, io.TextIOBase) or not hasattr(source, "read"):
        raise ConfigError(f"a file is put from a path or a file opened in binary mode, not from {source!r}")
    else:
        yield _content(source)


def _content(file: Any) -> Content:
    seekable = getattr(file, "seekable", None)
    if seekable is None or not seekable():
        return Content(file, None, None)
    start = file.tell()
    end = file.seek(0, os.SEEK_END)
    if end is None:  # SpooledTemporaryFile before Python 3.11
        end = file.tell()
    file.seek(start)
    return Content(file, max(0, end - start), start)


class Files:
    """The files of one cache."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # Writing

    def put(self, place: Place, source: FileSource, meta: Meta, progress: Progress | None, *, replace: bool) -> bool:
        """Store what *source* holds; return whether it was stored."""
        with opened(source) as content, self._engine.writing([place.key]):
            if replace:
                self._replace(place, content, meta, Meter(progress, content.size))
                return True
            if content.size is not None:
                return self._add(place, content, meta, Meter(progress, content.size))
            # A single PUT has to say its size first.
            with tempfile.TemporaryFile() as spool:
                shutil.copyfileobj(content.file, spool, _COPY_BYTES)
                spool.seek(0)
                spooled = _content(spool)
                return self._add(place, spooled, meta, Meter(progress, spooled.size))

    def _replace(self, place: Place, content: Content, meta: Meta, meter: Meter) -> None:
        engine = self._engine
        packed = engine.codec.pack(place, meta, content.sealed)
        stream: Any = packed.body
        size = _BLIND_PART_BYTES if content.size is None else part_bytes(len(stream))
        meter.at(0)
        parts = _Parts(stream, size)
        first = next(parts)
        second = next(parts, None)
        if second is None:
            engine.write_packed(place, changed(packed, body=bytes(first)), engine.budget())
        else:
            done = 0

            def sent(part: Bytes) -> None:
                nonlocal done
                done += len(part)
                meter.at(done)
                parts.give_back(part)

            upload(engine, place, packed, chain((first, second), parts), parallel=ahead(size), sent=sent)
        meter.end(stream.taken)

    def _add(self, place: Place, content: Content, meta: Meta, meter: Meter) -> bool:
        engine, size = self._engine, content.size or 0
        if size > PUT_LIMIT_BYTES - (64 << 20):  # what is around the content, and encryption's tags
            raise ValueTooLarge(
                f"{size:,} bytes are too many for the one conditional PUT that replace=False needs (S3's limit is"
                " 5 GiB); with replace=True files go up in parts"
            )
        budget = engine.long_budget(size)
        base = NOTHING
        meter.at(0)
        while True:
            written, _ = engine.write_if(place, meta, content.sealed, base, budget)
            if written:
                meter.end(size)
                return True
            base = self.read(place, Nowhere())
            if base.live:
                return False
            budget.spend(engine.lost(place), lost=True)

    # Reading

    def get(self, place: Place, target: FileTarget, progress: Progress | None) -> bool:
        """Write a live file to *target* once it is verified; return whether there was one."""
        meter = Meter(progress)
        if isinstance(target, (str, os.PathLike)):
            sink = _Beside(Path(target))
            try:
                if not self.read(place, sink, meter, wanted=BYTES).live:
                    return False
                sink.commit()
            finally:
                sink.discard()
            return True
        if isinstance(target, io.TextIOBase) or not hasattr(target, "write"):
            raise ConfigError(f"a file is got into a path or a file opened in binary mode, not into {target!r}")
        with tempfile.SpooledTemporaryFile(PART_BYTES) as file:
            if not self.read(place, Spool(file), meter, wanted=BYTES).live:
                return False
            file.seek(0)
            while piece := file.read(_COPY_BYTES):
                _write_all(target, piece)
        return True

    def read(self, place: Place, sink: Sink, meter: Meter | None = None, *, wanted: str = "") -> Seen:
        """Give the content of a live entry to *sink*; return what was found, live only if all of it was verified.

        Raises ``ValueRejected`` for an entry of another type than *wanted*. Cost: 1 GET for each range, 1 for what is
        missing or expired; all of them again when it is rewritten meanwhile.
        """
        for _ in range(_TRIES):
            sink.begin()
            try:
                seen = self._read_once(place, sink, meter or Meter(None), wanted)
            except PreconditionFailed:
                continue
            except NotFound:
                seen = NOTHING
            self._engine.saw(place, seen.etag)
            return seen
        raise StoreBusy(f"rewritten {_TRIES} times while it was read", operation="get", object_key=place.object_key)

    def _read_once(self, place: Place, sink: Sink, meter: Meter, wanted: str) -> Seen:
        engine = self._engine
        head, meta, first = engine.call(engine.budget(), self._begin, place, wanted)
        if meta is None or first is None:
            return Seen(head.etag, meta)
        parts = chain(((first,),), self._ranges(place.object_key, head))
        try:
            unsealing = engine.codec.unsealing(place, meta, head.size)
            if unsealing is None:
                content = self._whole(place, meta, head, parts)
                sink.take(content)
                meter.end(len(content))
            else:
                done = 0
                meter.total = unsealing.content
                for piece in chain.from_iterable(parts):
                    unsealing.feed(piece, sink.take)
                    done += len(piece)
                    meter.at(done)
                unsealing.finish(sink.take)
                meter.end(unsealing.content)
        except EntryRefused as refusal:
            engine.refuse(place.object_key, refusal)
            return Seen(head.etag)
        return Seen(head.etag, meta, value=True)

    def _begin(self, place: Place, wanted: str, *, timeout: float) -> tuple[Head, Meta | None, Bytes | None]:
        """Return the outside of an object, its metadata if it is an entry, and its first bytes if that is live."""
        engine = self._engine
        found = engine.store.get_first(place.object_key, PART_BYTES, timeout=timeout)
        with closing(found):
            try:
                meta = engine.codec.check(place.object_key, found.head.metadata, found.head.size)
            except EntryRefused as refusal:
                engine.refuse(place.object_key, refusal)
                return found.head, None, None
            if is_expired(meta.expires_ms, engine.clock.time()):
                return found.head, meta, None
            if wanted and meta.type != wanted:
                raise ValueRejected(f"{place.key!r} holds a {meta.type}, not {wanted}: get() returns it")
            first = found.read()
            engine.counters.counts["bytes.read"] += len(first)
            return found.head, meta, first

    def _ranges(self, object_key: str, head: Head) -> Iterator[Sequence[Bytes]]:
        """Yield what follows the first range, in order, of exactly this version."""
        engine = self._engine

        def fetch(start: int) -> Sequence[Bytes]:
            get = partial(engine.store.get_range, object_key, start, PART_BYTES, etag=head.etag)
            return engine.call(engine.budget(), get)

        starts = range(PART_BYTES, head.size, PART_BYTES)
        answers = fan_out(fetch, starts, ahead=ahead(PART_BYTES))
        with closing(answers):  # type: ignore[type-var] # a generator
            for start, part in answers:
                if sum(map(len, part)) != min(PART_BYTES, head.size - start):
                    raise StoreUnreachable("a range is not whole", operation="get", object_key=object_key)
                yield part

    def _whole(self, place: Place, meta: Meta, head: Head, parts: Iterator[Sequence[Bytes]]) -> Bytes:
        """Return the content of an entry that was compressed, or encrypted as one message, as ``put`` does."""
        codec = self._engine.codec
        codec.check_size(head.size)
        data = codec.open(place, meta, b"".join(chain.from_iterable(parts)))
        return codec.decode(meta, data) if meta.type == BYTES else data


class _Parts:
    """The parts of a body, in buffers that are used again: fresh memory takes as long as the seal."""

    def __init__(self, stream: SealedStream, size: int) -> None:
        self._stream = stream
        self._size = size
        self._left = PARTS_LIMIT
        self._free: list[memoryview] = []

    def __iter__(self) -> Iterator[Bytes]:
        return self

    def __next__(self) -> Bytes:
        view = self._free.pop() if self._free else memoryview(bytearray(self._size))
        got = 0
        while got < self._size and (count := self._stream.readinto(view[got:])):
            got += count
        if not got:
            raise StopIteration
        self._left -= 1
        if self._left < 0:
            raise ValueTooLarge(
                f"over {PARTS_LIMIT:,} parts of {self._size:,} bytes: put it from a file, whose size is known"
            )
        return view[:got]

    def give_back(self, part: Bytes) -> None:
        """Let a part that was sent be written over."""
        if isinstance(part, memoryview):
            self._free.append(memoryview(part.obj))


class _Beside:
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
        _write_all(self._opened(), content)

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
        _write_all(self._file, content)


def _write_all(file: BinaryIO, content: Bytes) -> None:
    """Write all of it, also to a raw file that takes less at once."""
    view = memoryview(content)
    while view:
        count = file.write(view)
        view = view[len(view) if count is None else count :]
