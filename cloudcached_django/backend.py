"""The cache backend: Django's cache API on a shared CloudCached client.

Every method makes and validates the key, converts the timeout and calls the core; the async methods await it.
``cloudcached.Client`` documents the promises and the cost of each operation in full.
"""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from asgiref.sync import sync_to_async
from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.db import connections

from cloudcached import MISSING, KeyMissing, PartialFailure, StoreError

from .base import Timeout
from .beyond import BeyondDjango

__all__ = ["S3Cache"]

logger = logging.getLogger("cloudcached.django")

#: The types that are stored without pickling.
_PLAIN = frozenset({str, bytes, int, float, complex, bool, type(None)})


class S3Cache(BeyondDjango):
    """A Django cache whose entries are objects in S3.

    ``LOCATION`` is ``s3://bucket/prefix``, or ``memory://name`` to try it without S3. ``OPTIONS`` are the options of
    ``cloudcached.Client``, with two different defaults: entries are signed with ``SECRET_KEY`` (those signed with one
    of ``SECRET_KEY_FALLBACKS`` are accepted too), and ``fail_silently`` is on, so that the cache appears empty while
    S3 does not answer.

    The constructor does no I/O and raises nothing, so that the system checks can report every mistake; without the
    checks, the first use raises ``ConfigError``.

    Django creates one of these objects per thread. Those with the same configuration share one client, and none of
    them closes it.
    """

    # One key

    def add(self, key: Any, value: Any, timeout: Timeout = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Store *value* unless there is a live entry. Return whether it was stored.

        **Atomicity:** exactly one of several concurrent calls stores its value. **Cost:** 1 PUT; over an expired entry,
        1 GET and 1 PUT more.
        """
        key = self.make_and_validate_key(key, version)
        return self.client.put(key, value, self.time_to_expire(timeout), replace=False)

    async def aadd(self, key: Any, value: Any, timeout: Timeout = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """See ``add``."""
        key = self.make_and_validate_key(key, version)
        encoded = await self._encoded({key: value})
        return await self.client.aput(key, encoded[key], self.time_to_expire(timeout), replace=False)

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        """Return the live value, or *default* if there is none. A stored ``None`` is a value. **Cost:** 1 GET."""
        return self.client.get(self.make_and_validate_key(key, version), default)

    async def aget(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        """See ``get``."""
        return await self.client.aget(self.make_and_validate_key(key, version), default)

    def set(self, key: Any, value: Any, timeout: Timeout = DEFAULT_TIMEOUT, version: int | None = None) -> None:
        """Store *value*. **Atomicity:** the last writer wins. **Cost:** 1 PUT."""
        key = self.make_and_validate_key(key, version)
        self.client.put(key, value, self.time_to_expire(timeout), replace=True)

    async def aset(self, key: Any, value: Any, timeout: Timeout = DEFAULT_TIMEOUT, version: int | None = None) -> None:
        """See ``set``."""
        key = self.make_and_validate_key(key, version)
        encoded = await self._encoded({key: value})
        await self.client.aput(key, encoded[key], self.time_to_expire(timeout), replace=True)

    def touch(self, key: Any, timeout: Timeout = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Give a live entry a new timeout. Return False if there is none.

        **Atomicity:** never revives an entry that was deleted or replaced meanwhile. **Cost:** 1 GET and 1 PUT.
        """
        return self.client.touch(self.make_and_validate_key(key, version), self.time_to_expire(timeout))

    async def atouch(self, key: Any, timeout: Timeout = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """See ``touch``."""
        return await self.client.atouch(self.make_and_validate_key(key, version), self.time_to_expire(timeout))

    def delete(self, key: Any, version: int | None = None) -> bool:
        """Remove an entry. Return whether a live one was found before that. **Cost:** 1 HEAD and 1 DELETE."""
        return self.client.delete(self.make_and_validate_key(key, version))

    async def adelete(self, key: Any, version: int | None = None) -> bool:
        """See ``delete``."""
        return await self.client.adelete(self.make_and_validate_key(key, version))

    def has_key(self, key: Any, version: int | None = None) -> bool:
        """Return whether there is a live entry, without reading its value. **Cost:** 1 HEAD."""
        return self.client.has(self.make_and_validate_key(key, version))

    async def ahas_key(self, key: Any, version: int | None = None) -> bool:
        """See ``has_key``."""
        return await self.client.ahas(self.make_and_validate_key(key, version))

    def incr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """Add *delta* to a stored int and keep its timeout. Return the sum.

        Raises ``ValueError`` if there is no live entry, ``TypeError`` if its value is not an int.
        **Atomicity:** every increment counts exactly once. **Cost:** 1 GET and 1 PUT, repeated after every lost race.
        """
        return self.client.incr(self.make_and_validate_key(key, version), delta)

    async def aincr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """See ``incr``."""
        return await self.client.aincr(self.make_and_validate_key(key, version), delta)

    # Several keys

    def get_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        """Return the live values by key. **Cost:** 1 GET per key, in parallel."""
        names = self._names(keys, version)
        found = self.client.get_many(names.values())
        return {key: found[name] for key, name in names.items() if name in found}

    async def aget_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        """See ``get_many``."""
        names = self._names(keys, version)
        found = await self.client.aget_many(names.values())
        return {key: found[name] for key, name in names.items() if name in found}

    def set_many(
        self, data: Mapping[Any, Any], timeout: Timeout = DEFAULT_TIMEOUT, version: int | None = None
    ) -> list[Any]:
        """Store the values. Return the keys that could not be stored, after logging an error; the others are stored.

        Raises ``ValueRejected`` or ``KeyRejected``, as ``set`` does, for a value or key that can never be stored; the
        other values may or may not be stored then.
        **Cost:** 1 PUT per key, in parallel.
        """
        names = self._names(data, version)
        values = {name: data[key] for key, name in names.items()}
        try:
            stored = self.client.put_many(values, self.time_to_expire(timeout), replace=True)
        except PartialFailure as failure:
            stored = _stored(failure)
        return [key for key, name in names.items() if not stored.get(name)]

    async def aset_many(
        self, data: Mapping[Any, Any], timeout: Timeout = DEFAULT_TIMEOUT, version: int | None = None
    ) -> list[Any]:
        """See ``set_many``."""
        names = self._names(data, version)
        values = await self._encoded({name: data[key] for key, name in names.items()})
        try:
            stored = await self.client.aput_many(values, self.time_to_expire(timeout), replace=True)
        except PartialFailure as failure:
            stored = _stored(failure)
        return [key for key, name in names.items() if not stored.get(name)]

    def delete_many(self, keys: Iterable[Any], version: int | None = None) -> None:
        """Remove entries. **Cost:** 1 DeleteObjects per 1,000."""
        self.client.delete_many(self._names(keys, version).values())

    async def adelete_many(self, keys: Iterable[Any], version: int | None = None) -> None:
        """See ``delete_many``."""
        await self.client.adelete_many(self._names(keys, version).values())

    def clear(self) -> None:
        """Remove every entry at ``LOCATION``, of every ``KEY_PREFIX`` and ``VERSION``.

        **Atomicity:** removes every entry that was there at the start; those stored meanwhile may stay or go.
        **Cost:** 1 LIST and 1 DeleteObjects per 1,000.
        """
        self.client.clear()

    async def aclear(self) -> None:
        """See ``clear``."""
        await self.client.aclear()

    def _names(self, keys: Iterable[Any], version: int | None) -> dict[Any, str]:
        return {key: self.make_and_validate_key(key, version) for key in keys}

    async def _encoded(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return *values* encoded for the core, pickled in the thread that Django reserves for thread-bound code.

        Pickling a ``QuerySet`` queries the database, whose connections and transactions belong to that thread. In a
        thread of the core's pool it would open a connection that nobody closes.
        """
        if all(type(value) in _PLAIN for value in values.values()):
            return values
        encode = self.client.encode
        return await sync_to_async(lambda: {name: encode(value) for name, value in values.items()})()

    # Combinations of the above

    def get_or_set(
        self,
        key: Any,
        default: Any,
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
        **options: Any,
    ) -> Any:
        """Return the live value. If there is none, store *default*, or its result if it is callable, and return that.

        options: ``lock``, ``early``, ``stale`` and ``jitter``, as in ``Client.get_or_put``.

        **Atomicity:** all concurrent callers return the one value that was stored; only one of those in this process
        computes it. **Cost:** 1 GET for a live entry; else 1 PUT more, and another GET if another process was faster.
        """
        key = self.make_and_validate_key(key, version)
        compute = self._apart(default) if callable(default) and options.get("stale") else default
        return self.client.get_or_put(key, compute, self.time_to_expire(timeout), **options)

    async def aget_or_set(
        self,
        key: Any,
        default: Any,
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
        **options: Any,
    ) -> Any:
        """See ``get_or_set``. *default* may be async; if not, it is called in the event loop's thread, as in Django."""
        key = self.make_and_validate_key(key, version)

        async def compute() -> Any:
            value = default() if callable(default) else default
            value = await value if inspect.isawaitable(value) else value
            return (await self._encoded({key: value}))[key]

        return await self.client.aget_or_put(key, compute, self.time_to_expire(timeout), **options)

    def _apart(self, default: Callable[[], Any]) -> Callable[[], Any]:
        """Return *default* wrapped: it leaves no database connection open in the thread that refreshes stale values."""
        caller = threading.get_ident()

        def compute() -> Any:
            if threading.get_ident() == caller:
                return default()
            try:
                return self.client.encode(default())
            finally:
                connections.close_all()

        return compute

    def incr_version(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """Move an entry to another version, keep its timeout, and return the new version.

        Raises ``ValueError`` if there is no live entry, or if it could not be stored under the new version; then it
        stays under the old one. **Atomicity:** none; for a moment both versions exist. **Cost:** 1 GET, 1 PUT,
        1 DELETE and 2 HEADs.
        """
        version = self.version if version is None else version
        value, left = self.get(key, MISSING, version), self.client.ttl(self.make_key(key, version))
        name = self.make_and_validate_key(key, version + delta)
        _must_be_stored(key, self.client.put(name, _moved(key, value, left), left, replace=True))
        self.delete(key, version)
        return version + delta

    async def aincr_version(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """See ``incr_version``."""
        version = self.version if version is None else version
        value, left = await self.aget(key, MISSING, version), await self.client.attl(self.make_key(key, version))
        name = self.make_and_validate_key(key, version + delta)
        encoded = await self._encoded({name: _moved(key, value, left)})
        _must_be_stored(key, await self.client.aput(name, encoded[name], left, replace=True))
        await self.adelete(key, version)
        return version + delta

    # ``close`` is BaseCache's, which does nothing: Django calls it after every request, and the client is shared.


def _moved(key: Any, value: Any, left: float | None) -> Any:
    """Return the value to move. Raises ``KeyMissing`` if it is missing, or expired between the two requests."""
    if value is MISSING or left == 0:
        raise KeyMissing(f"Key '{key}' not found")
    return value


def _must_be_stored(key: Any, stored: bool) -> None:
    """Raise ``KeyMissing``, as for a missing entry, if a write failed silently: the old entry must then be kept."""
    if not stored:
        raise KeyMissing(f"Key '{key}' could not be stored under its new version; it stays under the old one")


def _stored(failure: PartialFailure) -> dict[str, bool]:
    """Return the results of what was stored, and log the failures; raise an error that is the caller's mistake."""
    for error in failure.failures.values():
        if not isinstance(error, StoreError):
            raise error
    logger.error("%s", failure)
    return failure.results
