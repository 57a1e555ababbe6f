"""The backend for Flask-Caching, and for other extensions that take a cachelib cache, such as Flask-Session."""

from __future__ import annotations

import datetime as dt
import logging
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from flask import Flask
from flask_caching.backends.base import BaseCache

from cloudcached import MISSING, Client, ConfigError, KeyMissing, PartialFailure, StoreError

from .command import register
from .signals import Sender
from .turns import Turns

#: Seconds or a ``timedelta``; 0: never, ``None``: the default timeout, negative: expired at once.
Timeout: TypeAlias = "int | float | dt.timedelta | None"

_log = logging.getLogger("cloudcached.flask")


class S3Cache(BaseCache):
    """A cache whose entries are objects in S3.

    url: ``s3://bucket/prefix``, or ``memory://name`` to try it without S3.
    default_timeout: for entries stored without a timeout: seconds or a ``timedelta``, 0 for never.
    key_prefix: comes before every key, and limits ``clear``; a str, or a callable that is called for every key.
    lock: only one of all requests that miss a key computes it, and the others wait. True, or the seconds of the lease,
    which is also the longest wait (60). A ``get`` that misses within a request should be followed by a ``set``; on a
    read-only cache no request waits, since no ``set`` follows.
    ignore_delete_many_errors: ``delete_many`` returns the keys that it deleted instead of raising ``RuntimeError``.
    options: the options of ``cloudcached.Client``. Without ``signing_key``, a cache made by Flask-Caching signs with
    the app's ``SECRET_KEY``; one made by hand does not sign.

    There is no I/O before the first call. While the store cannot be reached, a call answers as cachelib's backends do
    for errors; with the option ``fail_silently=False`` it raises an error of ``cloudcached``. Raises ``ConfigError``
    for a wrong URL, option or timeout.
    """

    def __init__(
        self,
        url: str,
        default_timeout: float | dt.timedelta = 300,
        key_prefix: str | Callable[[], str] = "",
        ignore_delete_many_errors: bool = False,
        lock: bool | float = False,
        **options: Any,
    ) -> None:
        # Set here, not passed on: Flask-Caching 2.0 to 2.4 and cachelib before 0.16 do not take the second one.
        super().__init__()
        self.default_timeout = _seconds(default_timeout)
        self.ignore_delete_many_errors = ignore_delete_many_errors
        self.key_prefix = key_prefix
        Client(url, **options)  # checks both; the client for use needs the SECRET_KEY, which may not be set yet
        self._url = url
        # A site without a cache is better than no site.
        self._options = {"fail_silently": True, **options}
        lease = _lease(lock)
        # A read-only client cannot take a lease, and stores nothing for others to wait for.
        self._turns = Turns(lambda: self.client, lease) if lease and not options.get("read_only") else None
        self._app: Flask | None = None
        self._client: Client | None = None

    @classmethod
    def factory(cls, app: Flask, config: dict[str, Any], args: list[Any], kwargs: dict[str, Any]) -> S3Cache:
        """Make the cache of *app*. Flask-Caching calls this.

        config: ``CACHE_S3_URL``, ``CACHE_KEY_PREFIX``, ``CACHE_IGNORE_ERRORS``; args: ``CACHE_ARGS``; kwargs: the
        default timeout and ``CACHE_OPTIONS``. Raises ``ConfigError``.
        """
        if not args:
            kwargs["url"] = config.get("CACHE_S3_URL")
            if not kwargs["url"]:
                raise ConfigError("CACHE_S3_URL is not set: set it to a URL, such as s3://bucket/prefix")
        kwargs.setdefault("key_prefix", config.get("CACHE_KEY_PREFIX") or "")
        kwargs.setdefault("ignore_delete_many_errors", config.get("CACHE_IGNORE_ERRORS", False))
        cache = cls(*args, **kwargs)
        cache._app = app
        if cache._turns is not None:
            app.teardown_request(cache._turns.end_all)
        register(app, cache)
        return cache

    @property
    def url(self) -> str:
        """The URL of the cache."""
        return self._url

    @property
    def options(self) -> dict[str, Any]:
        """The options of the client, including its signing keys."""
        options = dict(self._options)
        if self._app is not None:
            # Only at the first use: init_app is often called before the app has its SECRET_KEY.
            options.setdefault("signing_key", _signing_keys(self._app))
        return options

    @property
    def client(self) -> Client:
        """The core client, whose methods go beyond cachelib's: ``ttl``, ``keys``, ``get_or_put``, ``memoize``, ...

        Its keys include the ``key_prefix``. All caches of one configuration share it, so do not close it. Every
        operation uses it.
        """
        if self._client is None:
            options = self.options
            self._client = Client.shared(self._url, **options)
            self._client.listen(Sender(self._client))
            if "signing_key" not in self._options and not options.get("signing_key", True):
                # A warning, which test runs show, as Flask-Caching warns of its own settings. Given after the client is
                # set: where warnings are errors, only the first call raises it.
                warnings.warn(
                    f"the cache in {self._url} is not signed: set SECRET_KEY, or signing_key in CACHE_OPTIONS (None if"
                    " that is intended); unsigned entries hold harmless types only, and anyone who can write to the"
                    " bucket can forge them",
                    stacklevel=2,
                )
        return self._client

    def _name(self, key: str) -> str:
        prefix = self.key_prefix if isinstance(self.key_prefix, str) else self.key_prefix()
        # The client refuses a key that is not a str: by str(key), 1 and "1" would share one entry.
        return prefix + key if isinstance(key, str) else key

    def _lifetime(self, timeout: Timeout) -> int | None:
        """Translate cachelib's timeout into the client's ``time_to_expire``; the only place that does."""
        seconds = self.default_timeout if timeout is None else _seconds(timeout)
        return None if seconds == 0 else seconds

    def get(self, key: str) -> Any:
        """Return the value of *key*, or ``None``; with ``lock``, wait for another request that computes it.

        **Atomicity:** one complete, verified entry. **Cost:** 1 GET; with ``lock`` a miss costs more (``turns``).
        """
        name = self._name(key)
        if self._turns is None:
            return self.client.get(name)
        value = self.client.get(name, MISSING)
        return self._turns.wait(name) if value is MISSING else value

    def get_many(self, *keys: str) -> list[Any]:
        """Return the values of *keys* in their order, ``None`` for each that has no live entry.

        **Atomicity:** per key. **Cost:** 1 GET per key, in parallel.
        """
        names = [self._name(key) for key in keys]
        found = self.client.get_many(names)
        return [found.get(name) for name in names]

    def set(self, key: str, value: Any, timeout: Timeout = None) -> bool:
        """Store *value*, replacing any existing entry. Return whether it was stored.

        **Atomicity:** the last writer wins. **Cost:** 1 PUT.
        """
        name = self._name(key)
        try:
            return self.client.put(name, value, self._lifetime(timeout), replace=True)
        finally:
            if self._turns is not None:
                self._turns.end(name)

    def add(self, key: str, value: Any, timeout: Timeout = None) -> bool:
        """Store *value* unless there is a live entry. Return whether it was stored.

        **Atomicity:** exactly one of any number of concurrent callers wins. **Cost:** 1 conditional PUT; over an
        expired entry, a GET and a second PUT more.
        """
        return self.client.put(self._name(key), value, self._lifetime(timeout), replace=False)

    def set_many(self, mapping: Mapping[str, Any], timeout: Timeout = None) -> list[Any]:
        """Store every pair of *mapping*, and return the keys that were set; an error is logged for the others.

        Raises ``ValueRejected`` (a ``PickleError``) if a value cannot be stored, after storing the others.
        **Atomicity:** per key. **Cost:** 1 PUT per key, in parallel.
        """
        names = {key: self._name(key) for key in mapping}
        values = {name: mapping[key] for key, name in names.items()}
        try:
            stored = self.client.put_many(values, self._lifetime(timeout), replace=True)
        except PartialFailure as failure:
            for error in failure.failures.values():
                if not isinstance(error, StoreError):
                    raise error from None
            _log.error("%s", failure)
            stored = failure.results
        return [key for key, name in names.items() if stored.get(name)]

    def delete(self, key: str) -> bool:
        """Remove *key*, and tell whether it was there.

        **Atomicity:** of concurrent callers several may hear ``True``. **Cost:** HEAD and DELETE.
        """
        return self.client.delete(self._name(key))

    def delete_many(self, *keys: str) -> list[Any]:
        """Remove *keys*. Return those that are gone, including those that were not there.

        Raises ``RuntimeError`` if some could not be deleted; with ``ignore_delete_many_errors`` they are only logged.
        **Atomicity:** per key. **Cost:** 1 DeleteObjects per 1,000 keys.
        """
        names = [self._name(key) for key in keys]
        try:
            return list(keys) if self.client.delete_many(names) else []
        except PartialFailure as failure:
            failed = [key for key, name in zip(keys, names, strict=True) if name in failure.failures]
            if not self.ignore_delete_many_errors:
                raise RuntimeError(f"Failed to delete keys: {failed}") from failure
            _log.error("%s", failure)
            return [key for key in keys if key not in failed]

    def has(self, key: str) -> bool:
        """Return whether there is a live entry. Only its metadata is checked: ``get`` may still refuse it.

        **Cost:** 1 HEAD.
        """
        return self.client.has(self._name(key))

    def clear(self) -> bool:
        """Remove every entry whose key begins with the ``key_prefix``. Return whether that was done.

        **Atomicity:** entries stored meanwhile may stay. **Cost:** 1 LIST and 1 DeleteObjects per 1,000 entries.
        """
        return self.client.clear(prefix=self._name("")) is not None

    def inc(self, key: str, delta: int = 1) -> int | None:
        """Add *delta* to *key* and return the sum; a missing key starts at 0, with the default timeout.

        Returns ``None`` if the store could not be reached and ``fail_silently`` is on. Raises ``NotACounter`` (a
        ``TypeError``) if the value is not an ``int``. **Atomicity:** every increment counts exactly once, and the
        expiry is kept. **Cost:** 1 GET and 1 conditional PUT, repeated after a lost race.
        """
        try:
            return self.client.incr(self._name(key), delta, initial=0, time_to_expire=self._lifetime(None))
        except KeyMissing:  # an outage: a missing key has an initial value
            return None

    def dec(self, key: str, delta: int = 1) -> int | None:
        """Subtract *delta* from *key*; otherwise the same as ``inc``."""
        return self.inc(key, -delta)


def _seconds(timeout: float | dt.timedelta) -> int:
    """Return a timeout in whole seconds, rounded away from 0, since 0 means "never".

    cachelib rounds up: there -0.5, the time left of a deadline half a second ago, becomes "never".
    """
    seconds = timeout.total_seconds() if isinstance(timeout, dt.timedelta) else timeout
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not math.isfinite(seconds):
        raise ConfigError(f"a timeout is a number of seconds, 0 for never, or a timedelta; not {timeout!r}")
    return math.ceil(seconds) if seconds > 0 else math.floor(seconds)


def _lease(lock: object) -> float:
    """Return the seconds of a lease, 0 for no lease. Raises ``ConfigError``."""
    if lock is False:
        return 0.0
    if lock is True:
        return 60.0
    if not isinstance(lock, (int, float)) or not 0 < lock < math.inf:
        raise ConfigError(f"lock is True, False, or the seconds of a lease; not {lock!r}")
    return float(lock)


def _signing_keys(app: Flask) -> list[str | bytes]:
    """Return the app's ``SECRET_KEY`` and, to verify older entries, its ``SECRET_KEY_FALLBACKS``."""
    secret = app.config.get("SECRET_KEY")
    fallbacks = app.config.get("SECRET_KEY_FALLBACKS") or []
    # With an empty fallback, from an unset environment variable for example, anyone could sign entries.
    return [secret, *filter(None, fallbacks)] if secret else []
