"""Every exception that CloudCached raises, as one tree.

    CloudCachedError
    |-- ConfigError              (ValueError)   wrong URL, option or setting; a missing extra
    |-- KeyRejected              (ValueError, TypeError)   not a str, or over the size limit
    |-- ValueRejected            (PickleError, TypeError)  cannot be stored, or only with a signing key
    |   `-- ValueTooLarge        over ``max_value_bytes``
    |-- KeyMissing               (ValueError, KeyError)    ``incr`` of a key that is not there
    |-- NotACounter              (TypeError, ValueError)   ``incr`` of a value that is not an int
    |-- EntryRefused             bytes in the bucket that are not a valid entry; a miss for every method
    |-- ReadOnlyError            a write on a read-only client
    |-- OutcomeUnknown           the answer to a write was lost, and its outcome cannot be determined afterwards
    |-- PartialFailure           (RuntimeError) a bulk call in which some keys failed; carries results and failures
    |-- LockError                a lock not obtained in time, lost or not owned
    `-- StoreError               a request to the bucket failed
        |-- NotFound             (KeyError)     no object of that name: an answer
        |-- PreconditionFailed                  a conditional request lost: an answer
        |-- NotModified                         the object still has the given ETag: an answer
        |-- BucketMissing                       no such bucket; never a miss
        |-- AccessDenied         (PermissionError)  credentials missing, wrong, expired or not allowed
        |-- StoreRefused                        any other refusal of the request; repeating it is useless
        |   `-- ConditionsIgnored               the store does not support conditional writes; nothing was written
        |-- StoreBusy            retryable      409, 429, 5xx: repeated within the time budget
        |-- StoreUnreachable     (ConnectionError)  retryable: no connection, or one that broke
        |   `-- CircuitOpen                     no request was sent, since the store was unreachable a moment ago
        `-- StoreTimeout         (TimeoutError)     retryable: no answer in time

Exceptions of other libraries (botocore, sockets) are mapped onto this tree in the stores and nowhere else. For
a write, everything that is not an answer means "unknown", not "no".
"""

from __future__ import annotations

import copyreg
from collections.abc import Mapping
from pickle import PickleError
from typing import Any

__all__ = [
    "AccessDenied",
    "BucketMissing",
    "CircuitOpen",
    "CloudCachedError",
    "ConditionsIgnored",
    "ConfigError",
    "EntryRefused",
    "KeyMissing",
    "KeyRejected",
    "LockError",
    "NotACounter",
    "NotFound",
    "NotModified",
    "OutcomeUnknown",
    "PartialFailure",
    "PreconditionFailed",
    "ReadOnlyError",
    "StoreBusy",
    "StoreError",
    "StoreRefused",
    "StoreTimeout",
    "StoreUnreachable",
    "ValueRejected",
    "ValueTooLarge",
]


class CloudCachedError(Exception):
    """The base class of every exception that this library raises."""


class ConfigError(CloudCachedError, ValueError):
    """A URL, option or setting is wrong, or an extra is not installed; the message says what to change."""


class KeyRejected(CloudCachedError, ValueError, TypeError):
    """The key is not a ``str``, or is longer than 16 KB in UTF-8."""


class ValueRejected(CloudCachedError, PickleError, TypeError):
    """The value cannot be serialized, or only with a signing key."""


class ValueTooLarge(ValueRejected):
    """The encoded value is larger than ``max_value_bytes``."""


class KeyMissing(CloudCachedError, ValueError, KeyError):
    """There is no live entry to increment (Django expects a ``ValueError`` from ``incr``)."""

    __str__ = Exception.__str__  # KeyError would print the repr of the message


class NotACounter(CloudCachedError, TypeError, ValueError):
    """The value to increment is not an ``int``."""


class EntryRefused(CloudCachedError):
    """An object in the bucket is not a valid entry, and is not loaded.

    Never leaves the client: there it is a miss, a log line and a count.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        #: One word for counters and logs, such as ``seal``, ``signature``, ``unsigned``, ``format``, ``decode``.
        self.reason = reason


class ReadOnlyError(CloudCachedError):
    """A write was requested from a client opened with ``read_only``."""


class OutcomeUnknown(CloudCachedError):
    """A write may or may not have happened, and the bucket no longer shows which.

    Raised where the alternative is to count twice or to answer "no" by mistake.
    """


class PartialFailure(CloudCachedError, RuntimeError):
    """Some keys of a bulk call failed; the others were done."""

    def __init__(self, operation: str, results: Mapping[str, Any], failures: Mapping[str, CloudCachedError]) -> None:
        key, error = next(iter(failures.items()))
        super().__init__(f"{operation}: {len(failures)} keys failed; the first, {key!r}: {error}")
        #: The results of the other keys, as the call would have returned them.
        self.results = dict(results)
        #: The error of each key that failed.
        self.failures = dict(failures)

    def __reduce__(self) -> tuple[Any, ...]:
        # BaseException's own calls the class with the message alone, which __init__ does not take.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class LockError(CloudCachedError):
    """A lock was not obtained in time, is not held by this owner, or its lease ran out."""


class StoreError(CloudCachedError):
    """A request to the store failed."""

    #: Whether the same request may be sent again.
    retryable = False

    def __init__(self, message: str, *, operation: str = "", object_key: str = "", code: str = "") -> None:
        super().__init__(message)
        #: The kind of request: ``get``, ``head``, ``put``, ``delete``, ``list``.
        self.operation = operation
        #: The name of the object in the bucket.
        self.object_key = object_key
        #: The store's own error code or HTTP status, if it gave one.
        self.code = code


class NotFound(StoreError, KeyError):
    """There is no such object."""

    __str__ = Exception.__str__


class PreconditionFailed(StoreError):
    """The object is not, or no longer, in the state that the request requires; nothing was written."""


class NotModified(StoreError):
    """The object still has the ETag that the request gave."""


class BucketMissing(StoreError):
    """The bucket does not exist: create it, or correct the URL."""


class AccessDenied(StoreError, PermissionError):
    """The store refuses these credentials, or there are none."""


class StoreRefused(StoreError):
    """The store refuses the request itself; sending it again would not help."""


class ConditionsIgnored(StoreRefused):
    """The store ignores or refuses conditional writes, on which all coordination between callers depends.

    Nothing was written. ``cloudcached doctor URL`` shows how the store behaves; the option
    ``conditional_writes="best_effort"`` allows such writes to race.
    """


class StoreBusy(StoreError):
    """The store is overloaded, or callers contend for a conditional write, whose outcome is unknown."""

    retryable = True


class StoreUnreachable(StoreError, ConnectionError):
    """No connection could be made, or it broke before the answer was complete."""

    retryable = True


class CircuitOpen(StoreUnreachable):
    """No request was sent: the store could not be reached a moment ago (only with ``fail_silently``)."""

    retryable = False


class StoreTimeout(StoreError, TimeoutError):
    """The answer did not come in time."""

    retryable = True
