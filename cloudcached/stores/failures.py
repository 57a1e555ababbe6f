"""Translates an S3 server's error answers into our exceptions, for both transports.

The error code decides where there is one, otherwise the status: 400 alone may mean expired credentials, a damaged
upload or a timeout. Only 404 and 412 are answers; after 409 and 5xx it is open whether a write was done.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..errors import (
    AccessDenied,
    BucketMissing,
    NotFound,
    NotModified,
    PreconditionFailed,
    StoreBusy,
    StoreError,
    StoreRefused,
    StoreTimeout,
    StoreUnreachable,
)

_CODES: Final[Mapping[str, type[StoreError]]] = {
    "NoSuchBucket": BucketMissing,
    "NoSuchKey": NotFound,
    "NoSuchLifecycleConfiguration": NotFound,
    "NoSuchVersion": NotFound,
    "NoSuchUpload": StoreRefused,  # a 404, but it says nothing about the object
    # mostly 400 or 403; in the answer to DeleteObjects a code comes without a status
    "AccessDenied": AccessDenied,
    "AuthorizationHeaderMalformed": AccessDenied,
    "ExpiredToken": AccessDenied,
    "InvalidAccessKeyId": AccessDenied,
    "InvalidToken": AccessDenied,
    "TokenRefreshRequired": AccessDenied,
    # bytes damaged or lost in transit
    "BadDigest": StoreUnreachable,
    "IncompleteBody": StoreUnreachable,
    "XAmzContentSHA256Mismatch": StoreUnreachable,
    "RequestTimeout": StoreTimeout,
    "InternalError": StoreBusy,
    "OperationAborted": StoreBusy,
    "ServiceUnavailable": StoreBusy,
    "SlowDown": StoreBusy,
    "NotImplemented": StoreRefused,
}
_STATUSES: Final[Mapping[int, type[StoreError]]] = {
    304: NotModified,
    401: AccessDenied,
    403: AccessDenied,
    404: NotFound,
    408: StoreTimeout,
    409: StoreBusy,
    412: PreconditionFailed,
    425: StoreBusy,
    429: StoreBusy,
    501: StoreRefused,
    505: StoreRefused,
}
_HINTS: Final[Mapping[type[StoreError], str]] = {
    AccessDenied: "; check the credentials and their rights, and this machine's clock",
    BucketMissing: "; create the bucket, or correct the URL and the endpoint",
}

NO_ETAG: Final = "an answer without an ETag: there is no S3 store behind this endpoint"


def is_bare_404(status: int, code: str) -> bool:
    """Whether a 404 does not say what is missing: answers to HEAD have no body that could."""
    return status == 404 and code not in _CODES  # noqa: PLR2004 - the name says it


def from_answer(operation: str, object_key: str, status: int, code: str, text: str) -> StoreError:
    """Return the error for an answer with this status and error code."""
    kind = _CODES.get(code) or _STATUSES.get(status) or (StoreBusy if status >= 500 else StoreRefused)  # noqa: PLR2004
    if kind is NotFound and operation == "put":
        # A PUT needs no object: this is how AWS answers If-Match where there is none.
        kind = PreconditionFailed
    if kind is BucketMissing:
        text = text or "there is no such bucket"
    message = " ".join(filter(None, (str(status), code if code != str(status) else "", text)))
    return made(kind, operation, object_key, message, code or str(status))


def made(kind: type[StoreError], operation: str, object_key: str, text: str, code: str = "") -> StoreError:
    """Return an error of *kind* with its context."""
    message = f"{operation} {object_key}".rstrip() + f": {text}{_HINTS.get(kind, '')}"
    return kind(message, operation=operation, object_key=object_key, code=code)
