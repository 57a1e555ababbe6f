"""Objects written in parts: sent in parallel, each with a time budget of its own, and visible once all have arrived.

The completion is unconditional: stores ignore a condition on it (Ceph 16 does). So conditional writes are single PUTs,
whatever their size.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from functools import partial
from typing import Final

from .._types import Bytes
from ..entry.format import Packed, Place
from ..errors import OutcomeUnknown, StoreError
from ..runtime.budget import Budget
from ..runtime.pool import fan_out
from ..stores.limits import PARTS_LIMIT
from .requests import Requests
from .snapshot import Snapshot

log = logging.getLogger("cloudcached")

#: The size of a part and of a range: several in parallel fill a line, and each is worth its request.
PART_BYTES: Final = 8 << 20
#: Larger values are uploaded in parts when they are overwritten.
LARGE_BYTES: Final = 32 << 20
#: Bytes of memory for the parts under way, and the number of parts beyond which more do not help.
_MEMORY_BYTES: Final = 64 << 20
_PARALLEL: Final = 8


def part_bytes(size: int) -> int:
    """Return the size of the parts of an object of *size* bytes: they grow if there would be too many of them."""
    least = -(-size // PARTS_LIMIT)
    return max(PART_BYTES, -(-least // PART_BYTES) * PART_BYTES)


def ahead(part: int) -> int:
    """Return the number of parts of *part* bytes that may be under way."""
    return max(2, min(_PARALLEL, _MEMORY_BYTES // part))


def cut(body: bytes) -> Iterator[Bytes]:
    """Yield the parts of a body."""
    view, step = memoryview(body), part_bytes(len(body))
    for start in range(0, len(view), step):
        yield view[start : start + step]


class Upload:
    """One object in parts, written over whatever is there.

    head: reads the metadata of an entry by a HEAD; this settles a completion whose answer was lost.
    """

    def __init__(
        self,
        requests: Requests,
        head: Callable[[Place, Budget], Snapshot],
        place: Place,
        packed: Packed,
        tags: Mapping[str, str] | None,
    ) -> None:
        self._requests = requests
        self._head = head
        self._place = place
        self._packed = packed
        self._tags = tags

    def send(
        self, parts: Iterable[Bytes], *, parallel: int = _PARALLEL, sent: Callable[[Bytes], None] = lambda _: None
    ) -> None:
        """Write the object from *parts*, which are iterated in the calling thread.

        sent: called with each part that has arrived. Whatever is raised, no part stays behind, provided that the store
        can be reached. Raises ``OutcomeUnknown`` if the answer to the completion was lost and the present state of the
        key does not show whether it was done. Cost: 1 request for each part and 2 more; 1 more to abort; 1 HEAD if the
        answer to the completion was lost.
        """
        requests, name = self._requests, self._place.object_key
        store = requests.store
        create = partial(store.create_upload, tags=self._tags)
        identity = requests.call(requests.budget(), "create_upload", create, name, self._packed.metadata)

        def send(numbered: tuple[int, Bytes]) -> str:
            number, part = numbered
            return requests.call(
                requests.budget(), "put_part", store.put_part, name, identity, number, part, sent=len(part)
            )

        try:
            etags = []
            # No part may be under way when the upload is aborted: it would stay behind, and be billed.
            with closing(fan_out(send, enumerate(parts, 1), ahead=parallel, settle=True)) as answers:  # type: ignore[type-var]
                for (_, part), etag in answers:
                    etags.append(etag)
                    sent(part)
            self._complete(identity, etags)
        except BaseException:
            self._abort(identity)
            raise

    def _complete(self, identity: str, etags: list[str]) -> None:
        requests, name = self._requests, self._place.object_key
        budget = requests.budget()
        lost = False
        while True:
            try:
                requests.send(
                    "complete_upload", requests.store.complete_upload, name, identity, etags, timeout=budget.left
                )
            except StoreError as error:
                if not error.retryable and not lost:
                    raise
                # It may have been done although its answer was lost: then the upload is gone, and the object is there.
                meta = self._head(self._place, budget).meta
                if meta is not None and meta.was_written(self._packed.nonce):
                    return
                if not error.retryable:
                    raise OutcomeUnknown(
                        f"the answer to the completion of {name} was lost, and the present state of the key does not"
                        " show whether it was done; read the key before you try again"
                    ) from error
                lost = True
                budget.spend(error)
            else:
                return

    def _abort(self, identity: str) -> None:
        """Drop the parts. A failure is only logged: the caller must get the error that led here."""
        requests, name = self._requests, self._place.object_key
        try:
            requests.call(requests.budget(), "abort_upload", requests.store.abort_upload, name, identity)
        except StoreError as error:
            log.warning("the upload to %s could not be aborted, so its parts may have stayed behind: %s", name, error)
