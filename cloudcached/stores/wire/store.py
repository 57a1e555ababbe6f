"""The port over the wire."""

from __future__ import annotations

import base64
import hashlib
import re
from calendar import timegm
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlencode

from ..._types import Bytes
from ...config import Config
from ...errors import (
    AccessDenied,
    BucketMissing,
    CloudCachedError,
    NotFound,
    PreconditionFailed,
    StoreError,
    StoreRefused,
    StoreTimeout,
    StoreUnreachable,
)
from ...runtime.forks import PerProcess
from ..failures import NO_ETAG, from_answer, is_bare_404, made
from ..limits import BATCH, EMPTY_CODES, check_batch, check_metadata, check_object_key, check_range
from ..port import (
    ABSENT,
    ALWAYS,
    Found,
    Head,
    Listed,
    Matches,
    Store,
    UnmodifiedSince,
    WhenRemoved,
    Write,
)
from . import xml
from .clock import ServerClock, monotonic
from .connection import Deadline, Endpoint
from .exchange import EXPECT_BYTES, Reply, exchange
from .pool import POOL
from .request import Ask, Keys, Place, head_of

#: Bytes of an answer that is not an object: an error, a listing.
_ANSWER_LIMIT: Final = 16 << 20
#: Seconds that a server may take for each part, on top of the timeout, to assemble an object.
_SECONDS_PER_PART: Final = 0.02
#: Seconds by which a machine's clock may be off before S3 refuses its signatures.
_SKEW_SECONDS: Final = 300.0
_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})", re.ASCII)
_REGION: Final = re.compile(r"[a-z0-9-]{1,64}", re.ASCII)
_DATE: Final = re.compile(r"\w{3}, (\d\d) (\w{3}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT", re.ASCII)
_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"], 1
    )
}
_META: Final = "x-amz-meta-"
#: Bytes of an entry besides its value: its key, its seal.
_OVERHEAD_BYTES: Final = 1 << 20
_EXPECTATION_FAILED: Final = 417


class Line:
    """Where one bucket is, and who asks: the result of boto3's chain, with what was learned since."""

    def __init__(self, endpoint: Endpoint, place: Place, keys: Callable[[float], Keys], sse: Mapping[str, str]) -> None:
        self.endpoint = endpoint
        self.place = place
        #: Returns the keys that are valid now, within so many seconds.
        self.keys = keys
        #: Headers for what is written.
        self.sse = sse
        self.clock = ServerClock()
        #: Whether the server answers ``expect: 100-continue``.
        self.expects = True


@lru_cache(256)  # the same within a second, and for what is read often
def seconds_of(date: str) -> float:
    """Return an HTTP date in epoch seconds. Raises ``StoreRefused`` for what is none."""
    found = _DATE.fullmatch(date)
    if found is None or found[2] not in _MONTHS:
        raise StoreRefused(f"not a date of HTTP: {date[:40]!r}")
    day, _, year, hour, minute, second = found.groups()
    try:
        return float(timegm((int(year), _MONTHS[found[2]], int(day), int(hour), int(minute), int(second), 0, 0, 0)))
    except ValueError as error:  # the year 0
        raise StoreRefused(f"not a date of HTTP: {date[:40]!r}") from error


class WireHead:
    """An object's headers, of which most are worked out when they are asked for."""

    __slots__ = ("_headers", "etag", "size")

    def __init__(self, headers: Mapping[str, str], etag: str, size: int) -> None:
        self._headers = headers
        self.etag = etag
        self.size = size

    @property
    def metadata(self) -> Mapping[str, str]:
        """The user metadata."""
        cut = len(_META)
        return {name[cut:]: value for name, value in self._headers.items() if name[:cut] == _META}

    @property
    def modified(self) -> float:
        """The time of the write."""
        return seconds_of(self._headers.get("last-modified", ""))

    @property
    def date(self) -> float | None:
        """The server's clock when it answered."""
        date = self._headers.get("date")
        return None if date is None else seconds_of(date)


class _FoundOnWire(Found):
    __slots__ = ("_named", "_reply")

    def __init__(self, head: Head, reply: Reply, named: Callable[[StoreError], StoreError]) -> None:
        self.head = head
        self._reply = reply
        self._named = named

    def read(self) -> Bytes:
        try:
            return self._reply.read()
        except StoreError as error:
            self._reply.close()
            raise self._named(error) from error

    def pieces(self) -> Iterable[Bytes]:
        try:
            yield from self._reply.pieces()
        except StoreError as error:
            raise self._named(error) from error

    def close(self) -> None:
        self._reply.close()


class WireStore(Store):
    """A bucket over sockets of our own.

    locate: returns the bucket's line; called once per process, at the first request. bucket: for messages.
    """

    def __init__(self, config: Config, locate: Callable[[], Line]) -> None:
        self._bucket = config.bucket
        #: Bytes of an object of unknown size: one that is larger could not be read anyway.
        self._limit = config.max_value_bytes + _OVERHEAD_BYTES
        self._line: PerProcess[Line] = PerProcess(locate)
        #: Whether the bucket was seen: only until then does a bare 404 cost a request.
        self._bucket_seen = False

    def get(self, object_key: str, *, unless: str | None = None, timeout: float) -> Found:
        """Request an object, unless its ETag is *unless*. Raises ``NotFound``, ``NotModified``. **Cost:** 1 GET."""
        headers = _NO_HEADERS if unless is None else {"if-none-match": f'"{unless}"'}
        return self._found("get", object_key, Ask("GET", object_key, headers=headers), timeout)

    def get_first(self, object_key: str, length: int, *, timeout: float) -> Found:
        """Request the beginning of an object. **Cost:** 1 GET; for an empty object 1 more."""
        check_range(object_key, 0, length)
        end = monotonic() + timeout
        try:
            ask = Ask("GET", object_key, headers={"range": f"bytes=0-{length - 1}"})
            reply = self._ask("get", object_key, ask, timeout)
        except StoreRefused as error:
            if error.code not in EMPTY_CODES:
                raise
            return self.get(object_key, timeout=end - monotonic())
        whole = reply.head.length
        if reply.head.status == 200 and whole is not None and whole <= length:  # noqa: PLR2004
            total = whole  # from a server that answers no ranges
        else:
            total = self._total(object_key, reply, 0, length)
        return self._object("get", object_key, reply, total)

    def get_range(self, object_key: str, start: int, length: int, *, etag: str, timeout: float) -> Sequence[Bytes]:
        """Return a part of exactly the version *etag*. **Cost:** 1 GET."""
        check_range(object_key, start, length)
        headers = {"range": f"bytes={start}-{start + length - 1}", "if-match": f'"{etag}"'}
        reply = self._ask("get", object_key, Ask("GET", object_key, headers=headers), timeout)
        self._total(object_key, reply, start, length)
        found = self._object("get", object_key, reply, 0)
        if found.head.etag != etag:  # some servers ignore the condition, and answer with another version
            reply.close()
            raise made(PreconditionFailed, "get", object_key, "the object was rewritten: another version has come")
        return [found.read()]

    def head(self, object_key: str, *, timeout: float) -> Head:
        """Return an object's headers. Raises ``NotFound``. **Cost:** 1 HEAD."""
        return self._found("head", object_key, Ask("HEAD", object_key), timeout).head

    def put(self, write: Write, *, timeout: float) -> str:
        """Write an object and return its ETag. **Atomicity:** the store's. **Cost:** 1 PUT."""
        object_key, when = write.object_key, write.when
        headers = self._new(object_key, write.metadata, write.tags)
        if when is ABSENT:
            headers["if-none-match"] = "*"
        elif isinstance(when, Matches):
            headers["if-match"] = when.etag  # without quotes: Ceph 16 accepts no other form
        ask = Ask("PUT", object_key, headers=headers, body=write.body)
        return self._etag("put", object_key, self._ask("put", object_key, ask, timeout))

    def create_upload(
        self, object_key: str, metadata: Mapping[str, str], *, tags: Mapping[str, str] | None = None, timeout: float
    ) -> str:
        """Begin to write an object in parts. **Cost:** 1 POST."""
        headers = self._new(object_key, metadata, tags)
        ask = Ask("POST", object_key, (("uploads", ""),), headers)
        upload: str = self._read("put", object_key, ask, timeout, xml.upload_id)
        return upload

    def put_part(self, object_key: str, upload: str, number: int, body: Bytes, *, timeout: float) -> str:
        """Send a part. **Cost:** 1 PUT."""
        query = (("partNumber", str(number)), ("uploadId", upload))
        ask = Ask("PUT", object_key, query, _NO_HEADERS, body)
        return self._etag("put", object_key, self._ask("put", object_key, ask, timeout))

    def complete_upload(self, object_key: str, upload: str, etags: Sequence[str], *, timeout: float) -> None:
        """Assemble the object from its parts. **Atomicity:** the store's. **Cost:** 1 POST."""
        if timeout > 0:  # servers assemble it before they answer, or while they send blanks
            timeout += len(etags) * _SECONDS_PER_PART
        ask = Ask("POST", object_key, (("uploadId", upload),), _NO_HEADERS, xml.complete_request(etags))

        def check(body: bytes) -> None:
            if xml.is_error(body):
                code, message = xml.error_of(body)
                raise from_answer("put", object_key, 500, code, message)
            xml.check_completed(body)

        self._read("put", object_key, ask, timeout, check)

    def abort_upload(self, object_key: str, upload: str, *, timeout: float) -> None:
        """Drop an upload and its parts. **Cost:** 1 DELETE."""
        try:
            self._ask("delete", object_key, Ask("DELETE", object_key, (("uploadId", upload),)), timeout).close()
        except StoreRefused as error:
            if error.code != "NoSuchUpload":
                raise

    def delete(self, object_key: str, *, when: WhenRemoved = ALWAYS, timeout: float) -> None:
        """Remove an object. **Atomicity:** the store's. **Cost:** 1 DELETE."""
        headers: dict[str, str] = {}
        if isinstance(when, Matches):
            headers["if-match"] = f'"{when.etag}"'
        elif isinstance(when, UnmodifiedSince):
            import datetime as dt  # noqa: PLC0415 - Ceph's purge alone needs it

            moment = dt.datetime.fromtimestamp(when.moment, dt.timezone.utc)
            headers["x-amz-delete-if-unmodified-since"] = f"{moment:%Y-%m-%d %H:%M:%S}"
        try:
            self._ask("delete", object_key, Ask("DELETE", object_key, headers=headers), timeout).close()
        except NotFound:
            return  # as some stores answer

    def delete_many(self, object_keys: Iterable[str], *, timeout: float) -> dict[str, StoreError]:
        """Remove up to 1,000 objects. **Cost:** 1 DeleteObjects; none for no keys."""
        names = list(object_keys)
        check_batch(names)
        for name in names:
            check_object_key("delete", name)
        if not names:
            return {}
        body = xml.delete_request(names)
        digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        ask = Ask("POST", None, (("delete", ""),), {"content-md5": digest, "content-type": "application/xml"}, body)
        return {
            name: from_answer("delete", name, 0, code, message)
            for name, code, message in self._read("delete", "", ask, timeout, xml.delete_errors)
            if code != "NoSuchKey"
        }

    def list(self, prefix: str, *, after: str = "", timeout: float) -> tuple[list[Listed], bool]:
        """Return one page of the objects under *prefix*. **Cost:** 1 LIST."""
        query = [("encoding-type", "url"), ("list-type", "2"), ("max-keys", str(BATCH)), ("prefix", prefix)]
        if after:
            query.append(("start-after", after))
        end = monotonic() + timeout
        rows, more, token = self._read("list", "", Ask("GET", None, query), timeout, xml.page_of)
        while more and not rows:  # S3 has passed over names that were removed; only the token leads on
            asked = Ask("GET", None, [*query, ("continuation-token", token)])
            rows, more, token = self._read("list", "", asked, end - monotonic(), xml.page_of)
        return rows, more

    def close(self) -> None:
        """Close the connections. The store can be used again afterwards."""
        line = self._line.peek()
        if line is not None:
            POOL.close(line.endpoint)

    def line(self) -> Line:
        """Return this process's line to the bucket, made at the first call. Raises what making it raises."""
        return self._line()

    # Asking

    def _found(self, operation: str, object_key: str, ask: Ask, timeout: float) -> Found:
        reply = self._ask(operation, object_key, ask, timeout)
        length = reply.head.headers.get("content-length")
        if length is None:
            # A proxy may send an object in chunks, and a HEAD without a length: the body tells.
            length = str(len(_whole(operation, object_key, reply, self._limit)))
        return self._object(operation, object_key, reply, int(length))

    def _object(self, operation: str, object_key: str, reply: Reply, size: int) -> Found:
        head = WireHead(reply.head.headers, self._etag(operation, object_key, reply), size)
        return _FoundOnWire(head, reply, lambda error: made(type(error), operation, object_key, str(error)))

    def _read(self, operation: str, object_key: str, ask: Ask, timeout: float, parse: Callable[[bytes], Any]) -> Any:
        """Return what *parse* makes of the answer's body."""
        reply = self._ask(operation, object_key, ask, timeout)
        try:
            return parse(_bounded(reply))
        except StoreError as error:
            reply.close()
            if error.object_key or error.operation:
                raise
            raise made(type(error), operation, object_key, str(error)) from error

    @staticmethod
    def _total(object_key: str, reply: Reply, start: int, length: int) -> int:
        """Return the size of the object of which a range has come. Raises ``StoreRefused`` if it is not the one asked for."""
        found = _RANGE.fullmatch(reply.head.headers.get("content-range", ""))
        if reply.head.status != 206 or found is None:  # noqa: PLR2004
            reply.close()
            raise made(StoreRefused, "get", object_key, "the store does not answer ranges")
        first, last, total = (int(number) for number in found.groups())
        size = reply.head.length
        if size is None:  # in chunks
            size = len(_whole("get", object_key, reply, length))
        if first != start or last != min(start + length, total) - 1 or size != last - first + 1:
            reply.close()
            raise made(StoreRefused, "get", object_key, f"another range has come: {found[0]}, {size} bytes")
        return total

    def _etag(self, operation: str, object_key: str, reply: Reply) -> str:
        etag = reply.head.headers.get("etag", "").removeprefix("W/").strip('"')
        if not etag:
            reply.close()
            raise made(StoreRefused, operation, object_key, NO_ETAG)
        return etag

    def _new(self, object_key: str, metadata: Mapping[str, str], tags: Mapping[str, str] | None) -> dict[str, str]:
        """Return the headers of a new object. Raises ``StoreRefused`` for bad metadata."""
        check_metadata(object_key, metadata)
        headers = {_META + name: value for name, value in metadata.items()}
        headers.update(self._line().sse)
        if tags:
            headers["x-amz-tagging"] = urlencode(tags)
        return headers

    def _ask(self, operation: str, object_key: str, ask: Ask, timeout: float) -> Reply:
        """Send one request; return its answer, or raise the error that it is.

        A request that was refused for its time or its region was not done: it is asked once more by what was learned.
        """
        if timeout <= 0:
            raise made(StoreTimeout, operation, object_key, "no time is left")
        if ask.object_key is not None:  # an empty name would be the bucket's own
            check_object_key(operation, object_key)
        deadline = Deadline(timeout, len(ask.body))
        line = self._line()
        try:
            reply = self._exchange(line, ask, deadline)
            if _is_good(ask, reply):
                return reply
            if self._learned(line, reply):
                reply.close()
                reply = self._exchange(line, ask, deadline)
                if _is_good(ask, reply):
                    return reply
        except StoreError as error:  # from below, where the object is not known
            raise made(type(error), operation, object_key, str(error)) from error
        raise self._error(operation, object_key, ask, reply, deadline)

    @staticmethod
    def _exchange(line: Line, ask: Ask, deadline: Deadline) -> Reply:
        keys, headers = line.keys(deadline.left()), ask.headers
        expects = line.expects and len(ask.body) >= EXPECT_BYTES
        if expects:
            ask = ask._replace(headers={**headers, "expect": "100-continue"})
        head = head_of(ask, line.place, keys, line.clock.now())
        reply = exchange(line.endpoint, head, ask, deadline, expects=expects)
        if expects and (reply.ignored_expect or reply.head.status == _EXPECTATION_FAILED):
            line.expects = False
            if not reply.ignored_expect:  # refused for that alone: it was not done
                reply.close()
                return WireStore._exchange(line, ask._replace(headers=headers), deadline)
        return reply

    @staticmethod
    def _learned(line: Line, reply: Reply) -> bool:
        """Return whether an answer tells how to ask: at what time, or in which region."""
        head = reply.head
        region = head.headers.get("x-amz-bucket-region")
        is_redirect = head.status in (301, 307, 400)
        if is_redirect and region and region != line.place.region and _REGION.fullmatch(region):
            host = line.place.host.replace(f".{line.place.region}.amazonaws.", f".{region}.amazonaws.")
            line.endpoint = line.endpoint._replace(
                host=line.endpoint.host.replace(f".{line.place.region}.amazonaws.", f".{region}.amazonaws.")
            )
            line.place = line.place._replace(region=region, host=host)
            return True
        if head.status != 403 or "date" not in head.headers:  # noqa: PLR2004
            return False
        try:
            date = seconds_of(head.headers["date"])
        except StoreRefused:
            return False
        if abs(date - line.clock.now()) <= _SKEW_SECONDS:
            return False
        line.clock.learn(date)
        return True

    def _error(self, operation: str, object_key: str, ask: Ask, reply: Reply, deadline: Deadline) -> CloudCachedError:
        status = reply.head.status
        try:
            code, message = xml.error_of(_bounded(reply))
        except StoreError:
            code, message = "", ""
        reply.close()
        if is_bare_404(status, code):
            if ask.object_key is not None:
                return self.missing(operation, object_key, deadline.remaining)
            return made(BucketMissing, operation, object_key, f"there is no bucket {self._bucket}", "404")
        return from_answer(operation, object_key, status, code, message)

    def missing(self, operation: str, object_key: str, timeout: float) -> CloudCachedError:
        """Return the error for a 404 that does not say what is missing: the object, or the bucket.

        **Cost:** 1 HeadBucket, until the bucket has been seen once.
        """
        if not self._bucket_seen:
            try:
                self._ask("head", "", Ask("HEAD"), timeout).close()
            except AccessDenied:
                # Without the right to list, AWS answers 403 for a missing object: this 404 comes from elsewhere.
                pass
            except CloudCachedError as error:
                return error
            self._bucket_seen = True
        return made(NotFound, operation, object_key, "there is no such object", "404")


def _is_good(ask: Ask, reply: Reply) -> bool:
    """Return whether a request was done, and not only a part of it."""
    status = reply.head.status
    return status in (200, 204) or (status == 206 and "range" in ask.headers)  # noqa: PLR2004


_NO_HEADERS: Final[dict[str, str]] = {}


def _whole(operation: str, object_key: str, reply: Reply, limit: int) -> Bytes:
    """Return a body without a length, of at most *limit* bytes."""
    try:
        return reply.read(limit)
    except StoreError as error:
        raise made(type(error), operation, object_key, str(error)) from error


def _bounded(reply: Reply) -> bytes:
    length = reply.head.length
    if length is not None and length > _ANSWER_LIMIT:
        raise StoreUnreachable(f"an answer of {length:,} bytes")
    return bytes(reply.read(_ANSWER_LIMIT))
