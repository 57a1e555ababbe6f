"""The whole port by boto3. It works everywhere: inside moto's ``mock_aws``, after a fork and under gevent too."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from ..._types import Bytes
from ...config import EXPRESS, Config
from ...errors import (
    AccessDenied,
    BucketMissing,
    CloudCachedError,
    NotFound,
    StoreError,
    StoreRefused,
    StoreTimeout,
    StoreUnreachable,
)
from ...runtime.budget import allowance
from ..failures import NO_ETAG, from_answer, is_bare_404, made
from ..limits import BATCH, EMPTY_CODES, check_batch, check_metadata, check_object_key, check_range
from ..port import (
    ABSENT,
    ALWAYS,
    Body,
    Found,
    Head,
    Listed,
    Matches,
    PlainHead,
    Store,
    UnmodifiedSince,
    WhenRemoved,
    Write,
)
from .deadlines import PIECE_BYTES, Deadline, StreamedUpload, Upload
from .session import UNMODIFIED_SINCE, Sessions

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

#: Seconds that a server may take for each part, on top of the timeout, to assemble an object.
_SECONDS_PER_PART = 0.02
#: The endings of the names of directory buckets (S3 Express), and of their access points.
_DIRECTORIES = (EXPRESS, "--xa-s3")
#: The part of a lifecycle configuration besides its rules: it is reset unless it is sent too.
_LEAST_SIZE = "TransitionDefaultMinimumObjectSize"


class _FoundByBoto3(Found):
    __slots__ = ("_body", "_fail")

    def __init__(self, head: Head, body: Any, fail: Callable[[Exception], CloudCachedError]) -> None:
        self.head = head
        self._body = body
        self._fail = fail

    def read(self) -> Bytes:
        try:
            return bytes(self._body.read())
        except Exception as exc:
            raise self._fail(exc) from exc

    def close(self) -> None:
        self._body.close()


class S3Store(Store):
    """A bucket, by boto3."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.sessions = Sessions(dict(config.s3), config.timeout)
        self._bucket = config.bucket
        self._is_directory = config.bucket.endswith(_DIRECTORIES)
        #: Server-side encryption for every PUT, under boto3's names.
        self._sse = dict(config.sse)
        #: Whether the bucket was seen: only until then does a bare 404 cost a request.
        self._bucket_seen = False

    def get(self, object_key: str, *, unless: str | None = None, timeout: float) -> Found:
        """Request an object, unless its ETag is *unless*. Raises ``NotFound``, ``NotModified``. **Cost:** 1 GET."""
        condition: dict[str, Any] = {} if unless is None else {"IfNoneMatch": f'"{unless}"'}
        answer = self._call("get", object_key, timeout, "get_object", Key=object_key, **condition)
        return _FoundByBoto3(
            self._head("get", object_key, answer),
            answer["Body"],
            functools.partial(self._failure, "get", object_key, timeout),
        )

    def get_first(self, object_key: str, length: int, *, timeout: float) -> Found:
        """Request the beginning of an object. **Cost:** 1 GET; for an empty object 1 more."""
        check_range(object_key, 0, length)
        try:
            answer = self._call("get", object_key, timeout, "get_object", Key=object_key, Range=f"bytes=0-{length - 1}")
        except StoreRefused as error:
            if error.code not in EMPTY_CODES:
                raise
            return self.get(object_key, timeout=timeout)
        head = self._head("get", object_key, answer)
        total = answer.get("ContentRange", "").rpartition("/")[2]
        if not total.isdecimal():
            answer["Body"].close()
            raise made(StoreRefused, "get", object_key, "the store does not answer ranges")
        fail = functools.partial(self._failure, "get", object_key, timeout)
        return _FoundByBoto3(head._replace(size=int(total)), answer["Body"], fail)

    def get_range(self, object_key: str, start: int, length: int, *, etag: str, timeout: float) -> Sequence[Bytes]:
        """Return a part of exactly the version *etag*. **Cost:** 1 GET."""
        check_range(object_key, start, length)
        wanted = f"bytes={start}-{start + length - 1}"
        answer = self._call("get", object_key, timeout, "get_object", Key=object_key, Range=wanted, IfMatch=etag)
        if answer["ResponseMetadata"]["HTTPStatusCode"] != 206:  # noqa: PLR2004
            answer["Body"].close()
            raise made(StoreRefused, "get", object_key, "the store does not answer ranges")
        try:
            return [bytes(answer["Body"].read())]
        except Exception as exc:
            raise self._failure("get", object_key, timeout, exc) from exc

    def head(self, object_key: str, *, timeout: float) -> Head:
        """Return an object's headers. Raises ``NotFound``. **Cost:** 1 HEAD."""
        return self._head("head", object_key, self._call("head", object_key, timeout, "head_object", Key=object_key))

    def put(self, write: Write, *, timeout: float) -> str:
        """Write an object and return its ETag. **Atomicity:** the store's. **Cost:** 1 PUT."""
        object_key, when = write.object_key, write.when
        arguments = self._new(object_key, write.metadata, write.tags)
        if when is ABSENT:
            arguments["IfNoneMatch"] = "*"
        elif isinstance(when, Matches):
            arguments["IfMatch"] = when.etag  # without quotes: Ceph 16 accepts no other form
        self.sessions.connection()  # making the first one must not use up the time for sending
        deadline = Deadline(timeout + allowance(len(write.body)))
        arguments["Body"] = sent = _sent(write.body, deadline)
        try:
            answer = self._call("put", object_key, timeout, "put_object", deadline, **arguments)
        except StoreError as error:
            if isinstance(sent, StreamedUpload) and sent.error is not None:
                raise sent.error from error
            raise
        return _etag("put", object_key, answer)

    def create_upload(
        self, object_key: str, metadata: Mapping[str, str], *, tags: Mapping[str, str] | None = None, timeout: float
    ) -> str:
        """Begin to write an object in parts. **Cost:** 1 POST."""
        arguments = self._new(object_key, metadata, tags)
        return str(self._call("put", object_key, timeout, "create_multipart_upload", **arguments)["UploadId"])

    def put_part(self, object_key: str, upload: str, number: int, body: Bytes, *, timeout: float) -> str:
        """Send a part. **Cost:** 1 PUT."""
        self.sessions.connection()
        deadline = Deadline(timeout + allowance(len(body)))
        arguments = {"Key": object_key, "UploadId": upload, "PartNumber": number, "Body": _sent(body, deadline)}
        return _etag("put", object_key, self._call("put", object_key, timeout, "upload_part", deadline, **arguments))

    def complete_upload(self, object_key: str, upload: str, etags: Sequence[str], *, timeout: float) -> None:
        """Assemble the object from its parts. **Atomicity:** the store's. **Cost:** 1 POST."""
        parts = [{"PartNumber": number, "ETag": f'"{etag}"'} for number, etag in enumerate(etags, 1)]
        arguments = {"Key": object_key, "UploadId": upload, "MultipartUpload": {"Parts": parts}}
        # Servers assemble it before they answer, or while they send blanks. Ceph 16 then sends no ETag.
        deadline = Deadline(timeout + len(parts) * _SECONDS_PER_PART) if timeout > 0 else None
        self._call("put", object_key, timeout, "complete_multipart_upload", deadline, **arguments)

    def abort_upload(self, object_key: str, upload: str, *, timeout: float) -> None:
        """Drop an upload and its parts. **Cost:** 1 DELETE."""
        try:
            self._call("delete", object_key, timeout, "abort_multipart_upload", Key=object_key, UploadId=upload)
        except StoreRefused as error:
            if error.code != "NoSuchUpload":
                raise

    def delete(self, object_key: str, *, when: WhenRemoved = ALWAYS, timeout: float) -> None:
        """Remove an object. **Atomicity:** the store's. **Cost:** 1 DELETE."""
        condition: dict[str, Any] = {}
        if isinstance(when, Matches):
            condition["IfMatch"] = when.etag
        elif isinstance(when, UnmodifiedSince):
            condition[UNMODIFIED_SINCE] = when.moment
        try:
            self._call("delete", object_key, timeout, "delete_object", Key=object_key, **condition)
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
        wanted = {"Objects": [{"Key": name} for name in names], "Quiet": True}
        answer = self._call("delete", "", timeout, "delete_objects", Delete=wanted)
        failures = {}
        for error in answer.get("Errors", ()):
            name, code = error.get("Key", ""), error.get("Code", "")
            if code != "NoSuchKey":
                failures[name] = from_answer("delete", name, 0, code, error.get("Message", ""))
        return failures

    def list(self, prefix: str, *, after: str = "", timeout: float) -> tuple[list[Listed], bool]:
        """Return one page of the objects under *prefix*; all of them on S3 Express.

        **Cost:** 1 LIST; on S3 Express 1 for each 1,000 objects, each with the whole *timeout*, as for pages elsewhere.
        """
        if self._is_directory:
            # Directory buckets are listed in no order, under whole segments only, and not from a given name. So the
            # end of a page does not say what is left; a continuation token does, but it belongs to one listing, and the
            # port has no place for it. Only all rows, sorted, keep the port's promise. They fit in memory at a few
            # hundred bytes each: where a gigabyte costs that much, caches are small.
            rows = (row for row in self._directory(prefix, timeout) if row.object_key.startswith(prefix))
            behind = (row for row in rows if row.object_key > after)
            return sorted(behind, key=lambda row: row.object_key), False
        start: dict[str, Any] = {"StartAfter": after} if after else {}
        answer = self._call("list", "", timeout, "list_objects_v2", Prefix=prefix, MaxKeys=BATCH, **start)
        return [*_rows(answer)], bool(answer.get("IsTruncated"))

    def _directory(self, prefix: str, timeout: float) -> Iterator[Listed]:
        """Yield the objects of a directory bucket under the whole segments of *prefix*, unordered."""
        segments = prefix[: prefix.rfind("/") + 1]
        arguments: dict[str, Any] = {"Prefix": segments} if segments else {}
        while True:
            answer = self._call("list", "", timeout, "list_objects_v2", MaxKeys=BATCH, **arguments)
            yield from _rows(answer)
            token = answer.get("NextContinuationToken")
            if not token:
                return
            arguments["ContinuationToken"] = token

    def lifecycle(self, *, timeout: float) -> dict[str, Any]:
        """Return the bucket's lifecycle configuration, in the form for ``put_lifecycle``. **Cost:** 1 request."""
        try:
            answer = self._call("get", "", timeout, "get_bucket_lifecycle_configuration")
        except NotFound:
            return {"Rules": []}
        return {name: answer[name] for name in ("Rules", _LEAST_SIZE) if name in answer}

    def put_lifecycle(self, configuration: Mapping[str, Any], *, timeout: float) -> None:
        """Replace the bucket's whole lifecycle configuration. **Atomicity:** the last writer wins. **Cost:** 1 request."""
        if not configuration["Rules"]:
            self._call("delete", "", timeout, "delete_bucket_lifecycle")
            return
        more = {name: configuration[name] for name in (_LEAST_SIZE,) if name in configuration}
        rules = {"Rules": configuration["Rules"]}
        self._call("put", "", timeout, "put_bucket_lifecycle_configuration", LifecycleConfiguration=rules, **more)

    def is_versioned(self, *, timeout: float) -> bool:
        """Whether the bucket keeps, or once kept, old versions. **Cost:** 1 request."""
        return bool(self._call("get", "", timeout, "get_bucket_versioning").get("Status"))

    def close(self) -> None:
        """Close the connections. The store can be used again afterwards."""
        self.sessions.close()

    def missing(self, operation: str, object_key: str, timeout: float) -> CloudCachedError:
        """Return the error for a 404 that does not say what is missing: the object, or the bucket.

        **Cost:** 1 HeadBucket, until the bucket has been seen once.
        """
        if not self._bucket_seen:
            try:
                self._call("head", "", timeout, "head_bucket")
            except AccessDenied:
                # Without the right to list, AWS answers 403 for a missing object: this 404 comes from elsewhere.
                pass
            except CloudCachedError as error:
                return error
            self._bucket_seen = True
        return made(NotFound, operation, object_key, "there is no such object", "404")

    def _call(
        self,
        operation: str,
        object_key: str,
        timeout: float,
        verb: str,
        deadline: Deadline | None = None,
        **arguments: Any,
    ) -> dict[str, Any]:
        """Send one request by the client's method *verb*, and translate its exceptions."""
        if timeout <= 0:
            raise made(StoreTimeout, operation, object_key, "no time is left")
        if "Key" in arguments:
            check_object_key(operation, object_key)
        connection = self.sessions.connection()
        client: S3Client = connection.client
        try:
            with connection.http.until(deadline or Deadline(timeout)):
                answer: dict[str, Any] = getattr(client, verb)(Bucket=self._bucket, **arguments)
        except Exception as exc:
            raise self._failure(operation, object_key, timeout, exc) from exc
        return answer

    def _new(self, object_key: str, metadata: Mapping[str, str], tags: Mapping[str, str] | None) -> dict[str, Any]:
        """Return boto3's arguments for a new object, without its body. Raises ``StoreRefused`` for bad metadata."""
        check_metadata(object_key, metadata)
        arguments: dict[str, Any] = {"Key": object_key, "Metadata": metadata, **self._sse}
        if tags:
            arguments["Tagging"] = urlencode(tags)
        return arguments

    def _failure(self, operation: str, object_key: str, timeout: float, exc: Exception) -> CloudCachedError:
        """Return our error for an exception of boto3."""
        if isinstance(exc, StoreError):  # from the deadline below botocore, which does not know the object
            return made(type(exc), operation, object_key, str(exc))
        answer = getattr(exc, "response", None)
        if not isinstance(answer, dict):
            return made(kind_of(exc), operation, object_key, f"{type(exc).__name__}: {exc}")
        error = answer.get("Error", {})
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code = str(error.get("Code", ""))
        if is_bare_404(status, code):
            if object_key:
                return self.missing(operation, object_key, timeout)
            return made(BucketMissing, operation, object_key, f"there is no bucket {self._bucket}", "404")
        return from_answer(operation, object_key, status, code, error.get("Message", ""))

    def _head(self, operation: str, object_key: str, answer: Mapping[str, Any]) -> PlainHead:
        from email.utils import parsedate_to_datetime  # noqa: PLC0415 - comes with botocore

        etag = _etag(operation, object_key, answer)
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        date = headers.get("date")
        return PlainHead(
            {name.lower(): value for name, value in answer["Metadata"].items()},
            etag,
            answer["ContentLength"],
            answer["LastModified"].timestamp(),
            parsedate_to_datetime(date).timestamp() if date else None,
        )


def _rows(answer: Mapping[str, Any]) -> Iterator[Listed]:
    for row in answer.get("Contents", ()):
        yield Listed(row["Key"], row.get("ETag", "").strip('"'), row["Size"], row["LastModified"].timestamp())


def _sent(body: Body, deadline: Deadline) -> Any:
    if not isinstance(body, (bytes, bytearray, memoryview)):
        return StreamedUpload(body, deadline)
    return bytes(body) if len(body) <= PIECE_BYTES else Upload(body, deadline)


def _etag(operation: str, object_key: str, answer: Mapping[str, Any]) -> str:
    etag = answer.get("ETag")
    if not etag:
        raise made(StoreRefused, operation, object_key, NO_ETAG)
    return str(etag).strip('"')


def kind_of(exc: BaseException) -> type[StoreError]:
    """Return our class for an exception, of botocore or below it, that carries no answer."""
    for base in type(exc).__mro__:
        kind = KINDS.get(base.__name__)
        if kind is not None:
            return kind
    return StoreRefused


#: By the name of the class or its nearest ancestor; all other exceptions of botocore refuse the request itself.
KINDS: Mapping[str, type[StoreError]] = {
    # the wire
    "ChecksumError": StoreUnreachable,
    "ConnectionError": StoreUnreachable,
    "FlexibleChecksumError": StoreUnreachable,
    "HTTPClientError": StoreUnreachable,
    "IncompleteReadError": StoreUnreachable,
    "OSError": StoreUnreachable,
    "ReadTimeoutError": StoreTimeout,
    # no credentials to sign with
    "CredentialRetrievalError": AccessDenied,
    "LoginError": AccessDenied,
    "MetadataRetrievalError": AccessDenied,
    "NoAuthTokenError": AccessDenied,
    "NoCredentialsError": AccessDenied,
    "PartialCredentialsError": AccessDenied,
    "RefreshWithMFAUnsupportedError": AccessDenied,
    "SSOError": AccessDenied,
    "TokenRetrievalError": AccessDenied,
    "UnknownCredentialError": AccessDenied,
}
