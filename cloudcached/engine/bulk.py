"""Many entries at once: a failure of one key does not stop the others, and is reported for that key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain, islice
from typing import Any, TypeVar

from .._types import MISSING
from ..errors import CloudCachedError, PartialFailure, StoreError
from ..runtime.pool import fan_out
from ..stores.limits import BATCH
from ..stores.port import Listed
from .engine import Engine
from .listing import Listing, caught, check_prefix
from .reader import Reader

T = TypeVar("T")
R = TypeVar("R")

#: Seconds that a DeleteObjects gets for each key, on top of the timeout: a busy Ceph gateway takes 3 ms for each key of
#: every request.
_DELETE_S_PER_KEY = 0.02
#: DeleteObjects under way at once. S3 takes 3,500 deletes a second under a prefix: more would only wait for each other.
DELETES_AT_ONCE = 4


class Bulk:
    """The bulk methods of one cache, over the shared pool."""

    def __init__(self, engine: Engine, reader: Reader) -> None:
        self._engine = engine
        self._reader = reader
        self._listing = Listing(engine)

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return the live values of *keys*."""
        engine = self._engine
        wanted = dict.fromkeys(key if isinstance(key, str) else engine.place(key).key for key in keys)
        known = self._reader.near_values(wanted)
        places = [engine.place(key) for key in wanted if key not in known]
        fetch = _Patience(engine).around(self._reader.fetch)
        answers = ((place.key, answer) for place, answer in fan_out(fetch, places))
        found = ((key, value) for key, value in chain(known.items(), answers) if value is not MISSING)
        counts = engine.counters.counts
        counts["looked"] += len(wanted)
        try:
            values = _collected("get_many", found)
        except PartialFailure as failure:
            counts["misses"] += len(wanted) - len(failure.results)
            raise
        counts["misses"] += len(wanted) - len(values)
        return values

    def put_many(self, mapping: Mapping[str, Any], put: Callable[[str, Any], bool]) -> dict[str, bool]:
        """Store each pair by *put*, and return the results.

        Values are encoded in the calling thread, a few ahead of the writes: pickling may run code that depends on the
        thread, such as the query of a Django ``QuerySet`` in the caller's transaction.
        """
        for key in mapping:
            self._engine.place(key)  # refuses an invalid key before anything is written

        def put_pair(pair: tuple[str, Any]) -> bool:
            key, value = pair
            if isinstance(value, CloudCachedError):
                raise value
            return put(key, value)

        encode = caught(self._engine.codec.serialize)
        pairs = ((key, encode(value)) for key, value in mapping.items())
        store = _Patience(self._engine).around(put_pair)
        return _collected("put_many", ((key, answer) for (key, _), answer in fan_out(store, pairs)))

    def delete_many(self, keys: Iterable[str]) -> None:
        """Remove *keys*."""
        by_object_key = {self._engine.place(key).object_key: key for key in keys}
        failures: dict[str, CloudCachedError] = {}
        with self._engine.writing(list(by_object_key.values())):
            delete = partial(self._delete_batch, _Patience(self._engine))
            for _, failed in fan_out(delete, _batches(by_object_key, BATCH), ahead=DELETES_AT_ONCE):
                failures.update((by_object_key[object_key], error) for object_key, error in failed.items())
        if failures:
            raise PartialFailure("delete_many", {}, failures)

    def clear(self, prefix: str, progress: Callable[[int], None] | None = None) -> int:
        """Remove every entry whose key begins with *prefix*, and return how many.

        Entries are removed by the thousand, as they are listed. An interruption waits for the removals under way, and
        *progress* is still called for them.
        """
        check_prefix(prefix)
        failures: dict[str, CloudCachedError] = {}
        removed: list[int] = []
        patience = _Patience(self._engine)

        def remove(object_keys: list[str]) -> dict[str, CloudCachedError]:
            failed = self._delete_batch(patience, object_keys)
            removed.append(len(object_keys) - len(failed))
            if progress is not None:
                progress(sum(removed))
            return failed

        doomed = chain.from_iterable(self._doomed(page, prefix) for page in self._listing.pages(failures))
        with self._engine.clearing(prefix):
            batches = _batches(doomed, BATCH)
            for _, failed in fan_out(remove, batches, ahead=DELETES_AT_ONCE, settle=True):
                failures.update(failed)
        if failures:
            raise PartialFailure("clear", {"removed": sum(removed)}, failures)
        return sum(removed)

    def _doomed(self, page: Iterable[Listed], prefix: str) -> list[str]:
        if prefix:
            return [object_key for object_key, _ in self._listing.matching(page, prefix)]
        return [row.object_key for row in page if self._engine.names.is_ours(row.object_key)]

    def _delete_batch(self, patience: _Patience, object_keys: list[str]) -> dict[str, CloudCachedError]:
        """Remove up to 1,000 objects; return the error of each that is still there."""
        engine = self._engine
        over = patience.over
        if over is not None:
            return dict.fromkeys(object_keys, over)
        budget = engine.budget(len(object_keys) * _DELETE_S_PER_KEY)
        final: dict[str, CloudCachedError] = {}
        pending = object_keys
        try:
            while pending:
                failed = engine.requests.call(budget, "delete_many", engine.store.delete_many, pending)
                patience.succeeded()
                final.update((name, error) for name, error in failed.items() if not error.retryable)
                pending = [name for name, error in failed.items() if error.retryable]
                if pending:
                    budget.spend(failed[pending[0]])
        except StoreError as error:
            patience.failed(error)
            final.update(dict.fromkeys(pending, error))
        return final


class _Patience:
    """Gives up on a bulk call once nothing has succeeded for a whole timeout: the remaining keys fail without a request.

    Each key has a timeout of its own, so that calls of any size are possible. With a store that does not answer, or
    only with 503, thousands of keys would use up their timeouts one after the other.
    """

    def __init__(self, engine: Engine) -> None:
        self._now = engine.clock.monotonic
        self._timeout = engine.budget().left
        self._succeeded = self._now()
        self._error: StoreError | None = None

    @property
    def over(self) -> StoreError | None:
        """The error of the remaining keys; ``None`` as long as there is patience."""
        is_over = self._error is not None and self._now() - self._succeeded >= self._timeout
        return self._error if is_over else None

    def succeeded(self) -> None:
        """Record that a request succeeded."""
        self._succeeded = self._now()

    def failed(self, error: StoreError) -> None:
        """Record a failure."""
        if error.retryable:
            self._error = error

    def around(self, function: Callable[[T], R]) -> Callable[[T], R | CloudCachedError]:
        """Return *function* with its errors as results; once patience is over, the result is the last error."""
        answered = caught(function)

        def call(item: T) -> R | CloudCachedError:
            over = self.over
            if over is not None:
                return over
            answer = answered(item)
            if isinstance(answer, StoreError):
                self.failed(answer)
            elif not isinstance(answer, CloudCachedError):
                self.succeeded()
            return answer

        return call


def _collected(operation: str, answers: Iterable[tuple[str, R | CloudCachedError]]) -> dict[str, R]:
    """Return the results, or raise ``PartialFailure`` with them."""
    results: dict[str, R] = {}
    failures: dict[str, CloudCachedError] = {}
    for key, answer in answers:
        if isinstance(answer, CloudCachedError):
            failures[key] = answer
        else:
            results[key] = answer
    if failures:
        raise PartialFailure(operation, results, failures)
    return results


def _batches(items: Iterable[str], size: int) -> Iterator[list[str]]:
    source = iter(items)
    while batch := list(islice(source, size)):
        yield batch
