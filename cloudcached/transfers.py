"""Files in and out of entries: in parallel, in constant memory, and believed only when they are whole."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace as changed
from functools import partial
from itertools import chain
from typing import Any, Final

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
from .local_files import COPY_BYTES, Beside, Content, Meter, Nowhere, Sink, Spool, content_of, opened, write_all
from .multipart import PART_BYTES, ahead, part_bytes, upload
from .pool import fan_out
from .sealed import SealedStream
from .seen import NOTHING, Seen
from .stores.base import Head
from .stores.limits import PARTS_LIMIT, PUT_LIMIT_BYTES

#: Of sources whose size nobody knows: 10,000 of these are 160 GiB.
_BLIND_PART_BYTES: Final = 16 << 20
#: How often a file that is rewritten while it is read is begun anew.
_TRIES: Final = 5


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
            import shutil  # noqa: PLC0415 - here and below: these take their time, and few processes move files
            import tempfile  # noqa: PLC0415

            # A single PUT has to say its size first.
            with tempfile.TemporaryFile() as spool:
                shutil.copyfileobj(content.file, spool, COPY_BYTES)
                spool.seek(0)
                spooled = content_of(spool)
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
                meter.at(min(done, stream.taken))  # what is around the content is no progress
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
        import tempfile  # noqa: PLC0415
        from pathlib import Path  # noqa: PLC0415

        meter = Meter(progress)
        if isinstance(target, (str, os.PathLike)):
            sink = Beside(Path(target))
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
            while piece := file.read(COPY_BYTES):
                write_all(target, piece)
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
        try:
            unsealing = engine.codec.unsealing(place, meta, head.size)
            if unsealing is None:
                content = self._whole(place, meta, head, chain((first,), self._ranges(place, head)))
                sink.take(content)
                meter.end(len(content))
                return Seen(head.etag, meta, value=True)
            meter.total = size = unsealing.content
            unsealing.feed(first, sink.take)
            meter.at(done := len(first))
            # The seal takes this thread's time, so threads of the pool write where they can.
            put = sink.put if unsealing.is_plain and sink.put(0, b"") else None
            take = sink.take if put is None else Nowhere().take
            for piece in self._ranges(place, head, put, unsealing.offset):
                unsealing.feed(piece, take)
                done += len(piece)
                meter.at(done)
            unsealing.finish(take)
            sink.end(size)
            meter.end(size)
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

    def _ranges(
        self, place: Place, head: Head, put: Callable[[int, Bytes], object] | None = None, offset: int = 0
    ) -> Iterator[Bytes]:
        """Yield what follows the first range, in order, of exactly this version.

        put: is given each piece before, in other threads, with its place behind *offset*.
        """
        engine, object_key = self._engine, place.object_key

        def fetch(start: int) -> Sequence[Bytes]:
            get = partial(engine.store.get_range, object_key, start, PART_BYTES, etag=head.etag)
            pieces = engine.call(engine.budget(), get)
            if put is not None:
                at = start - offset
                for piece in pieces:
                    put(at, piece)
                    at += len(piece)
            return pieces

        starts = range(PART_BYTES, head.size, PART_BYTES)
        answers = fan_out(fetch, starts, ahead=ahead(PART_BYTES), settle=True)
        with closing(answers):  # type: ignore[type-var] # a generator
            for start, part in answers:
                size = sum(map(len, part))
                engine.counters.counts["bytes.read"] += size
                if size != min(PART_BYTES, head.size - start):
                    raise StoreUnreachable("a range is not whole", operation="get", object_key=object_key)
                yield from part

    def _whole(self, place: Place, meta: Meta, head: Head, pieces: Iterator[Bytes]) -> Bytes:
        """Return the content of an entry that was compressed, or encrypted as one message, as ``put`` does."""
        codec = self._engine.codec
        codec.check_size(head.size)
        data = codec.open(place, meta, b"".join(pieces))
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
