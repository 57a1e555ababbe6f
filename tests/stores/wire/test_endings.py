"""How connections and requests end: by the server, in the middle, in silence; and what is told apart."""

from __future__ import annotations

import fcntl
import io
import socket
import sys
import termios
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from peer import ETAG, Peer, Stage, answered, echo, headed, refused
from wire_stores import line_to, wire_store

from cloudcached import (
    PreconditionFailed,
    StoreBusy,
    StoreError,
    StoreRefused,
    StoreTimeout,
    StoreUnreachable,
)
from cloudcached.config import Config
from cloudcached.stores.port import ABSENT, Closed, Store, Write
from cloudcached.stores.wire import exchange
from cloudcached.stores.wire.connection import NotSent
from cloudcached.stores.wire.store import WireStore

SHORT, LONG = 0.4, 60.0
BIG = bytes(16 << 20)
VERSIONS = ["", "1.2", "1.3"]


class Stream(io.BytesIO):
    """A body that is read while it is sent."""

    def __len__(self) -> int:
        return len(self.getbuffer())


@pytest.fixture(params=VERSIONS, ids=["http", "TLS 1.2", "TLS 1.3"])
def staged(request: pytest.FixtureRequest, authority: Any) -> Iterator[Callable[..., tuple[Stage, WireStore]]]:
    """Return a stage and a store on it, plain or over TLS; and end the stages."""
    stages: list[Stage] = []

    def start(play: Callable[[Peer], None]) -> tuple[Stage, WireStore]:
        context = authority.context(request.param) if request.param else None
        stages.append(Stage(play, context).__enter__())
        return stages[-1], wire_store(stages[-1].endpoint, ca_bundle=authority.bundle if request.param else "")

    yield start
    for stage in stages:
        stage.__exit__(None, None, None)


Staged = Callable[[Callable[[Peer], None]], "tuple[Stage, WireStore]"]


def body_of(store: Store, name: str) -> bytes:
    """Return an object; like the engine, ask again at once if the server closes a kept connection at that moment."""
    try:
        return bytes(store.get(name, timeout=LONG).read())
    except Closed:
        return bytes(store.get(name, timeout=LONG).read())


# Kept connections


@pytest.mark.parametrize("answers", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("says_so", [True, False], ids=["announced", "silent"])
def test_a_server_that_closes_after_some_answers(staged: Staged, answers: int, says_so: bool) -> None:
    def play(peer: Peer) -> None:
        for number in range(1, answers + 1):
            asked = peer.request()
            if asked is None:
                return
            more = {"Connection": "close"} if says_so and number == answers else {}
            peer.send(answered(asked, asked.target.encode(), **more))

    stage, store = staged(play)
    for number in range(12):
        # No other error than Closed, and that only where the server did not say it.
        got = bytes(store.get(f"{number}", timeout=LONG).read()) if says_so else body_of(store, f"{number}")
        assert got == f"/bucket/{number}".encode()
    assert len(stage.asked) == 12
    assert stage.connections == -(-12 // answers)


def test_a_connection_that_was_closed_while_it_rested_is_not_used(staged: Staged) -> None:
    """It is looked at, and a fresh one is opened: the request does not fail."""
    closed = threading.Event()
    rests = threading.Event()

    def play(peer: Peer) -> None:
        if peer.number == 1:
            asked = peer.request()
            assert asked is not None
            peer.send(answered(asked, b"first"))
            assert rests.wait(LONG)
            peer.close()
            closed.set()
            return
        echo(peer)

    stage, store = staged(play)
    assert bytes(store.get("a", timeout=LONG).read()) == b"first"
    rests.set()
    assert closed.wait(LONG)
    assert bytes(store.get("b", timeout=LONG).read()) == b"/bucket/b"
    assert stage.connections == 2


@pytest.mark.parametrize("resets", [True, False], ids=["reset", "closed"])
@pytest.mark.parametrize("verb", ["get", "put", "list"])
def test_a_kept_connection_that_is_closed_instead_of_an_answer(staged: Staged, resets: bool, verb: str) -> None:
    """Told apart: what may be repeated can be sent again at once. A fresh connection that ends so is a failure."""

    def play(peer: Peer) -> None:
        if peer.number == 1:
            asked = peer.request()
            assert asked is not None
            peer.send(answered(asked, b"first"))
        peer.request()
        if resets:
            peer.reset()

    stage, store = staged(play)
    verbs: dict[str, Callable[[], Any]] = {
        "get": lambda: store.get("a", timeout=LONG),
        "put": lambda: store.put(Write("a", b"x", {}, ABSENT), timeout=LONG),
        "list": lambda: store.list("a", timeout=LONG),
    }
    assert bytes(store.get("a", timeout=LONG).read()) == b"first"
    with pytest.raises(Closed) as caught:
        verbs[verb]()
    assert caught.value.object_key == ("" if verb == "list" else "a")
    with pytest.raises(StoreUnreachable) as failed:
        verbs[verb]()
    assert not isinstance(failed.value, (Closed, NotSent))
    assert len(stage.asked) == 3  # nothing is sent twice


@pytest.mark.parametrize("resets", [True, False], ids=["reset", "closed"])
@pytest.mark.parametrize("begun", ["HTTP/1.1", "HTTP/1.1 200 OK\r\nContent-Length: 90000\r\nETag: x\r\n\r\n12345"])
def test_one_that_is_closed_within_an_answer_has_answered(staged: Staged, resets: bool, begun: str) -> None:
    """It is not ``Closed``: a write that was answered in part was done, perhaps."""
    read = threading.Event()

    def play(peer: Peer) -> None:
        if peer.number == 1:
            asked = peer.request()
            assert asked is not None
            peer.send(answered(asked, b"first"))
        peer.request()
        peer.send(begun.encode())
        assert read.wait(LONG)
        if resets:
            peer.reset()

    _, store = staged(play)
    assert bytes(store.get("a", timeout=LONG).read()) == b"first"
    threading.Timer(0.1, read.set).start()  # a reset overtakes what has not been read yet
    with pytest.raises(StoreUnreachable) as caught:
        store.get("a", timeout=LONG).read()
    assert not isinstance(caught.value, Closed)


# Answers that come before the body was sent


def wait_until_stuck(sock: socket.socket) -> None:
    """Wait until the other side cannot send any more, since nobody reads."""
    before, now = -1, 0
    while before != now or not now:
        time.sleep(0.1)
        before, now = now, int.from_bytes(fcntl.ioctl(sock, termios.FIONREAD, b"\0" * 4), sys.byteorder)


def read_all(peer: Peer) -> None:
    while peer.sock.recv(1 << 20):
        pass


def reset(peer: Peer) -> None:
    peer.sock.recv(1)
    peer.reset()


#: What a server does once it has refused a body.
AFTER: dict[str, Callable[[Peer], object]] = {
    "reads nothing more": lambda peer: peer.stage.over.wait(),
    "when no more is sent": lambda peer: peer.stage.over.wait(),
    "closes": lambda peer: None,
    "resets": reset,
    "reads all": read_all,
}


@pytest.mark.parametrize("kind", [bytes, Stream], ids=["bytes", "stream"])
@pytest.mark.parametrize("expects", [True, False], ids=["asks first", "sends at once"])
@pytest.mark.parametrize("ending", AFTER)
def test_a_refusal_while_the_body_is_sent(
    staged: Staged, kind: Any, expects: bool, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the answer, at once, whatever the server does with the rest of 16 MB."""
    if not expects:
        monkeypatch.setattr("cloudcached.stores.wire.store.EXPECT_BYTES", 1 << 40)

    def play(peer: Peer) -> None:
        if peer.number > 1:
            echo(peer)
            return
        asked = peer.head()
        assert asked is not None
        if ending == "when no more is sent":
            if asked.headers.get("expect"):
                peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            wait_until_stuck(peer.sock)
        peer.send(refused(asked, 412, "PreconditionFailed"))
        AFTER[ending](peer)

    stage, store = staged(play)
    with pytest.raises(PreconditionFailed):
        store.put(Write("a", kind(BIG), {}, ABSENT), timeout=LONG)
    assert body_of(store, "next") == b"/bucket/next"
    assert [asked.method for asked in stage.asked] == ["PUT", "GET"]
    assert stage.connections == 2


@pytest.mark.parametrize("interim", [100, 102, 103])
def test_interim_answers_do_not_end_the_sending(staged: Staged, interim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A late ``100 Continue``, or a proxy's second one, is not a refusal."""
    monkeypatch.setattr("cloudcached.stores.wire.store.EXPECT_BYTES", 1 << 40)
    sent = b"HTTP/1.1 %d Interim\r\n\r\n" % interim

    def play(peer: Peer) -> None:
        while asked := peer.head():
            for at in range(len(sent)):
                peer.send(sent[at : at + 1])
            assert peer.body(asked) == (BIG if asked.method == "PUT" else b"")
            peer.send(answered(asked))

    stage, store = staged(play)
    for _ in range(2):
        assert store.put(Write("a", BIG, {}), timeout=LONG) == ETAG
    assert stage.connections == 1


def test_a_server_that_reads_nothing(staged: Staged) -> None:
    def play(peer: Peer) -> None:
        if peer.number == 1:
            peer.head()
            peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            peer.stage.over.wait()
        echo(peer)

    _, store = staged(play)
    # 16 MB may take 15 s beyond the timeout, as long as they flow: these do not.
    with pytest.raises(StoreTimeout):
        store.put(Write("a", BIG, {}), timeout=SHORT)
    assert body_of(store, "next") == b"/bucket/next"


def test_a_body_that_stops_coming(staged: Staged) -> None:
    def play(peer: Peer) -> None:
        if peer.number == 1:
            peer.request()
            peer.send(headed(200, {"ETag": ETAG, "Content-Length": str(len(BIG))}, BIG[: 1 << 20]))
            peer.stage.over.wait()
        echo(peer)

    _, store = staged(play)
    with pytest.raises(StoreTimeout):
        store.get("a", timeout=SHORT).read()
    assert body_of(store, "next") == b"/bucket/next"


# Expect


def put(store: WireStore, size: int = 2 << 20) -> str:
    return store.put(Write("a", bytes(size), {}), timeout=LONG)


def test_expect_granted(staged: Staged) -> None:
    """For large bodies alone; the body is sent once the server wants it."""
    waiting: list[bool] = []

    def play(peer: Peer) -> None:
        while asked := peer.head():
            if asked.headers.get("expect"):
                peer.sock.settimeout(0.05)
                with pytest.raises((BlockingIOError, TimeoutError)):
                    peer.sock.recv(1)
                peer.sock.settimeout(None)
                waiting.append(True)
                peer.send(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")
            peer.body(asked)
            peer.send(answered(asked))

    stage, store = staged(play)
    for size in (1, (1 << 20) - 1, 1 << 20, 2 << 20):
        assert put(store, size) == ETAG
    assert ["expect" in asked.headers for asked in stage.asked] == [False, False, True, True]
    assert waiting == [True, True]
    assert stage.connections == 1
    assert store.line().expects


@pytest.mark.parametrize("closes", [True, False])
def test_expect_refused(staged: Staged, closes: bool) -> None:
    """The body is not sent, and the connection not used again: the server may wait for it."""

    def play(peer: Peer) -> None:
        asked = peer.head()
        if asked is None:
            return
        if asked.method == "GET":
            peer.send(answered(asked, asked.target.encode()))
            return
        peer.send(refused(asked, 503, "SlowDown"))
        if not closes:
            assert peer.sock.recv(1) == b""

    stage, store = staged(play)
    for _ in range(2):
        with pytest.raises(StoreBusy):
            put(store)
    assert body_of(store, "next") == b"/bucket/next"
    assert stage.connections == 3
    assert store.line().expects


def test_expect_ignored_is_remembered(staged: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the store: a second of silence is paid for once."""
    monkeypatch.setattr(exchange, "_EXPECT_SECONDS", 0.05)

    def play(peer: Peer) -> None:
        while asked := peer.head():
            peer.body(asked)
            peer.send(answered(asked))

    stage, store = staged(play)
    for _ in range(3):
        assert put(store) == ETAG
    assert ["expect" in asked.headers for asked in stage.asked] == [True, False, False]
    assert stage.connections == 1
    assert not store.line().expects


def test_a_server_that_is_gone_has_not_ignored_it(staged: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "_EXPECT_SECONDS", 0.05)

    def play(peer: Peer) -> None:
        peer.head()
        peer.stage.over.wait()

    _, store = staged(play)
    with pytest.raises(StoreTimeout):
        store.put(Write("a", BIG, {}), timeout=SHORT)
    assert store.line().expects


def test_a_server_that_does_not_know_expect(staged: Staged) -> None:
    """It refuses that alone: the request was not done, and is sent without."""

    def play(peer: Peer) -> None:
        while asked := peer.head():
            if asked.headers.get("expect"):
                peer.send(headed(417, {"Content-Length": "0"}))
                return
            peer.body(asked)
            peer.send(answered(asked))

    stage, store = staged(play)
    assert put(store) == ETAG
    assert put(store) == ETAG
    assert ["expect" in asked.headers for asked in stage.asked] == [True, False, False]


def test_a_permission_that_comes_late(staged: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the body is sent already: it is not the answer."""
    monkeypatch.setattr(exchange, "_EXPECT_SECONDS", 0.05)

    def play(peer: Peer) -> None:
        while asked := peer.head():
            first = peer._file.read(1)
            peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            assert first + peer._file.read(len(BIG) - 1) == BIG
            peer.send(answered(asked))

    _, store = staged(play)
    assert store.put(Write("a", BIG, {}), timeout=LONG) == ETAG


# Bodies that cannot be read


class Broken(Stream):
    """A stream whose disk fails in the middle."""

    def readinto(self, buffer: Any) -> int:
        if self.tell() > 1 << 20:
            raise OSError(5, "Input/output error")
        return super().readinto(buffer)


def test_a_stream_that_breaks_is_no_failure_of_the_connection(staged: Staged) -> None:
    """Its own exception comes through, whatever module it is raised in."""
    Broken.readinto.__globals__["__name__"], name = "cloudcached.files.local", __name__
    try:
        _, store = staged(echo)
        with pytest.raises(OSError, match="Input/output") as caught:
            store.put(Write("a", Broken(BIG), {}), timeout=LONG)
        assert not isinstance(caught.value, StoreError)
        assert body_of(store, "next") == b"/bucket/next"
    finally:
        Broken.readinto.__globals__["__name__"] = name


# What a caller does with an answer


@pytest.mark.usefixtures("no_leak")
@pytest.mark.parametrize("size", [5, 100_000])
def test_an_answer_that_is_dropped_unread(staged: Staged, size: int) -> None:
    def play(peer: Peer) -> None:
        while asked := peer.request():
            peer.send(answered(asked, asked.target.encode().ljust(size)))

    _, store = staged(play)
    for number in range(20):
        found = store.get(f"{number}", timeout=LONG)
        if number % 3 == 0:
            found.close()
        elif number % 3 == 1:
            next(iter(found.pieces()))
        del found
    assert body_of(store, "next").rstrip() == b"/bucket/next"


def test_an_answer_that_was_closed_is_not_an_empty_one(staged: Staged) -> None:
    def play(peer: Peer) -> None:
        while asked := peer.request():
            peer.send(answered(asked, b"x" * 100_000))

    _, store = staged(play)
    found = store.get("a", timeout=LONG)
    found.close()
    with pytest.raises(StoreUnreachable):
        found.read()
    found = store.get("a", timeout=LONG)
    assert found.read() == found.read() == b"x" * 100_000
    found.close()
    assert found.read() == b"x" * 100_000
    found = store.get("a", timeout=LONG)
    assert b"".join(found.pieces()) == b"x" * 100_000
    with pytest.raises(StoreUnreachable):
        found.read()


def test_an_error_keeps_no_part_of_the_body_s_buffer(staged: Staged) -> None:
    """Its frames live on for as long as it does, and a buffer of which there are views cannot be freed."""

    def play(peer: Peer) -> None:
        peer.request()
        peer.send(headed(200, {"ETag": ETAG, "Content-Length": "3000000"}, b"x" * 1_000_000))
        peer.stage.over.wait()

    _, store = staged(play)
    with pytest.raises(StoreTimeout) as caught:
        store.get("a", timeout=SHORT).read()
    error: BaseException | None = caught.value
    views = []
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            views += [value for value in frame.f_locals.values() if isinstance(value, memoryview)]
        error = error.__cause__
    assert views
    for view in views:
        with pytest.raises(ValueError, match="released"):
            view.tobytes()


# Conditions


def test_a_caller_s_etag_is_no_header() -> None:
    from cloudcached.stores.port import Matches

    with Stage(echo) as stage:
        store = wire_store(stage.endpoint)
        for etag in ("x\r\nx-amz-acl: public-read", "x\n", "\xe9"):
            with pytest.raises(StoreRefused, match="printable"):
                store.put(Write("a", b"x", {}, Matches(etag)), timeout=LONG)
            with pytest.raises(StoreRefused, match="printable"):
                store.get("a", unless=etag, timeout=LONG)
            with pytest.raises(StoreRefused, match="printable"):
                store.delete("a", when=Matches(etag), timeout=LONG)
        assert stage.asked == []


def test_the_keys_are_asked_for_in_time() -> None:
    """They may come from a server of their own: what is left of the timeout is all that they may take."""
    with Stage(echo) as stage:
        given: list[float] = []
        line = line_to(stage.endpoint, "bucket")
        ask = line.keys
        line.keys = lambda seconds: given.append(seconds) or ask(seconds)  # type: ignore[func-returns-value]
        store = WireStore(Config.parse("s3://bucket", {}), lambda: line)
        assert body_of(store, "a") == b"/bucket/a"
    assert 0 < given[0] <= LONG


def test_connections_are_used_again_in_turn(staged: Staged) -> None:
    """The one used last first, so that the others grow old."""
    stage, store = staged(echo)
    for number in range(50):
        assert body_of(store, f"{number}") == f"/bucket/{number}".encode()
    assert stage.connections == 1
