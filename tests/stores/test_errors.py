"""Every foreign error, by both transports, becomes the error of ours that it means."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from scripted_server import (
    ScriptedServer,
    answer,
    error,
    half,
    hang_up,
    in_turn,
    nonsense,
    refusing,
    reset,
    silence,
    stall,
    trickle,
)

from cloudcached import (
    AccessDenied,
    BucketMissing,
    NotFound,
    PreconditionFailed,
    StoreBusy,
    StoreError,
    StoreRefused,
    StoreTimeout,
    StoreUnreachable,
)
from cloudcached.config import Config
from cloudcached.stores.boto3.store import S3Store
from cloudcached.stores.port import ABSENT, ALWAYS, Matches, Store, Write
from cloudcached.stores.transport import Transport

KEY = "prefix/ab/key"
#: Seconds; one test after the other would be long with silence, and a busy machine does not answer in half of one.
TIMEOUT, SHORT = 10.0, 0.4
ETAG = "0123456789abcdef0123456789abcdef"

OPERATIONS: dict[str, Callable[[Store], Any]] = {
    "get": lambda store: store.get(KEY, timeout=TIMEOUT).read(),
    "range": lambda store: store.get_range(KEY, 0, 100, etag=ETAG, timeout=TIMEOUT),
    "head": lambda store: store.head(KEY, timeout=TIMEOUT),
    "put": lambda store: store.put(Write(KEY, b"x", {"cc-a": "1"}, when=ALWAYS), timeout=TIMEOUT),
    "put absent": lambda store: store.put(Write(KEY, b"x", {"cc-a": "1"}, when=ABSENT), timeout=TIMEOUT),
    "put matches": lambda store: store.put(Write(KEY, b"x", {"cc-a": "1"}, when=Matches(ETAG)), timeout=TIMEOUT),
    "delete": lambda store: store.delete(KEY, timeout=TIMEOUT),
    "delete_many": lambda store: store.delete_many([KEY], timeout=TIMEOUT),
    "list": lambda store: store.list("prefix/", timeout=TIMEOUT),
}
READING = ("get", "range")
PUTS = ("put", "put absent", "put matches")

ANSWERS = [
    (400, "ExpiredToken", AccessDenied),
    (400, "InvalidToken", AccessDenied),
    (400, "TokenRefreshRequired", AccessDenied),
    (401, "Unauthorized", AccessDenied),
    (403, "AccessDenied", AccessDenied),
    (403, "InvalidAccessKeyId", AccessDenied),
    (403, "RequestTimeTooSkewed", AccessDenied),
    (403, "SignatureDoesNotMatch", AccessDenied),
    (404, "NoSuchBucket", BucketMissing),
    (400, "BadDigest", StoreUnreachable),
    (400, "IncompleteBody", StoreUnreachable),
    (400, "XAmzContentSHA256Mismatch", StoreUnreachable),
    (400, "RequestTimeout", StoreTimeout),
    (408, "RequestTimeout", StoreTimeout),
    (409, "ConditionalRequestConflict", StoreBusy),
    (409, "OperationAborted", StoreBusy),
    (429, "TooManyRequests", StoreBusy),
    (500, "InternalError", StoreBusy),
    (502, "", StoreBusy),
    (503, "SlowDown", StoreBusy),
    (503, "ServiceUnavailable", StoreBusy),
    (504, "", StoreBusy),
    (400, "InvalidRequest", StoreRefused),
    (400, "KeyTooLongError", StoreRefused),
    (405, "MethodNotAllowed", StoreRefused),
    (416, "InvalidRange", StoreRefused),
    (501, "NotImplemented", StoreRefused),
    (412, "PreconditionFailed", PreconditionFailed),
]


@pytest.fixture(scope="module")
def scripted() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


@pytest.fixture(scope="module", params=["boto3", "wire"])
def transport(request: pytest.FixtureRequest) -> str:
    return request.param


def store_at(endpoint: str, transport: str, timeout: float = TIMEOUT) -> Store:
    settings = {
        "endpoint_url": endpoint,
        "region_name": "us-east-1",
        "aws_access_key_id": "test",
        "aws_secret_access_key": "testsecret",
    }
    config = Config.parse("s3://bucket", {"transport": transport, "timeout": timeout, "s3": settings})
    return S3Store(config) if transport == "boto3" else Transport(config)


@pytest.fixture(scope="module")
def store(scripted: ScriptedServer, transport: str) -> Store:
    return store_at(scripted.endpoint, transport)


@pytest.fixture(scope="module")
def store_in_haste(scripted: ScriptedServer, transport: str) -> Store:
    return store_at(scripted.endpoint, transport, SHORT)


@pytest.fixture
def in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "TIMEOUT", SHORT)


@pytest.fixture
def fresh_store(scripted: ScriptedServer, transport: str) -> Store:
    """Give a store that knows nothing yet of its bucket."""
    return store_at(scripted.endpoint, transport)


def raised_by(store: Store, operation: str) -> StoreError:
    with pytest.raises(StoreError) as caught:
        OPERATIONS[operation](store)
    return caught.value


#: An answer to HEAD has no code: 400 and 404 have tests of their own.
TABLE = [
    (operation, *case)
    for operation in OPERATIONS
    for case in ANSWERS
    if operation != "head" or case[0] not in (400, 404)
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: "-".join(map(str, row[:3])))
def test_answers(scripted: ScriptedServer, store: Store, row: tuple[str, int, str, type[StoreError]]) -> None:
    operation, status, code, expected = row
    scripted.step = error(status, code, "Words for people")
    raised = raised_by(store, operation)
    assert type(raised) is expected
    assert raised.operation == operation.partition(" ")[0].replace("range", "get").replace("delete_many", "delete")
    assert raised.code in (code, str(status))
    if operation in PUTS and not isinstance(raised, (PreconditionFailed, StoreRefused, AccessDenied, BucketMissing)):
        assert raised.retryable, "nothing is known about the write"


@pytest.mark.parametrize("operation", PUTS)
@pytest.mark.parametrize("status", [409, 500, 503])
def test_a_contended_write_is_never_an_answer(
    scripted: ScriptedServer, store: Store, operation: str, status: int
) -> None:
    scripted.step = error(status, "")
    assert type(raised_by(store, operation)) is StoreBusy


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("step", [error(409, ""), error(500, ""), error(503, "SlowDown"), reset], ids=range(4))
def test_nothing_is_repeated(scripted: ScriptedServer, store: Store, operation: str, step: Any) -> None:
    scripted.step = step
    scripted.requests.clear()
    assert raised_by(store, operation).retryable
    assert len(scripted.requests) == 1


@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_such_key(scripted: ScriptedServer, store: Store, operation: str) -> None:
    scripted.step = error(404, "NoSuchKey")
    if operation == "delete":
        assert OPERATIONS[operation](store) is None
    elif operation != "head":
        expected = PreconditionFailed if operation in PUTS else NotFound
        assert type(raised_by(store, operation)) is expected


@pytest.mark.parametrize("operation", ["get", "range", "head"])
def test_bare_404(scripted: ScriptedServer, fresh_store: Store, operation: str) -> None:
    """A 404 that does not say what is missing is a miss only once the bucket was seen."""
    scripted.step = error(404, "")
    assert type(raised_by(fresh_store, operation)) is BucketMissing
    scripted.step = in_turn(error(404, ""), error(503, "SlowDown"))
    assert type(raised_by(fresh_store, operation)) is StoreBusy
    scripted.step = in_turn(error(404, ""), answer(200))
    scripted.requests.clear()
    assert type(raised_by(fresh_store, operation)) is NotFound
    assert len(scripted.requests) == 2
    scripted.step = error(404, "")
    scripted.requests.clear()
    assert type(raised_by(fresh_store, operation)) is NotFound
    assert len(scripted.requests) == 1, "the bucket is asked for once"


@pytest.mark.parametrize("operation", [*PUTS, "list", "delete_many"])
def test_bare_404_of_what_needs_no_object(scripted: ScriptedServer, fresh_store: Store, operation: str) -> None:
    scripted.step = error(404, "")
    assert not isinstance(raised_by(fresh_store, operation), NotFound)


def test_bare_400(scripted: ScriptedServer, store: Store) -> None:
    scripted.step = error(400, "")
    assert type(raised_by(store, "head")) is StoreRefused


def test_delete_many_tells_the_error_of_each_key(scripted: ScriptedServer, store: Store) -> None:
    errors = "".join(
        f"<Error><Key>{key}</Key><Code>{code}</Code><Message>m</Message></Error>"
        for key, code in (("a", "AccessDenied"), ("b", "InternalError"), ("c", "NoSuchKey"))
    )
    scripted.step = answer(200, f"<DeleteResult>{errors}</DeleteResult>".encode(), {"Content-Type": "application/xml"})
    failures = store.delete_many(["a", "b", "c", "d"], timeout=TIMEOUT)
    assert {key: type(value) for key, value in failures.items()} == {"a": AccessDenied, "b": StoreBusy}


# The wire


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("step", [reset, hang_up, nonsense], ids=lambda step: step.__name__)
def test_broken_connections(scripted: ScriptedServer, store: Store, operation: str, step: Any) -> None:
    scripted.step = step
    assert isinstance(raised_by(store, operation), StoreUnreachable)


@pytest.mark.parametrize("operation", READING)
@pytest.mark.parametrize("step", [half(), half(then=reset)], ids=["closed", "reset"])
def test_half_a_body(scripted: ScriptedServer, store: Store, operation: str, step: Any) -> None:
    scripted.step = as_range(step) if operation == "range" else step
    assert isinstance(raised_by(store, operation), StoreUnreachable)


def as_range(step: Any) -> Any:
    """Let a step say 206 where it says 200."""

    class Socket:
        def __init__(self, connection: Any) -> None:
            self._connection = connection

        def sendall(self, data: bytes) -> None:
            first = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-99/100"
            self._connection.sendall(data.replace(b"HTTP/1.1 200 OK", first))

        def __getattr__(self, name: str) -> Any:
            return getattr(self._connection, name)

    return lambda request, connection: step(request, Socket(connection))


def test_half_a_large_body(scripted: ScriptedServer, store: Store) -> None:
    scripted.step = half(3_000_000)
    assert isinstance(raised_by(store, "get"), StoreUnreachable)


@pytest.mark.parametrize("operation", ["delete_many", "list"])
def test_half_an_answer(scripted: ScriptedServer, store: Store, operation: str) -> None:
    scripted.step = half()
    assert isinstance(raised_by(store, operation), StoreUnreachable)


def timed(store: Store, operation: str) -> StoreError:
    began = time.monotonic()
    raised = raised_by(store, operation)
    assert time.monotonic() - began < 5 * SHORT
    return raised


@pytest.mark.usefixtures("in_haste")
@pytest.mark.parametrize("operation", OPERATIONS)
def test_silence(scripted: ScriptedServer, store_in_haste: Store, operation: str) -> None:
    scripted.step = silence(scripted)
    assert type(timed(store_in_haste, operation)) is StoreTimeout


@pytest.mark.usefixtures("in_haste")
@pytest.mark.parametrize("operation", READING)
def test_bodies_that_do_not_end(scripted: ScriptedServer, store_in_haste: Store, operation: str) -> None:
    for step in (trickle(scripted, size=100), stall(scripted)):
        scripted.step = as_range(step) if operation == "range" else step
        assert type(timed(store_in_haste, operation)) is StoreTimeout


@pytest.mark.usefixtures("in_haste")
@pytest.mark.parametrize("operation", ["delete", "delete_many", "list"])
def test_answers_that_do_not_end(scripted: ScriptedServer, store_in_haste: Store, operation: str) -> None:
    for status in (200, 503):
        scripted.step = trickle(scripted, status)
        assert type(timed(store_in_haste, operation)) is StoreTimeout


@pytest.mark.usefixtures("in_haste")
def test_a_refusal_of_a_write_that_does_not_end(scripted: ScriptedServer, store_in_haste: Store) -> None:
    scripted.step = trickle(scripted, 503)
    assert type(timed(store_in_haste, "put")) is StoreTimeout


@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_time_left(scripted: ScriptedServer, store: Store, operation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted.requests.clear()
    monkeypatch.setitem(globals(), "TIMEOUT", 0.0)
    assert type(raised_by(store, operation)) is StoreTimeout
    assert scripted.requests == []


@pytest.mark.parametrize("operation", OPERATIONS)
def test_nobody_there(transport: str, operation: str) -> None:
    with refusing() as endpoint:
        assert isinstance(raised_by(store_at(endpoint, transport), operation), StoreUnreachable)


@pytest.mark.parametrize("operation", ["get", "put", "list"])
def test_names_that_do_not_resolve(transport: str, operation: str) -> None:
    assert isinstance(raised_by(store_at("http://nowhere.invalid", transport), operation), StoreUnreachable)


@pytest.mark.parametrize("operation", ["get", "put", "list"])
def test_no_tls_where_it_was_expected(scripted: ScriptedServer, transport: str, operation: str) -> None:
    endpoint = scripted.endpoint.replace("http:", "https:")
    assert isinstance(raised_by(store_at(endpoint, transport), operation), StoreUnreachable)


# No S3 behind the endpoint


@pytest.mark.parametrize("operation", ["get", "head", *PUTS])
def test_answers_without_an_etag(scripted: ScriptedServer, store: Store, operation: str) -> None:
    scripted.step = lambda request, connection: connection.sendall(
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\n"
        + (b"" if request.method == "HEAD" else b"login")
    )

    def ask() -> None:
        if operation == "get":
            assert store.get(KEY, timeout=TIMEOUT).head.etag
        elif operation == "head":
            assert store.head(KEY, timeout=TIMEOUT).etag
        else:
            OPERATIONS[operation](store)

    with pytest.raises((StoreRefused, StoreBusy), match=r"no S3 store|500"):  # botocore takes such a 200 for a 500
        ask()


@pytest.mark.parametrize("operation", ["list", "delete_many"])
def test_answers_that_are_no_xml(scripted: ScriptedServer, store: Store, operation: str) -> None:
    scripted.step = answer(200, b"<html>please log in", {"Content-Type": "text/html"})
    assert isinstance(raised_by(store, operation), (StoreUnreachable, StoreBusy))  # botocore takes such a 200 for a 500


def test_metadata_in_latin_1(scripted: ScriptedServer, store: Store) -> None:
    scripted.step = answer(200, b"hello", {"x-amz-meta-foreign": "caf\xe9"})
    found = store.get(KEY, timeout=TIMEOUT)
    assert found.head.metadata == {"foreign": "caf\xe9"}
    assert found.read() == b"hello"
