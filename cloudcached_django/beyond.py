"""Operations that Django's cache API does not have, under the names that users know from django-redis."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterator
from typing import Any

from django.core.cache.backends.base import get_key_func

from cloudcached import ConfigError, Lock

from .base import ClientCache
from .patterns import Pattern, escape


class BeyondDjango(ClientCache):
    """The part of ``S3Cache`` that reads and sets the time to live, makes locks, and finds keys by pattern."""

    # The time to live

    def ttl(self, key: Any, version: int | None = None) -> int | None:
        """Return the seconds until an entry expires, rounded up; 0 if there is no live entry, ``None`` for never.

        **Cost:** 1 HEAD.
        """
        return _seconds(self.client.ttl(self.make_and_validate_key(key, version)))

    async def attl(self, key: Any, version: int | None = None) -> int | None:
        """See ``ttl``."""
        return _seconds(await self.client.attl(self.make_and_validate_key(key, version)))

    def pttl(self, key: Any, version: int | None = None) -> int | None:
        """Return the same as ``ttl``, in milliseconds. **Cost:** 1 HEAD."""
        return _milliseconds(self.client.ttl(self.make_and_validate_key(key, version)))

    async def apttl(self, key: Any, version: int | None = None) -> int | None:
        """See ``pttl``."""
        return _milliseconds(await self.client.attl(self.make_and_validate_key(key, version)))

    def persist(self, key: Any, version: int | None = None) -> bool:
        """Make a live entry never expire. Return whether there was one, as ``Client.persist`` does.

        **Atomicity:** never revives an entry that was deleted or replaced meanwhile. **Cost:** 1 GET and 1 PUT.
        """
        return self.client.persist(self.make_and_validate_key(key, version))

    async def apersist(self, key: Any, version: int | None = None) -> bool:
        """See ``persist``."""
        return await self.client.apersist(self.make_and_validate_key(key, version))

    def expire(self, key: Any, timeout: float | dt.timedelta, version: int | None = None) -> bool:
        """Make a live entry expire in *timeout* seconds. Return False if there is none.

        **Atomicity** and **Cost:** those of ``touch``.
        """
        return self.client.touch(self.make_and_validate_key(key, version), timeout)

    async def aexpire(self, key: Any, timeout: float | dt.timedelta, version: int | None = None) -> bool:
        """See ``expire``."""
        return await self.client.atouch(self.make_and_validate_key(key, version), timeout)

    def expire_at(self, key: Any, when: float | dt.datetime, version: int | None = None) -> bool:
        """Make a live entry expire at *when*, a datetime or epoch seconds. Return False if there is none.

        **Atomicity** and **Cost:** those of ``touch``.
        """
        return self.client.expire_at(self.make_and_validate_key(key, version), when)

    async def aexpire_at(self, key: Any, when: float | dt.datetime, version: int | None = None) -> bool:
        """See ``expire_at``."""
        return await self.client.aexpire_at(self.make_and_validate_key(key, version), when)

    # Locks

    def lock(  # noqa: PLR0917 - django-redis's signature
        self,
        key: Any,
        version: int | None = None,
        timeout: float | None = None,
        sleep: float = 0.1,  # noqa: ARG002 - django-redis has these three; they have no effect here
        blocking_timeout: float | None = None,
        client: Any = None,  # noqa: ARG002
        thread_local: bool = True,  # noqa: ARG002
        *,
        blocking: bool = True,
    ) -> Lock:
        """Return a lock, which is a context manager. No request is sent before it is acquired.

        *timeout*: seconds of the lease, after which another owner may take it; ``None`` holds it until it is released,
        even if its holder has died. *blocking_timeout*: seconds to wait for it; ``None`` waits for ever. *sleep* has no
        effect: waits double up to 2 seconds, since each attempt is a request. Locks raise errors even with
        ``fail_silently``.

        **Atomicity** and **Cost:** those of ``cloudcached.Lock``.
        """
        name = self.make_and_validate_key(key, version)
        return self.client.lock(name, timeout, blocking=blocking, blocking_timeout=blocking_timeout)

    # Keys by pattern

    def iter_keys(
        self,
        search: str,
        itersize: int | None = None,  # noqa: ARG002 - positional in django-redis
        version: int | None = None,
    ) -> Iterator[str]:
        """Yield the keys that match *search*, in this ``KEY_PREFIX`` and version, as the caller wrote them.

        *search*: a pattern as in Redis, with ``*``, ``?``, ``[a-z]``, ``[^a]``. *itersize* has no effect: a page has
        1,000 keys. The keys may include those of entries that have expired and are not purged yet. Raises
        ``ConfigError`` if ``KEY_FUNCTION`` is set without ``REVERSE_KEY_FUNCTION``. **Cost:** 1 LIST per 1,000 entries
        at ``LOCATION``, whatever their prefix and version.
        """
        pattern, reverse_key = self._pattern(search, version), self._reverse_key(version)
        return (reverse_key(name) for name in self.client.keys(pattern.beginning) if pattern.matches(name))

    def keys(self, search: str = "*", version: int | None = None) -> list[str]:
        """Return the keys of ``iter_keys`` as a list."""
        return list(self.iter_keys(search, version=version))

    async def akeys(self, search: str = "*", version: int | None = None) -> list[str]:
        """See ``keys``."""
        pattern, reverse_key = self._pattern(search, version), self._reverse_key(version)
        return [reverse_key(name) for name in await self.client.akeys(pattern.beginning) if pattern.matches(name)]

    def delete_pattern(
        self,
        pattern: str,
        version: int | None = None,
        prefix: str | None = None,
        itersize: int | None = None,  # noqa: ARG002 - see iter_keys
    ) -> int:
        """Remove the entries whose keys match *pattern*, and return their number. See ``iter_keys``.

        Also 0 if some could not be removed and ``fail_silently`` is on: then nothing is known of the others.
        *prefix* replaces ``KEY_PREFIX``. **Atomicity:** per entry. **Cost:** 1 LIST per 1,000 entries at ``LOCATION``,
        and 1 DeleteObjects per 1,000 that match.
        """
        wanted = self._pattern(pattern, version, prefix)
        names = [name for name in self.client.keys(wanted.beginning) if wanted.matches(name)]
        return len(names) if self.client.delete_many(names) else 0

    async def adelete_pattern(
        self,
        pattern: str,
        version: int | None = None,
        prefix: str | None = None,
        itersize: int | None = None,  # noqa: ARG002 - see iter_keys
    ) -> int:
        """See ``delete_pattern``."""
        wanted = self._pattern(pattern, version, prefix)
        names = [name for name in await self.client.akeys(wanted.beginning) if wanted.matches(name)]
        return len(names) if await self.client.adelete_many(names) else 0

    def _pattern(self, search: str, version: int | None, prefix: str | None = None) -> Pattern:
        prefix = self.key_prefix if prefix is None else prefix
        version = self.version if version is None else version
        return Pattern(self.key_func(search, escape(prefix), escape(str(version))))

    def _reverse_key(self, version: int | None) -> Callable[[str], str]:
        """Return the function that turns a stored key into the caller's."""
        if self._params.get("REVERSE_KEY_FUNCTION"):
            return get_key_func(self._params["REVERSE_KEY_FUNCTION"])
        if self._params.get("KEY_FUNCTION"):
            raise ConfigError("a cache with a KEY_FUNCTION needs its inverse, REVERSE_KEY_FUNCTION, to list keys")
        front = len(self.make_key("", version))
        return lambda name: name[front:]


def _milliseconds(seconds: float | None) -> int | None:
    # Deadlines are whole milliseconds; the rest is noise from the subtraction.
    return None if seconds is None else round(seconds * 1000)


def _seconds(seconds: float | None) -> int | None:
    milliseconds = _milliseconds(seconds)
    return None if milliseconds is None else math.ceil(milliseconds / 1000)
