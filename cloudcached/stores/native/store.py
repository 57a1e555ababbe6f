"""GET, HEAD and PUT by obstore, a native S3 client, at a tenth of boto3's cost. All else is passed to the boto3 store.

boto3 takes over, call by call, where obstore would hang, block, or bypass the mock: in a process forked from one that
has used obstore, under gevent and eventlet, inside moto's ``mock_aws``, and for settings that obstore does not support.
"""

from __future__ import annotations

import logging
import math
import os
import re
import sys
import threading
from collections.abc import Sequence
from datetime import timedelta
from os import getpid
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from ..._types import Bytes
from ...config import Config
from ...errors import ConfigError
from ...runtime.budget import FREE_BYTES, allowance
from ..boto3.session import IMPORTING, connect_timeout
from ..boto3.store import S3Store
from ..limits import OBJECT_KEY_LIMIT_BYTES, check_metadata, check_range
from ..port import ABSENT, Found, Head, Matches, Write
from ..wrapper import Wrapper
from .errors import Bare404, failure, is_for_boto3, is_out_of_range, is_unreadable, was_not_sent
from .found import FoundByObstore, etag_of, head_of, pieces_of
from .settings import Target, Untranslatable, translate

if TYPE_CHECKING:
    from obstore import GetOptions, PutMode
    from obstore.store import S3Store as Native

log = logging.getLogger("cloudcached")

#: Modules that rule obstore out once they are loaded and active.
_SUSPECTS: Final = frozenset(("gevent.monkey", "eventlet.patcher", "moto.core.models"))

#: Segments of printable ASCII, none of them empty or beginning with a dot, which obstore would normalise or refuse.
_PLAIN: Final = re.compile(r"[ -,\-0-~][ -.0-~]*(?:/[ -,\-0-~][ -.0-~]*)*")

#: No requested range of a file is larger.
_RANGE_BYTES: Final = 1 << 26

_WORKERS: Final = "TOKIO_WORKER_THREADS"

#: The process in which obstore runs: its threads do not survive a fork, and a call in a child would never return.
_home: int | None = None


def _after_fork() -> None:
    """Rule obstore out in a child if something else may have used it in the parent."""
    global _home  # noqa: PLW0603 - one set of threads per process
    if _home is None and "obstore" in sys.modules:
        _home = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _hindrance() -> str | None:
    """Return why obstore must not be called here and now, or ``None``."""
    modules = sys.modules
    if _home is not None and getpid() != _home:
        return "this process was forked from one that had used obstore"
    if "gevent.monkey" in modules and modules["gevent.monkey"].is_module_patched("socket"):
        return "gevent has patched the sockets, which obstore does not use"
    if "eventlet.patcher" in modules and modules["eventlet.patcher"].is_monkey_patched("socket"):
        return "eventlet has patched the sockets, which obstore does not use"
    if "moto.core.models" in modules and modules["moto.core.models"].botocore_stubber.enabled:
        return "moto's mock_aws is active, which obstore would bypass"
    return None


def _start(obstore: Any) -> None:
    """Let obstore start its threads: one that moves bytes, instead of one per core.

    Callers wait in their own threads, and all their bytes pass through this one: a second one only causes more wake-ups
    (a fifth more CPU time per ``get`` on 2 cores, and 8 % fewer gets from 32 threads). The environment is obstore's
    only setting for this. If it is set, or obstore was used before, that stands.
    """
    if _WORKERS in os.environ:
        return
    os.environ[_WORKERS] = "1"
    try:
        obstore.put(obstore.store.MemoryStore(), "start", b"", use_multipart=False)
    finally:
        os.environ.pop(_WORKERS, None)  # not for the programs that this one starts


def _is_plain(object_key: str) -> bool:
    """Whether obstore sends this name as it is."""
    return len(object_key) <= OBJECT_KEY_LIMIT_BYTES and _PLAIN.fullmatch(object_key) is not None


class _Lanes:
    """The ``obstore`` stores of one bucket.

    In obstore a timeout belongs to a store, not to a call. So there are several for reading, whose timeout starts again
    with each piece of a body, and several for writing, whose timeout covers the whole exchange. Each is made at its
    first use.
    """

    #: The stores' timeouts, as fractions of the operation's; one may exceed the time left by the factor SLACK.
    STEPS: Final = (1.0, 0.5, 0.25)
    SLACK: Final = 1.05

    def __init__(self, config: Config, target: Target) -> None:
        import obstore  # noqa: PLC0415 - only when the first request needs it
        from obstore.store import S3Store as Native  # noqa: PLC0415

        _start(obstore)
        self.get = obstore.get
        self.put = obstore.put
        self._native = Native
        self._bucket = config.bucket
        self._target = target
        self._timeout = config.timeout
        #: Seconds: more than reading any value takes; ``FoundByObstore`` keeps the deadlines for reading.
        self._longest = config.timeout + allowance(max(config.max_value_bytes, _RANGE_BYTES) + FREE_BYTES)
        self._lock = threading.Lock()
        self._readers: dict[float, Native] = {}
        self._writers: dict[float, Native] = {}
        self.full = self._reader(config.timeout)
        self.full_from = config.timeout / self.SLACK

    def for_reading(self, left: float) -> Native:
        """Return a store whose reads wait at most about *left* seconds for the answer and for each piece of it."""
        if left >= self.full_from:
            return self.full
        seconds = self._step(left)
        return self._readers.get(seconds) or self._reader(seconds)

    def for_writing(self, left: float, size: int) -> Native:
        """Return a store whose writes take at most about *left* seconds and the time that *size* bytes may take."""
        # For large bodies the timeout is a power of two, in seconds, so that there are few stores.
        seconds = self._step(left) if size <= FREE_BYTES else 2.0 ** math.ceil(math.log2(left + allowance(size)))
        return self._writers.get(seconds) or self._writer(seconds)

    def _writer(self, seconds: float) -> Native:
        with self._lock:
            if seconds not in self._writers:
                self._writers[seconds] = self._make(timeout=seconds)
            return self._writers[seconds]

    def _step(self, left: float) -> float:
        steps = [self._timeout * step for step in self.STEPS]
        return next((step for step in steps if step <= left * self.SLACK), steps[-1])

    def _reader(self, seconds: float) -> Native:
        with self._lock:
            if seconds not in self._readers:
                self._readers[seconds] = self._make(timeout=self._longest, read_timeout=seconds)
            return self._readers[seconds]

    def _make(self, **seconds: float) -> Native:
        options = {name: timedelta(seconds=value) for name, value in seconds.items()}
        options["connect_timeout"] = timedelta(seconds=connect_timeout(self._timeout))
        arguments: dict[str, Any] = {
            "config": dict(self._target.config),
            "client_options": {**self._target.client_options, **options},
            "retry_config": {"max_retries": 0},
        }
        if self._target.credentials is not None:
            arguments["credential_provider"] = self._target.credentials
        return self._native(self._bucket, **arguments)


class FastS3Store(Wrapper):
    """A bucket: GET, HEAD and PUT by obstore where that is possible, all else by *inner*.

    ``dated`` is the inner store: obstore does not show the ``Date`` of an answer.
    """

    inner: S3Store

    def __init__(self, config: Config, inner: S3Store) -> None:
        super().__init__(inner)
        self._config = config
        self._lanes: _Lanes | None = None
        #: Why obstore can never be used for this bucket.
        self._hindered: str | None = None
        self._told: set[str] = set()

    def get(self, object_key: str, *, unless: str | None = None, timeout: float) -> Found:
        """Request an object, unless its ETag is *unless*. Raises ``NotFound``, ``NotModified``. **Cost:** 1 GET."""
        lanes = self._lane(object_key, timeout)
        if lanes is not None:
            found = FoundByObstore()
            found.end = monotonic() + timeout
            try:
                options: GetOptions | None = None if unless is None else {"if_none_match": f'"{unless}"'}
                result = lanes.get(lanes.for_reading(timeout), object_key, options=options)
                found.length = size = result.range[1]
                found.head = head_of(result, object_key, size)
            except BaseException as exc:  # noqa: BLE001 - obstore's panics are not Exceptions
                self._failed(exc, "get", object_key, timeout)
            else:
                return found
        return self.inner.get(object_key, unless=unless, timeout=timeout)

    def get_first(self, object_key: str, length: int, *, timeout: float) -> Found:
        """Request the beginning of an object. **Cost:** 1 GET; for an empty object 1 more."""
        check_range(object_key, 0, length)
        lanes = self._lane(object_key, timeout)
        if lanes is not None:
            found = FoundByObstore()
            found.end = monotonic() + timeout
            try:
                result = lanes.get(lanes.for_reading(timeout), object_key, options={"range": (0, length)})
                found.length = result.range[1]
                found.head = head_of(result, object_key, result.meta["size"])
            except BaseException as exc:  # noqa: BLE001
                if is_out_of_range(str(exc)):
                    return self.get(object_key, timeout=timeout)
                self._failed(exc, "get", object_key, timeout)
            else:
                return found
        return self.inner.get_first(object_key, length, timeout=timeout)

    def get_range(self, object_key: str, start: int, length: int, *, etag: str, timeout: float) -> Sequence[Bytes]:
        """Return a part of exactly the version *etag*. **Cost:** 1 GET."""
        check_range(object_key, start, length)
        lanes = self._lane(object_key, timeout)
        if lanes is not None:
            end = monotonic() + timeout
            options: GetOptions = {"range": (start, start + length), "if_match": etag}
            try:
                result = lanes.get(lanes.for_reading(timeout), object_key, options=options)
                begin, stop = result.range
                size = stop - begin
                return list(pieces_of(result.stream(1), size, object_key, end + allowance(size)))
            except BaseException as exc:  # noqa: BLE001
                self._failed(exc, "get", object_key, timeout)
        return self.inner.get_range(object_key, start, length, etag=etag, timeout=timeout)

    def head(self, object_key: str, *, timeout: float) -> Head:
        """Return an object's headers. Raises ``NotFound``. **Cost:** 1 HEAD."""
        lanes = self._lane(object_key, timeout)
        if lanes is not None:
            try:
                result = lanes.get(lanes.for_reading(timeout), object_key, options={"head": True})
                return head_of(result, object_key, result.meta["size"])
            except BaseException as exc:  # noqa: BLE001
                self._failed(exc, "head", object_key, timeout)
        return self.inner.head(object_key, timeout=timeout)

    def put(self, write: Write, *, timeout: float) -> str:
        """Write an object and return its ETag. **Atomicity:** the store's. **Cost:** 1 PUT."""
        object_key, body, when = write.object_key, write.body, write.when
        check_metadata(object_key, write.metadata)
        lanes = self._lane(object_key, timeout)
        # obstore would read a stream into memory first.
        if lanes is not None and isinstance(body, (bytes, bytearray, memoryview)):
            mode: PutMode = "overwrite"
            if when is ABSENT:
                mode = "create"
            elif isinstance(when, Matches):
                mode = {"e_tag": when.etag}  # without quotes: Ceph 16 accepts no other form
            store = lanes.for_writing(timeout, len(body))
            try:
                options: dict[str, Any] = {"attributes": dict(write.metadata), "mode": mode}
                options["tags"] = write.tags and dict(write.tags)
                result = lanes.put(store, object_key, body, use_multipart=False, **options)
                return etag_of(result["e_tag"], "put", object_key)
            except BaseException as exc:  # noqa: BLE001
                self._failed(exc, "put", object_key, timeout)
        return self.inner.put(write, timeout=timeout)

    def close(self) -> None:
        """Close the connections. The store can be used again afterwards."""
        if _home == getpid():  # a child leaves its parent's alone
            self._lanes = None
        self.inner.close()

    def _lane(self, object_key: str, timeout: float) -> _Lanes | None:
        """Return the obstore stores to call, or ``None`` where boto3 must answer."""
        lanes = self._lanes
        if lanes is None or getpid() != _home or not sys.modules.keys().isdisjoint(_SUSPECTS):
            lanes = self._usable()
        return lanes if lanes is not None and timeout > 0 and _is_plain(object_key) else None

    def _usable(self) -> _Lanes | None:
        """Return the obstore stores, made at the first use; ``None`` where obstore must not be called here and now."""
        lanes = self._lanes
        hindrance = self._hindered or _hindrance()
        if hindrance is None and lanes is None:
            hindrance = self._open()
        if hindrance is None:
            return lanes or self._lanes
        self._step_aside(hindrance)
        return None

    def _open(self) -> str | None:
        """Make the obstore stores; return why that failed, or ``None``."""
        global _home  # noqa: PLW0603 - as above
        try:
            with IMPORTING:
                self._lanes = _Lanes(self._config, translate(self._config, self.inner.sessions))
        except Untranslatable as exc:
            self._hindered = str(exc)
        except ConfigError:
            raise
        except Exception as exc:  # noqa: BLE001 - no obstore, a setting unknown to this version, a missing file
            self._hindered = f"obstore cannot be set up: {exc}"
        else:
            _home = getpid()
        return self._hindered

    def _step_aside(self, reason: str) -> None:
        """Log the reason once. Raises ``ConfigError`` if the options require obstore."""
        if self._config.transport == "obstore":
            raise ConfigError(f"transport='obstore' is not possible: {reason}; use transport='auto'")
        if reason not in self._told:
            self._told.add(reason)
            log.info("%s is accessed through boto3: %s", self._config.url, reason)

    def _failed(self, exc: BaseException, operation: str, object_key: str, timeout: float) -> None:
        """Raise our error for an exception of obstore, or return if boto3 must be asked; nothing was written then."""
        text = str(exc)
        hindrance = is_for_boto3(text)
        if hindrance is not None:
            self._hindered = hindrance
            self._lanes = None
            self._step_aside(hindrance)
        elif was_not_sent(text) or (operation != "put" and is_unreadable(text)):
            log.debug("%s of %s goes to boto3: %s", operation, object_key, text.partition("\n")[0])
        else:
            error = failure(exc, operation, object_key)
            if isinstance(error, Bare404):
                error = self.inner.missing(operation, object_key, timeout)
            raise error from exc
