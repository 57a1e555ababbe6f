"""The second near tier: sealed entries on a local disk, which the processes of a machine share.

Underneath is diskcache: an SQLite database, with large values in files next to it. It is given only text and bytes, and
nothing that comes out of it is unpickled or trusted before it has passed the same checks as an answer of the store.
Anything that goes wrong on the disk is a miss.

An entry has two rows: a small one with its metadata and the time at which the store was asked, which is rewritten after
each 304, and one with its body.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import Any, Final, NamedTuple, TypeVar

from .._types import Bytes, Clock
from ..config import Config, Near
from ..errors import ConfigError
from ..runtime.counters import Counters
from ..runtime.forks import PerProcess
from ..runtime.log import Throttle
from ..runtime.pool import start

R = TypeVar("R")
T = TypeVar("T")

log = logging.getLogger("cloudcached")

_SCHEMES = ("s3",)
#: Rows removed in one transaction, during which everybody else waits.
_BATCH: Final = 100
#: Variables that, besides the configuration, decide where requests go.
_ENVIRONMENT: Final = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION")


class Kept(NamedTuple):
    """An entry on the disk, not verified yet."""

    etag: str
    metadata: Mapping[str, str]
    #: When the store was asked, in epoch seconds, and by the monotonic clock, which starts again when the machine does.
    wall: float
    monotonic: float
    body: Bytes


class DiskTier:
    """The entries of one cache on this machine's disk. Thread-safe; does no I/O when made."""

    def __init__(self, near: Near, config: Config, clock: Clock, counters: Counters) -> None:
        if config.scheme not in _SCHEMES:
            raise ConfigError("'disk' in near is for s3:// URLs: a cache in memory ends with its process")
        try:
            from .raw_disk import open_raw  # noqa: PLC0415 - an extra; if it is missing, say so now, not at the first get
        except ImportError as error:
            raise ConfigError("'disk' in near needs an extra: pip install 'cloudcached[disk]'") from error
        self._open_raw = open_raw
        self._directory = str(PurePath(near.disk, _identity(config)))
        self._max_bytes = near.disk_max_bytes
        self._clock = clock
        self._counters = counters
        self._slot = PerProcess(_Slot)
        self._throttle = Throttle(clock)

    def load(self, object_key: str) -> Kept | None:
        """Return the entry kept for an object, or ``None``."""
        return self._do(lambda cache: _load(cache, object_key), None)

    def keep(self, object_key: str, entry: Kept, expires: float | None) -> None:
        """Keep an entry the store has just sent, at most until *expires* (epoch seconds), unless there is a newer one."""
        if len(entry.body) > self._max_bytes // 2:
            return

        def write(cache: Any) -> None:
            with cache.transact():
                old = _header(cache, object_key)
                if old is not None and old.wall > entry.wall and old.monotonic > entry.monotonic:
                    return
                cache.set(_body_name(object_key, entry.etag), bytes(entry.body), self._left(expires))
                cache.set(object_key, _packed(entry), self._left(expires))
                if old is not None and old.etag != entry.etag:
                    cache.delete(_body_name(object_key, old.etag))

        self._do(write, None)

    def renew(self, object_key: str, entry: Kept, expires: float | None) -> None:
        """Record that the store still has the entry that is kept."""

        def write(cache: Any) -> None:
            with cache.transact():
                cache.set(object_key, _packed(entry), self._left(expires))

        self._do(write, None)

    def drop(self, object_keys: Iterable[str]) -> None:
        """Remove the entries of these objects."""

        def delete(cache: Any) -> None:
            found = [(name, header) for name in object_keys if (header := _header(cache, name)) is not None]
            for some in _batches(found):
                with cache.transact():
                    for name, header in some:
                        cache.delete(_body_name(name, header.etag))
                        cache.delete(name)

        self._do(delete, None)

    def drop_where(self, doomed: Callable[[str], bool]) -> None:
        """Remove the entries of the objects whose names are *doomed*."""

        def delete(cache: Any) -> None:
            found = [row for row in cache.iterkeys() if doomed(row.partition("\n")[0])]
            for some in _batches(found):
                with cache.transact():
                    for row in some:
                        cache.delete(row)

        self._do(delete, None)

    def clear(self) -> None:
        """Remove all entries."""
        self._do(lambda cache: cache.clear(), None)

    def _left(self, expires: float | None) -> float | None:
        return None if expires is None else expires - self._clock.time()

    def ready(self) -> bool:
        """Return whether the disk is in use; the first call starts opening it on the pool, since that may take a while."""
        slot = self._slot()
        if slot.cache is None and not slot.begun:
            with slot.lock:
                begins, slot.begun = not slot.begun, True
            if begins:
                start(self._open, slot)
        return slot.cache is not None

    def _open(self, slot: _Slot) -> None:
        try:
            cache = self._open_raw(self._directory, self._max_bytes)
            cache.close()  # this thread's connection
            slot.cache = cache
        except Exception as error:  # noqa: BLE001 - anything that a disk, a file system or SQLite may raise
            self._failed(error)

    def _do(self, action: Callable[[Any], R], otherwise: R) -> R:
        try:
            if not self.ready():
                return otherwise
            return action(self._slot().cache)
        except Exception as error:  # noqa: BLE001 - as above; the store is asked instead
            self._failed(error)
            return otherwise

    def _failed(self, error: Exception) -> None:
        if type(error).__name__ == "Timeout":
            self._counters.add("near.disk_busy")
            return
        if self._throttle.allows():
            log.warning("the near tier's disk fails; carrying on without it: %s: %s", type(error).__name__, error)
        self._counters.add("near.disk_errors")


class _Slot:
    """The cache that one process has opened."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.begun = False
        self.cache: Any = None


def _identity(config: Config) -> str:
    """Return the name of a folder for this cache alone: other URLs and endpoints have other folders."""
    settings = {name: value for name, value in config.s3 if not name.startswith("aws_")}
    environment = {name: os.environ.get(name) for name in _ENVIRONMENT}
    text = json.dumps([config.url, settings, environment], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _batches(items: list[T]) -> Iterator[list[T]]:
    return (items[begin : begin + _BATCH] for begin in range(0, len(items), _BATCH))


def _body_name(object_key: str, etag: str) -> str:
    return f"{object_key}\n{etag}"


def _packed(entry: Kept) -> bytes:
    return json.dumps([entry.etag, dict(entry.metadata), entry.wall, entry.monotonic]).encode()


def _header(cache: Any, object_key: str) -> Kept | None:
    """Return an entry without its body; ``None`` if there is none, or the row does not look like one."""
    text = cache.get(object_key)
    try:
        etag, metadata, wall, monotonic = json.loads(text or b"")
        texts = (etag, *metadata, *metadata.values())
    except (ValueError, TypeError, AttributeError):
        return None
    if {type(text) for text in texts} != {str} or not {type(wall), type(monotonic)} <= {int, float}:
        return None
    return Kept(etag, metadata, wall, monotonic, b"")


def _load(cache: Any, object_key: str) -> Kept | None:
    header = _header(cache, object_key)
    body = None if header is None else cache.get(_body_name(object_key, header.etag))
    return None if header is None or body is None else header._replace(body=body)
