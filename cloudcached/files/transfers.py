"""Files in and out of entries: in parallel, in constant memory, and trusted only once they are verified whole."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace as changed
from functools import partial
from hashlib import sha256
from itertools import chain, islice
from typing import Any, Final, NamedTuple

from .._types import Bytes, FileSource, FileTarget, Progress
from ..engine.engine import Engine
from ..engine.multipart import PART_BYTES, Part, ahead, part_bytes
from ..engine.snapshot import NOTHING, Snapshot
from ..entry.expiry import is_expired
from ..entry.format import BYTES, Meta, Place
from ..entry.signing import LEAF_BYTES, Seal
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
from .local import COPY_BYTES, Content, Meter, Nowhere, Replacement, Sink, Spool, WriteAt, opened, sized, write_all

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
            engine.write_packed(place, changed(packed, body=bytes(first[0].body)), engine.budget())
        else:
            done = 0

            def sent(part: Part) -> None:
                nonlocal done
                done += len(part.body)
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
                write_at = sink.writer_at() if unsealing.is_plain else None
                if write_at is None:
                    self._read_in_order(begun, unsealing, sink, meter)
                else:
                    self._read_anywhere(begun, unsealing, write_at, meter)
            sink.end(size)
            meter.end(size)
        except EntryRefused as refusal:
            engine.refuse(place.object_key, refusal)
            return Snapshot(begun.head.etag)
        return Snapshot(begun.head.etag, begun.meta, value=True)

    def _begin(self, place: Place, wanted: str, *, timeout: float) -> Snapshot | _Live:
        """Return a live entry with its first range; otherwise what was found, whose body is not read."""
        engine = self._engine
        found = engine.store.get_first(place.object_key, PART_BYTES, timeout=timeout)
        with closing(found):
            try:
                meta = engine.codec.check(place.object_key, found.head.metadata, found.head.size)
            except EntryRefused as refusal:
                engine.refuse(place.object_key, refusal)
                return Snapshot(found.head.etag)
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
        with closing(self._ranges(live, lambda _start, _pieces: None)) as ranges:
            return b"".join(piece for pieces, _ in ranges for piece in pieces)

    def _read_in_order(self, live: _Live, unsealing: Unsealing, sink: Sink, meter: Meter) -> None:
        """Fetch and hash ranges in parallel, then decrypt and write them one after the other."""
        self._unseal(live, unsealing, unsealing.leaf, sink.write, meter)

    def _read_anywhere(self, live: _Live, unsealing: Unsealing, write_at: WriteAt, meter: Meter) -> None:
        """Fetch, write and hash ranges in parallel: only the seal over their hashes has to be in order."""

        def write_and_hash(start: int, pieces: Sequence[Bytes]) -> bytes | None:
            write_at(*unsealing.content_at(start, pieces))
            return unsealing.leaf(start, pieces)

        self._unseal(live, unsealing, write_and_hash, Nowhere().write, meter)

    def _unseal(
        self,
        live: _Live,
        unsealing: Unsealing,
        hash_range: Callable[[int, Sequence[Bytes]], bytes | None],
        write: Callable[[Bytes], object],
        meter: Meter,
    ) -> None:
        """Give the content of all ranges to *write*, in order. Raises ``EntryRefused`` unless the seal holds.

        hash_range: runs in the thread that fetched the range.
        """
        done = 0
        with closing(self._ranges(live, hash_range)) as ranges:
            for pieces, leaf in ranges:
                unsealing.feed(pieces, write, leaf)
                done += sum(map(len, pieces))
                meter.at(done)
        unsealing.finish(write)

    def _ranges(
        self, live: _Live, prepare: Callable[[int, Sequence[Bytes]], Any]
    ) -> Generator[tuple[Sequence[Bytes], Any], None, None]:
        """Yield the ranges of exactly this version in order, in the pieces they came in, each with what *prepare* returned.

        prepare: is called in the thread that fetched the range, with its offset in the body and its pieces.
        """
        engine, head, object_key = self._engine, live.head, live.place.object_key

        def fetch(start: int) -> tuple[Sequence[Bytes], Any]:
            pieces: Sequence[Bytes] = [live.first]
            if start:
                get = partial(engine.store.get_range, object_key, start, PART_BYTES, etag=head.etag)
                pieces = engine.requests.call(engine.budget(), "get_range", get)
            return pieces, prepare(start, pieces)

        starts = range(0, head.size, PART_BYTES)
        answers: Iterator[Any] = ((start, fetch(start)) for start in starts)
        if len(starts) > 1:
            answers = fan_out(fetch, starts, ahead=ahead(PART_BYTES), settle=True)
        with closing(answers):  # type: ignore[type-var] # a generator
            for start, answer in answers:
                size, whole = sum(map(len, answer[0])), min(PART_BYTES, head.size - start)
                engine.counters.counts["bytes.read"] += size
                if size != whole:
                    raise StoreUnreachable(
                        f"{size:,} bytes came of a range of {whole:,}", operation="get", object_key=object_key
                    )
                yield answer


class _Buffers:
    """Buffers for the parts of one object, used again once they are sent: fresh memory takes as long as the seal."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._left = PARTS_LIMIT
        self._free: list[memoryview] = []

    def take(self) -> memoryview:
        """Return a buffer for the next part. Raises ``ValueTooLarge`` when S3 takes no more of them."""
        self._left -= 1
        if self._left < 0:
            raise ValueTooLarge(
                f"the content does not fit in {PARTS_LIMIT:,} parts of {self.size:,} bytes; pass a file whose size is"
                " known"
            )
        return self._free.pop() if self._free else memoryview(bytearray(self.size))

    def give_back(self, part: Part) -> None:
        """Let a part that was sent be written over."""
        assert isinstance(part.body, memoryview)  # noqa: S101 - for the type checker
        self._free.append(memoryview(part.body.obj))


def _parts(stream: SealedStream, buffers: _Buffers) -> Iterator[Part]:
    """Yield the parts of a body: full ones of its payload, then one with the rest of it and the seal.

    What of the seal does not fit in that one is a part of its own.
    """
    seal: Seal | None = None
    while True:
        view = buffers.take()
        filled = _fill(view, stream)
        if seal is None:
            seal = stream.seal(filled)  # of a payload that ends in the first part this is the size; others are larger
        digest = _hash(seal, view[:filled], buffers.size)
        if filled < len(view):
            break
        yield Part(view, digest and digest.hexdigest())
    end = seal.digest()
    stop = min(filled + len(end), len(view))
    here, rest = end[: stop - filled], end[stop - filled :]
    view[filled:stop] = here
    if digest is not None:
        digest.update(here)
    yield Part(view[:stop], digest and digest.hexdigest())
    if rest:
        view = buffers.take()
        view[: len(rest)] = rest
        yield Part(view[: len(rest)], sha256(rest).hexdigest())


def _fill(view: memoryview, stream: SealedStream) -> int:
    """Read payload until *view* is full or the payload ends; return how many bytes came."""
    filled = 0
    while filled < len(view) and (count := stream.read_payload(view[filled:])):
        filled += count
    return filled


def _hash(seal: Seal, payload: memoryview, part_size: int) -> Any:
    """Add a part's payload to the seal; return its SHA-256 if the seal took that: the part's request needs it too."""
    if not seal.in_leaves or part_size != LEAF_BYTES:
        seal.update(payload)
        return None
    digest = sha256(payload)
    if payload:
        seal.add(digest.digest())
    return digest
