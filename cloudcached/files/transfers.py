"""Files in and out of entries: in parallel, in constant memory, and trusted only once they are verified whole."""

from __future__ import annotations

import io
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace as changed
from functools import partial
from itertools import chain, count, islice
from typing import Any, Final, NamedTuple

from .._types import Bytes, FileSource, FileTarget, Progress
from ..engine.engine import Engine
from ..engine.multipart import PART_BYTES, ahead, part_bytes
from ..engine.snapshot import NOTHING, Snapshot
from ..entry.expiry import is_expired
from ..entry.format import BYTES, Meta, Place
from ..entry.streams import SealedStream, Unsealing
from ..errors import (
    ConfigError,
    EntryRefused,
    NotFound,
    PreconditionFailed,
    StoreBusy,
    StoreUnreachable,
    ValueRejected,
    ValueTooLarge,
)
from ..runtime.pool import fan_out
from ..stores.limits import PARTS_LIMIT, PUT_LIMIT_BYTES
from ..stores.port import Head
from .local import COPY_BYTES, Content, Meter, Nowhere, Replacement, Sink, Spool, opened, sized, write_all

#: Part size for sources of unknown size: 10,000 of these are 160 GiB.
_BLIND_PART_BYTES: Final = 16 << 20
#: Content of a single PUT: the rest is room for the key and the seal around it, and for encryption's tags.
_SINGLE_PUT_BYTES: Final = PUT_LIMIT_BYTES - (64 << 20)
#: How many times a file is read if it keeps being rewritten meanwhile.
_TRIES: Final = 5


class _Live(NamedTuple):
    """A live entry of which the first range has come; the others must be of the same version."""

    place: Place
    head: Head
    meta: Meta
    first: Bytes


class Files:
    """The files of one cache."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # Writing

    def put(self, place: Place, source: FileSource, meta: Meta, progress: Progress | None, *, replace: bool) -> bool:
        """Store the content of *source*; return whether it was stored.

        **Atomicity:** as ``put``. **Cost:** see ``Client.put_file``.
        """
        with opened(source) as content, self._engine.writing([place.key]):
            if replace:
                self._replace(place, content, meta, Meter(progress, content.size))
                return True
            with sized(content) as (again, size):  # a single PUT has to state its size first
                return self._add(place, again, size, meta, Meter(progress, size))

    def _replace(self, place: Place, content: Content, meta: Meta, meter: Meter) -> None:
        """Write over whatever is there: by a single PUT if all of it fits in one part, otherwise in parallel parts."""
        engine = self._engine
        packed = engine.codec.pack(place, meta, content.sealed)
        stream: Any = packed.body
        size = _BLIND_PART_BYTES if content.size is None else part_bytes(len(stream))
        buffers = _Buffers(size)
        parts = _parts(stream, buffers)
        meter.at(0)
        first = list(islice(parts, 2))
        if len(first) == 1:
            engine.write_packed(place, changed(packed, body=bytes(first[0])), engine.budget())
        else:
            done = 0

            def sent(part: Bytes) -> None:
                nonlocal done
                done += len(part)
                meter.at(min(done, stream.taken))  # the key and the seal around the content are not progress
                buffers.give_back(part)

            upload = engine.upload(place, packed)
            upload.send(chain(first, parts), parallel=ahead(size), sent=sent)
        meter.end(stream.taken)

    def _add(self, place: Place, content: Content, size: int, meta: Meta, meter: Meter) -> bool:
        """Write where there is nothing live, by a single conditional PUT: stores ignore a condition on parts."""
        engine = self._engine
        if size > _SINGLE_PUT_BYTES:
            raise ValueTooLarge(
                f"{size:,} bytes do not fit in the single conditional PUT that replace=False needs (S3's limit is"
                " 5 GiB); pass replace=True, which uploads in parts"
            )
        base = NOTHING
        if size > PART_BYTES:  # asking first costs less than sending all of it for nothing
            base = engine.head(place, engine.budget())
            if base.live_at(engine.clock.time()):
                base = self.read(place, Nowhere())  # only if it is whole does it count as live
                if base.live:
                    return False
        budget = engine.requests.long_budget(size)
        meter.at(0)
        while True:
            if engine.write_if(place, meta, content.sealed, base, budget).done:
                meter.end(size)
                return True
            base = self.read(place, Nowhere())
            if base.live:
                return False
            damaged = base.meta is None and base.etag is not None
            if damaged:  # it must not block its key, however long it took to read
                budget = engine.requests.long_budget(size)
            budget.spend(engine.lost(place), lost=True)

    # Reading

    def get(self, place: Place, target: FileTarget, progress: Progress | None) -> bool:
        """Write a live file to *target* once it is verified; return whether there was one.

        **Atomicity** and **Cost:** see ``Client.get_file``.
        """
        meter = Meter(progress)
        if isinstance(target, (str, os.PathLike)):
            from pathlib import Path  # noqa: PLC0415 - here and below: imports take time, and few processes move files

            replacement = Replacement(Path(target))
            try:
                if not self.read(place, replacement, meter, wanted=BYTES).live:
                    return False
                replacement.commit()
            finally:
                replacement.discard()
            return True
        if isinstance(target, io.TextIOBase) or not hasattr(target, "write"):
            raise ConfigError(f"get_file takes a path or a file opened in binary mode, not {target!r}")
        import tempfile  # noqa: PLC0415

        with tempfile.SpooledTemporaryFile(PART_BYTES) as file:
            if not self.read(place, Spool(file), meter, wanted=BYTES).live:
                return False
            file.seek(0)
            while piece := file.read(COPY_BYTES):
                write_all(target, piece)
        return True

    def read(self, place: Place, sink: Sink, meter: Meter | None = None, *, wanted: str = "") -> Snapshot:
        """Write the content of a live entry to *sink*; return what was found, live only if all of it was verified.

        wanted: a type tag; raises ``ValueRejected`` for an entry of another type. Raises ``StoreBusy`` for an entry
        that keeps being rewritten. **Atomicity:** the content of one version. **Cost:** 1 GET for each range of 8 MiB;
        1 for what is missing or expired; all of them again if it is rewritten meanwhile.
        """
        for _ in range(_TRIES):
            sink.begin()
            try:
                seen = self._read_once(place, sink, meter or Meter(None), wanted)
            except PreconditionFailed:
                continue
            except NotFound:
                seen = NOTHING
            self._engine.note_etag(place, seen.etag)
            return seen
        raise StoreBusy(
            f"the entry was rewritten {_TRIES} times while it was being read",
            operation="get",
            object_key=place.object_key,
        )

    def _read_once(self, place: Place, sink: Sink, meter: Meter, wanted: str) -> Snapshot:
        """Read one version. Raises ``NotFound``, and ``PreconditionFailed`` if it is rewritten or removed meanwhile."""
        engine = self._engine
        begun = engine.requests.call(engine.budget(), "get", self._begin, place, wanted)
        if isinstance(begun, Snapshot):
            return begun
        try:
            unsealing = engine.codec.unsealing(place, begun.meta, begun.head.size)
            if unsealing is None:
                size = self._read_whole(begun, sink)
            else:
                size = unsealing.content
                meter.expect(size)
                self._unseal(begun, unsealing, sink, meter)
            meter.end(size)
        except EntryRefused as refusal:
            return engine.refused(place.object_key, refusal, begun.head)
        return Snapshot(begun.head.etag, begun.meta, value=True)

    def _begin(self, place: Place, wanted: str, *, timeout: float) -> Snapshot | _Live:
        """Return a live entry with its first range; otherwise what was found, whose body is not read."""
        engine = self._engine
        found = engine.store.get_first(place.object_key, PART_BYTES, timeout=timeout)
        with closing(found):
            try:
                meta = engine.codec.check(place.object_key, found.head.metadata, found.head.size)
            except EntryRefused as refusal:
                return engine.refused(place.object_key, refusal, found.head)
            if is_expired(meta.expires_ms, engine.clock.time()):
                return Snapshot(found.head.etag, meta)
            if wanted and meta.type != wanted:
                raise ValueRejected(f"{place.key!r} holds a {meta.type}, not {wanted}; read it with get()")
            return _Live(place, found.head, meta, found.read())

    def _read_whole(self, live: _Live, sink: Sink) -> int:
        """Read an entry that was compressed, or encrypted as one message, as ``put`` does; return its content's size.

        All of it is in memory at once, so ``max_value_bytes`` counts here.
        """
        codec = self._engine.codec
        codec.check_size(live.head.size)
        data = codec.open(live.place, live.meta, self._body(live))
        content = codec.decode(live.meta, data) if live.meta.type == BYTES else data
        sink.write(content)
        return len(content)

    def _body(self, live: _Live) -> bytes:
        with closing(self._ranges(live)) as ranges:
            return b"".join(piece for pieces in ranges for piece in pieces)

    def _unseal(self, live: _Live, unsealing: Unsealing, sink: Sink, meter: Meter) -> None:
        """Fetch ranges in parallel; hash, decrypt and write them in order. Raises ``EntryRefused`` unless the seal holds.

        In one thread, which is faster than what comes. 200 MB from a Ceph gateway on 2 busy cores took 0.55 s and 0.25 s
        of CPU this way; where the threads that fetch also wrote at their offsets, 1.04 and 0.47, since they wait for
        each other at the file; and where the finished file was hashed by ``update_mmap``, 0.92 and 0.49.
        """
        done = 0
        with closing(self._ranges(live)) as ranges:
            for pieces in ranges:
                unsealing.feed(pieces, sink.write)
                done += sum(map(len, pieces))
                meter.at(done)
        unsealing.finish(sink.write)

    def _ranges(self, live: _Live) -> Generator[Sequence[Bytes], None, None]:
        """Yield the ranges of exactly this version in order, in the pieces they came in; a few are fetched ahead."""
        engine, head, object_key = self._engine, live.head, live.place.object_key

        def fetch(start: int) -> Sequence[Bytes]:
            if not start:
                return [live.first]
            get = partial(engine.store.get_range, object_key, start, PART_BYTES, etag=head.etag)
            pieces: Sequence[Bytes] = engine.requests.call(engine.budget(), "get_range", get)
            return pieces

        starts = range(0, head.size, PART_BYTES)
        answers: Iterator[tuple[int, Sequence[Bytes]]] = ((start, fetch(start)) for start in starts)
        if len(starts) > 1:
            answers = fan_out(fetch, starts, ahead=ahead(PART_BYTES), settle=True)
        with closing(answers):  # type: ignore[type-var] # a generator
            for start, pieces in answers:
                size, whole = sum(map(len, pieces)), min(PART_BYTES, head.size - start)
                engine.counters.counts["bytes.read"] += size
                if size != whole:
                    raise StoreUnreachable(
                        f"{size:,} bytes came of a range of {whole:,}", operation="get", object_key=object_key
                    )
                yield pieces


class _Buffers:
    """Buffers for the parts of one object, used again once they are sent: fresh memory takes longer than the seal."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._free: list[memoryview] = []

    def take(self) -> memoryview:
        """Return a buffer for the next part."""
        return self._free.pop() if self._free else memoryview(bytearray(self.size))

    def give_back(self, part: Bytes) -> None:
        """Let a part that was sent be written over."""
        assert isinstance(part, memoryview)  # noqa: S101 - for the type checker
        self._free.append(memoryview(part.obj))


def _parts(stream: SealedStream, buffers: _Buffers) -> Iterator[Bytes]:
    """Yield the parts of a body, all but the last of them full. Raises ``ValueTooLarge`` when S3 takes no more."""
    for number in count(1):
        view = buffers.take()
        filled = _fill(view, stream)
        if filled and number > PARTS_LIMIT:
            raise ValueTooLarge(
                f"the content does not fit in {PARTS_LIMIT:,} parts of {buffers.size:,} bytes; pass a file whose size is"
                " known"
            )
        if filled:
            yield view[:filled]
        if filled < len(view):
            return


def _fill(view: memoryview, stream: SealedStream) -> int:
    """Read until *view* is full or the body ends; return how many bytes came."""
    filled = 0
    while filled < len(view) and (size := stream.readinto(view[filled:])):
        filled += size
    return filled
