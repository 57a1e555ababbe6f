"""Conditional writes on stores that may not support them.

Some S3 servers ignore ``If-Match`` and ``If-None-Match``: they answer 200 and overwrite, and every caller of an
``add`` is told that it has won. The option ``conditional_writes`` says whether to believe the store:

=============== =======================================================================================================
``trust``       conditions are sent, and the answers believed
``probe``       before its first conditional write a process sends one that must fail; if that one succeeds, this write
                and all later conditional ones raise ``ConditionsIgnored``
``auto``        ``probe``, but ``trust`` for AWS's own endpoints and for loopback, where development servers run
``best_effort`` conditions are checked by a HEAD before an unconditional write: concurrent callers may all win
=============== =======================================================================================================

If the store answers a condition with 501 or 400, that raises ``ConditionsIgnored`` too.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from ..config import Config
from ..entry.keys import Names
from ..errors import ConditionsIgnored, NotFound, PreconditionFailed, StoreError, StoreRefused, StoreTimeout
from ..runtime.forks import PerProcess
from .boto3.chain import Unsupported, locate
from .boto3.session import Sessions
from .failures import made
from .port import ABSENT, ALWAYS, Matches, Store, When, Write
from .wrapper import Wrapper

log = logging.getLogger("cloudcached")

#: An ETag that no object of a probe can have.
IMPOSSIBLE: Final = Matches("0" * 32)
#: The codes by which stores refuse a header that they do not know; a 400 for other reasons has a code of its own.
_REFUSALS: Final = frozenset(("400", "501", "BadRequest", "InvalidArgument", "InvalidRequest", "NotImplemented"))
_AWS: Final = (".amazonaws.com", ".amazonaws.com.cn")


class _Knowledge:
    """Whether the conditional writes of one bucket work, as far as this process knows."""

    def __init__(self, fault: str | None = None) -> None:
        #: Held by the thread that sends the probe.
        self.lock = threading.Lock()
        #: What is wrong with them; "" for nothing, ``None`` before the probe.
        self.fault = fault


_TRUSTED: Final = _Knowledge("")
#: By endpoint and bucket: all clients of a process share one probe.
_known: PerProcess[dict[tuple[str, str], _Knowledge]] = PerProcess(dict)
_known()  # now, so that two threads do not make one each


def endpoint_of(config: Config, sessions: Sessions) -> str:
    """Return the URL that requests go to. Raises ``ConfigError`` if boto3 refuses its settings."""
    try:
        return locate(config, sessions).endpoint  # often without loading boto3
    except Unsupported:
        return sessions.connection().client.meta.endpoint_url


def is_trusted(mode: str, endpoint: str) -> bool:
    """Whether conditional writes at *endpoint* are believed without a probe."""
    if mode != "auto":
        return mode == "trust"
    host = urlsplit(endpoint).hostname or ""
    return is_aws(host) or is_loopback(host)


def is_aws(host: str) -> bool:
    """Whether *host* is one of AWS's own."""
    return host.endswith(_AWS)


def is_loopback(host: str) -> bool:
    """Whether the name *host* alone says that it is this machine."""
    import ipaddress  # noqa: PLC0415 - few endpoints need it

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return f".{host}".endswith(".localhost")


class Conditions(Wrapper):
    """A store whose conditional writes are believed, probed or replaced, as the option ``conditional_writes`` says.

    The constructor does no I/O. Only ``put`` is guarded; all else goes straight to *inner*.
    """

    def __init__(self, inner: Store, config: Config, sessions: Sessions) -> None:
        super().__init__(inner)
        # Reads go to the store itself: after a wait for the network, a call that only passes them on is 1 % of a get.
        object.__setattr__(self, "get", inner.get)
        self._config = config
        self._sessions = sessions
        self._knowledge = PerProcess(self._find_knowledge)

    def put(self, write: Write, *, timeout: float) -> str:
        """Write an object and return its ETag.

        Raises ``ConditionsIgnored`` if the store does not support conditional writes. **Atomicity:** the store's; none
        with ``best_effort``. **Cost:** 1 PUT; once per process and bucket 1 more PUT if the store is probed, and 1
        DELETE if it fails the probe; with ``best_effort`` 1 HEAD more for each conditional write.
        """
        object_key, when = write.object_key, write.when
        if when is ALWAYS:
            return self.inner.put(write, timeout=timeout)
        end = time.monotonic() + timeout
        if self._config.conditional_writes == "best_effort":
            self._check(object_key, when, timeout)
            return self.inner.put(replace(write, when=ALWAYS), timeout=end - time.monotonic())
        fault = self._fault(object_key, timeout)
        if fault:
            raise self._ignored(object_key, fault)
        try:
            return self.inner.put(write, timeout=end - time.monotonic())
        except StoreRefused as error:
            if error.code not in _REFUSALS:
                raise
            raise self._ignored(object_key, _refused(error)) from error

    def _check(self, object_key: str, when: When, timeout: float) -> None:
        """Raise ``PreconditionFailed`` unless *when* holds now."""
        try:
            holds = when == Matches(self.inner.head(object_key, timeout=timeout).etag)
        except NotFound:
            holds = when is ABSENT
        if not holds:
            raise made(PreconditionFailed, "put", object_key, "the condition does not hold")

    def _find_knowledge(self) -> _Knowledge:
        endpoint = endpoint_of(self._config, self._sessions)
        if is_trusted(self._config.conditional_writes, endpoint):
            return _TRUSTED
        return _known().setdefault((endpoint, self._config.bucket), _Knowledge())

    def _fault(self, object_key: str, timeout: float) -> str:
        """Return what is wrong with the store's conditional writes; "" for nothing."""
        knowledge = self._knowledge()
        if knowledge.fault is None:
            if not knowledge.lock.acquire(timeout=timeout):
                raise made(StoreTimeout, "put", object_key, "waited for the probe of the store's conditional writes")
            try:
                if knowledge.fault is None:
                    knowledge.fault = self._probe(timeout)
            finally:
                knowledge.lock.release()
        return knowledge.fault

    def _probe(self, timeout: float) -> str:
        """Send a conditional write that must fail; return what is wrong. Cost: 1 PUT; if it succeeds, 1 DELETE more."""
        name = Names(self._config.prefix).reserved("conditions", secrets.token_hex(8))
        try:
            self.inner.put(Write(name, b"probe", {}, when=IMPOSSIBLE), timeout=timeout)
        except PreconditionFailed:
            return ""
        except StoreRefused as error:
            if error.code not in _REFUSALS:
                raise
            return _refused(error)
        try:
            self.inner.delete(name, timeout=timeout)
        except StoreError as error:
            log.warning("the object of a probe was not removed: %s", error)
        return "the store ignores the conditions of writes"

    def _ignored(self, object_key: str, text: str) -> StoreError:
        advice = (
            "add, update, touch, incr, cas and lock would race silently and are refused;"
            f" `cloudcached doctor {self._config.url}` shows what the store does, and the option"
            ' conditional_writes="best_effort" lets them race'
        )
        return made(ConditionsIgnored, "put", object_key, f"{text}: {advice}")


def _refused(error: StoreRefused) -> str:
    return f"the store refuses the conditions of writes ({error.code})"
