"""Files in and out of entries: in parallel, in constant memory, and believed only when they are whole."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace as changed
from functools import partial
from hashlib import sha256
from itertools import chain, islice
from typing import Any, Final

from .._types import Bytes, FileSource, FileTarget, Progress
from ..engine.engine import Engine
from ..engine.multipart import PART_BYTES, Part, ahead, part_bytes
from ..engine.snapshot import NOTHING, Snapshot
from ..entry.expiry import is_expired
from ..entry.format import BYTES, Meta, Place
from ..entry.signing import LEAF_BYTES, Seal
from ..entry.streams import SealedStream
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
from .local import COPY_BYTES, Beside, Content, Meter, Nowhere, Sink, Spool, content_of, opened, write_all

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
        begun: list[Part] = []
        if content.size is None or len(stream) <= size:
            begun.extend(islice(parts, 2))
        if len(begun) == 1:
            engine.write_packed(place, changed(packed, body=bytes(begun[0].body)), engine.budget())
        else:
            done = 0

            def sent(part: Part) -> None:
                nonlocal done
                done += len(part.body)
                meter.at(min(done, stream.taken))  # what is around the content is no progress
                parts.give_back(part)

            upload = engine.upload(place, packed)
            upload.send(chain(begun, parts), parallel=ahead(size), sent=sent)
        meter.end(stream.taken)

    def _add(self, place: Place, content: Content, meta: Meta, meter: Meter) -> bool:
        engine, size = self._engine, content.size or 0
        if size > PUT_LIMIT_BYTES - (64 << 20):  # what is around the content, and encryption's tags
            raise ValueTooLarge(
                f"{size:,} bytes are too many for the one conditional PUT that replace=False needs (S3's limit is"
                " 5 GiB); with replace=True files go up in parts"
            )
        base = NOTHING
        if size > PART_BYTES:  # to send all of it for nothing costs more than to ask
            base = engine.head(place, engine.budget())
            if base.live_at(engine.clock.time()):
                base = self.read(place, Nowhere())
                if base.live:
                    return False
        budget = engine.requests.long_budget(size)
        meter.at(0)
        while True:
            written, _ = engine.write_if(place, meta, content.sealed, base, budget)
            if written:
                meter.end(size)
                return True
            base = self.read(place, Nowhere())
            if base.live:
                return False
            if base.meta is None and base.etag is not None:
                budget = engine.requests.long_budget(
                    size
                )  # a damaged one must not block its key, however long it took to read
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

    def read(self, place: Place, sink: Sink, meter: Meter | None = None, *, wanted: str = "") -> Snapshot:
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
            self._engine.note_etag(place, seen.etag)
            return seen
        raise StoreBusy(f"rewritten {_TRIES} times while it was read", operation="get", object_key=place.object_key)

    def _read_once(self, place: Place, sink: Sink, meter: Meter, wanted: str) -> Snapshot:
        engine = self._engine
        head, meta, first = engine.requests.call(engine.budget(), "get", self._begin, place, wanted)
        if meta is None or first is None:
            return Snapshot(head.etag, meta)
        try:
            unsealing = engine.codec.unsealing(place, meta, head.size)
            if unsealing is None:
                with closing(self._ranges(place, head, first, lambda *_: None)) as ranges:
                    content = self._whole(place, meta, head, (piece for pieces, _ in ranges for piece in pieces))
                sink.take(content)
                meter.end(len(content))
                return Snapshot(head.etag, meta, value=True)
            meter.total = size = unsealing.content
            out_of_order = unsealing.is_plain and sink.put(0, ())
            take = Nowhere().take if out_of_order else sink.take

            def look(start: int, pieces: Sequence[Bytes]) -> bytes | None:
                """Do in the thread that fetched them what need not wait for those before."""
                if out_of_order:
                    sink.put(*unsealing.content_at(start, pieces))
                return unsealing.leaf(start, pieces)

            done = 0
            with closing(self._ranges(place, head, first, look)) as ranges:
                for pieces, leaf in ranges:
                    unsealing.feed(pieces, take, leaf)
                    done += sum(map(len, pieces))
                    meter.at(done)
            unsealing.finish(take)
            sink.end(size)
            meter.end(size)
        except EntryRefused as refusal:
            engine.refuse(place.object_key, refusal)
            return Snapshot(head.etag)
        return Snapshot(head.etag, meta, value=True)

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
            return found.head, meta, found.read()

    def _ranges(
        self, place: Place, head: Head, first: Bytes, look: Callable[[int, Sequence[Bytes]], Any]
    ) -> Generator[tuple[Sequence[Bytes], Any], None, None]:
        """Yield the ranges of exactly this version in order, each with what *look* said of it.

        look: is given where in the body it begins, and its pieces, in the thread that fetched them.
        """
        engine, object_key = self._engine, place.object_key

        def fetch(start: int) -> tuple[Sequence[Bytes], Any]:
            pieces: Sequence[Bytes] = [first]
            if start:
                get = partial(engine.store.get_range, object_key, start, PART_BYTES, etag=head.etag)
                pieces = engine.requests.call(engine.budget(), "get_range", get)
            return pieces, look(start, pieces)

        starts = range(0, head.size, PART_BYTES)
        answers: Iterator[Any] = ((start, fetch(start)) for start in starts)
        if len(starts) > 1:
            answers = fan_out(fetch, starts, ahead=ahead(PART_BYTES), settle=True)
        with closing(answers):  # type: ignore[type-var] # a generator
            for start, answer in answers:
                size = sum(map(len, answer[0]))
                engine.counters.counts["bytes.read"] += size
                if size != min(PART_BYTES, head.size - start):
                    raise StoreUnreachable("a range is not whole", operation="get", object_key=object_key)
                yield answer

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
        self._seal: Seal | None = None
        #: What of the seal did not come yet, when the payload has ended.
        self._end: bytes | None = None

    def __iter__(self) -> Iterator[Part]:
        return self

    def __next__(self) -> Part:
        if self._end == b"":
            raise StopIteration
        self._left -= 1
        if self._left < 0:
            raise ValueTooLarge(
                f"over {PARTS_LIMIT:,} parts of {self._size:,} bytes: put it from a file, whose size is known"
            )
        view = self._free.pop() if self._free else memoryview(bytearray(self._size))
        got = 0
        while got < self._size and (count := self._stream.read_payload(view[got:])):
            got += count
        if self._seal is None:
            self._seal = self._stream.seal(got)  # what does not fill the first part is all there is
        digest = self._hash(self._seal, view[:got])
        if got < self._size:  # the payload has ended
            end = self._seal.digest() if self._end is None else self._end
            here, self._end = end[: self._size - got], end[self._size - got :]
            view[got : got + len(here)] = here
            got += len(here)
            if digest is not None:
                digest.update(here)
        return Part(view[:got], digest and digest.hexdigest())

    def _hash(self, seal: Seal, payload: memoryview) -> Any:
        """Give a part's payload to the seal; return its hash where that is the one of the leaf."""
        if not seal.in_leaves or self._size != LEAF_BYTES:
            seal.update(payload)
            return None
        digest = sha256(payload)
        if payload:
            seal.add(digest.digest())
        return digest

    def give_back(self, part: Part) -> None:
        """Let a part that was sent be written over."""
        assert isinstance(part.body, memoryview)  # noqa: S101 - for the type checker
        self._free.append(memoryview(part.body.obj))
