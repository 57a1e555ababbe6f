"""Translates obstore's exceptions into ours.

Their classes say little: a missing bucket is ``FileNotFoundError``, a 409 ``AlreadyExistsError``, and everything from
an expired token to a broken connection ``GenericError``. But their text holds the status, the error code and the kind
of a network failure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from ...errors import AccessDenied, NotModified, StoreBusy, StoreError, StoreRefused, StoreTimeout, StoreUnreachable
from ..failures import NO_ETAG, from_answer, is_bare_404, made

_ANSWER: Final = re.compile(r" - Server returned non-2xx status code: (\d{3})[^:]*: ?(.*)", re.DOTALL)
_CODE: Final = re.compile(r"<Code>([^<]*)</Code>")
_MESSAGE: Final = re.compile(r"<Message>([^<]*)</Message>")
_WIRE: Final = re.compile(r"HttpError \{\s*kind: (\w+)")
_CAUSE: Final = re.compile(r"(?:message|error): \"([^\"]*)\"")
#: Our credential provider failed; nothing was sent. boto3 can tell why.
_NOT_SENT: Final = re.compile(r".* for path External AWS credential provider")
#: An answer that obstore cannot read, such as one with metadata in Latin-1; boto3 can.
_UNREADABLE: Final = re.compile(r"Generic S3 error: (Metadata value|Invalid last modified|\S+ Header missing)")
#: An answer from a region other than the bucket's; boto3 finds the right one.
_ELSEWHERE: Final = re.compile(
    r" - (Received redirect|Server returned non-2xx status code: (30[1278]|400.*<Code>AuthorizationHeaderMalformed))",
    re.DOTALL,
)
#: Kinds of network failures, as object_store names them.
WIRE: Final[Mapping[str, type[StoreError]]] = {
    "Timeout": StoreTimeout,
    "Connect": StoreUnreachable,
    "Request": StoreUnreachable,
    "Interrupted": StoreUnreachable,
    "Decode": StoreUnreachable,
    "Unknown": StoreUnreachable,
}
#: For an exception whose text says nothing: by the name of its class.
KINDS: Final[Mapping[str, type[StoreError]]] = {
    "AlreadyExistsError": StoreBusy,  # only a 412 is an answer
    "FileNotFoundError": StoreUnreachable,  # as above, a 404
    "GenericError": StoreUnreachable,
    "InvalidPathError": StoreRefused,
    "JoinError": StoreUnreachable,
    "NotFoundError": StoreUnreachable,
    "NotModifiedError": NotModified,
    "NotSupportedError": StoreRefused,
    "PermissionDeniedError": AccessDenied,
    "PreconditionError": StoreBusy,
    "UnauthenticatedError": AccessDenied,
    "UnknownConfigurationKeyError": StoreRefused,
}


def is_for_boto3(text: str) -> str | None:
    """Return why boto3 must take over for good, or ``None``; if it must, nothing was read or written."""
    if _ELSEWHERE.search(text):
        return "the bucket is in another region than was configured"
    if "InvalidCertificate(" in text:
        # It accepts authorities only; OpenSSL, and so boto3, also accepts a server's own certificate as AWS_CA_BUNDLE.
        return "obstore does not accept the server's certificate"
    return None


def was_not_sent(text: str) -> bool:
    """Whether nothing was sent, for lack of credentials."""
    return _NOT_SENT.match(text) is not None


def is_unreadable(text: str) -> bool:
    """Whether there was an answer that obstore could not read."""
    return _UNREADABLE.match(text) is not None


def is_out_of_range(text: str) -> bool:
    """Whether the range begins beyond the end of the object."""
    answer = _ANSWER.search(text)
    return answer is not None and answer[1] == "416"


class Bare404(StoreError):
    """A 404 that does not say what is missing."""


def failure(exc: BaseException, operation: str, object_key: str) -> BaseException:
    """Return our error for an exception of obstore; return any other exception itself."""
    if not isinstance(exc, Exception):
        if type(exc).__name__ != "PanicException":
            return exc  # KeyboardInterrupt and the like
        return made(StoreRefused, operation, object_key, f"obstore gave up: {exc}")
    if isinstance(exc, StoreError):
        return exc
    text = str(exc)
    line = text.partition("\n")[0]
    answer = _ANSWER.search(text)
    if answer is None:
        line = line.removeprefix("Generic S3 error: ")
        wire = _WIRE.search(text)
        if wire is None and "ETag Header missing" in line:
            return made(StoreRefused, operation, object_key, NO_ETAG)
        if wire is None:
            return made(KINDS.get(type(exc).__name__, StoreRefused), operation, object_key, line)
        cause = f": {found[1]}" if (found := _CAUSE.search(text)) else ""
        return made(WIRE.get(wire[1], StoreUnreachable), operation, object_key, f"{line} ({wire[1]}{cause})")
    status, body = int(answer[1]), answer[2]
    code = found[1] if (found := _CODE.search(body)) else ""
    message = found[1] if (found := _MESSAGE.search(body)) else ""
    if is_bare_404(status, code) and operation != "put":
        return made(Bare404, operation, object_key, line)
    return from_answer(operation, object_key, status, code, message)
