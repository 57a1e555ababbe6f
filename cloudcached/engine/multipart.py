"""Objects written in parts: sent in parallel, each repeated within a budget of its own, and seen when all are there.

The completion has no condition: stores ignore it (Ceph 16). So conditional writes are single PUTs at any size.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from .._types import Bytes
from ..entry.signing import LEAF_BYTES
from ..errors import OutcomeUnknown, StoreError
from ..runtime.pool import fan_out
from ..stores.limits import PARTS_LIMIT

if TYPE_CHECKING:
    from ..entry.format import Packed, Place
    from .engine import Engine

log = logging.getLogger("cloudcached")

#: Of a part and of a range: several in parallel fill a line, and each is worth its request. A leaf of the seal, so that
#: each can be hashed by itself.
PART_BYTES: Final = LEAF_BYTES
#: Values that are larger go up in parts when they are overwritten.
LARGE_BYTES: Final = 32 << 20
#: What parts under way may take of memory, and how many of them are worth it.
_MEMORY_BYTES: Final = 64 << 20
_PARALLEL: Final = 8


class Part(NamedTuple):
    """What is sent by one request."""

    body: Bytes
    #: Its SHA-256 as hex, where that is known.
    sha256: str | None = None


def part_bytes(size: int) -> int:
    """Return the size of the parts of an object: larger ones where there would be too many."""
    least = -(-size // PARTS_LIMIT)
    return max(PART_BYTES, -(-least // PART_BYTES) * PART_BYTES)


def ahead(part: int) -> int:
    """Return how many parts of that size may be under way."""
    return max(2, min(_PARALLEL, _MEMORY_BYTES // part))


def cut(body: bytes) -> Iterator[Part]:
    """Yield the parts of a body."""
    view, step = memoryview(body), part_bytes(len(body))
    for start in range(0, len(view), step):
        yield Part(view[start : start + step])


def upload(
    engine: Engine,
    place: Place,
    packed: Packed,
    parts: Iterable[Part],
    *,
    parallel: int = _PARALLEL,
    sent: Callable[[Part], object] = bool,
) -> None:
    """Write the object of *parts*, which are taken in the calling thread, over whatever is there.

    sent: is given back each part that has arrived. Whatever is raised, no part stays behind, as far as the
    store can be reached. Raises ``OutcomeUnknown`` where the answer to the completion was lost and what is there now
    does not tell. Cost: 1 request for each part and 2 more; 1 more to abort.
    """
    store, name = engine.store, place.object_key
    identity = engine.call(engine.budget(), store.create_upload, name, packed.metadata)

    def send(numbered: tuple[int, Part]) -> str:
        number, part = numbered
        put = partial(store.put_part, sha256=part.sha256)
        return engine.call(engine.budget(), put, name, identity, number, part.body)

    try:
        etags = []
        answers = fan_out(send, enumerate(parts, 1), ahead=parallel, settle=True)
        with closing(answers):  # type: ignore[type-var] # a generator
            for (_, part), etag in answers:
                etags.append(etag)
                sent(part)
        _complete(engine, place, packed, identity, etags)
    except BaseException:
        _abort(engine, name, identity)
        raise


def _complete(engine: Engine, place: Place, packed: Packed, identity: str, etags: list[str]) -> None:
    budget = engine.budget()
    lost = False
    while True:
        try:
            engine.send(engine.store.complete_upload, place.object_key, identity, etags, timeout=budget.left)
        except StoreError as error:
            if not error.retryable and not lost:
                raise
            # It may have been done, and its answer was lost: then the upload is gone, and the object is there.
            meta = engine.glance(place, budget).meta
            if meta is not None and meta.was_written(packed.nonce):
                return
            if not error.retryable:
                raise OutcomeUnknown(
                    f"the answer to the completion of {place.object_key} was lost, and what is there now does not tell"
                    " whether it was done; read the key before you try again"
                ) from error
            lost = True
            budget.spend(error)
        else:
            return


def _abort(engine: Engine, name: str, identity: str) -> None:
    """Drop what was sent; what failed before is what the caller must hear of."""
    try:
        engine.call(engine.budget(), engine.store.abort_upload, name, identity)
    except StoreError as error:
        log.warning("the parts of an upload to %s may have stayed behind: %s", name, error)
