"""Answers that no S3 server gives: each ends in a result or in an error of the library, and the next request gets its own.

A play answers the first request of the first connection wrongly, and every other one properly: with the request's name.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peer import DATE, ETAG, Peer, Stage, answered, echo, headed, refused
from wire_stores import wire_store

from cloudcached import (
    AccessDenied,
    BucketMissing,
    CloudCachedError,
    NotFound,
    PreconditionFailed,
    StoreBusy,
    StoreError,
    StoreRefused,
    StoreTimeout,
    StoreUnreachable,
)
from cloudcached.stores.port import Closed, Matches, Store, Write

#: Seconds: for what waits until they are over, and for what does not.
SHORT, LONG = 0.4, 30.0
OK = f'HTTP/1.1 200 OK\r\nETag: "{ETAG}"\r\nLast-Modified: {DATE}\r\nDate: {DATE}\r\n'.encode()
HELLO = OK + b"Content-Length: 5\r\n\r\nhello"
#: What an attacker would like to be taken for the answer to the next request.
EVIL = OK + b"Content-Length: 4\r\n\r\nevil"

VERBS: dict[str, Callable[[Store, float], Any]] = {
    "get": lambda store, seconds: bytes(store.get("a", timeout=seconds).read()),
    "get pieces": lambda store, seconds: b"".join(store.get("a", timeout=seconds).pieces()),
    "get unless": lambda store, seconds: bytes(store.get("a", unless=ETAG, timeout=seconds).read()),
    "get_first": lambda store, seconds: bytes(store.get_first("a", 5, timeout=seconds).read()),
    "get_range": lambda store, seconds: b"".join(map(bytes, store.get_range("a", 0, 5, etag=ETAG, timeout=seconds))),
    "head": lambda store, seconds: described(store.head("a", timeout=seconds)),
    "put": lambda store, seconds: store.put(Write("a", b"x", {"a": "1"}, Matches(ETAG)), timeout=seconds),
    "create_upload": lambda store, seconds: store.create_upload("a", {}, timeout=seconds),
    "put_part": lambda store, seconds: store.put_part("a", "1", 1, b"x", timeout=seconds),
    "complete_upload": lambda store, seconds: store.complete_upload("a", "1", [ETAG], timeout=seconds),
    "abort_upload": lambda store, seconds: store.abort_upload("a", "1", timeout=seconds),
    "delete": lambda store, seconds: store.delete("a", timeout=seconds),
    "delete_many": lambda store, seconds: store.delete_many(["a"], timeout=seconds),
    "list": lambda store, seconds: store.list("a", timeout=seconds),
}


def described(head: Any) -> Any:
    """Return everything that a head tells."""
    return dict(head.metadata), head.etag, head.size, head.modified, head.date


def once(data: bytes, *, stays: bool = False) -> Callable[[Peer], None]:
    """Answer the first request with *data*, and then close the connection or go on properly."""

    def play(peer: Peer) -> None:
        if peer.number == 1:
            peer.request()
            peer.send(data)
            if not stays:
                return
        echo(peer)

    return play


def outcome(call: Callable[[Store, float], Any], store: Store, seconds: float = LONG) -> Any:
    """Return what a call returns, or the error of the library that it raises. Everything else comes through."""
    try:
        return call(store, seconds)
    except StoreError as error:
        return error


def body_of(store: Store, name: str) -> bytes:
    """Return an object; like the engine, ask again if the server closes a kept connection at that moment."""
    try:
        return bytes(store.get(name, timeout=LONG).read())
    except Closed:
        return bytes(store.get(name, timeout=LONG).read())


def check_next(store: Store) -> None:
    """Check that the next requests get their own answers."""
    assert body_of(store, "next") == b"/bucket/next"
    assert body_of(store, "after-that") == b"/bucket/after-that"


# Framing

#: Name, answer to a GET, what comes of it: a body or an error. The connection is closed behind it.
FRAMED = [
    ("length", HELLO, b"hello"),
    ("no length", OK + b"\r\nhello", b"hello"),
    ("1.0", HELLO.replace(b"HTTP/1.1", b"HTTP/1.0"), b"hello"),
    ("1.0 no length", OK.replace(b"HTTP/1.1", b"HTTP/1.0") + b"\r\nhello", b"hello"),
    ("chunks", OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"hello"),
    ("small chunks", OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nh\r\n4;x=y\r\nello\r\n0\r\nA: b\r\n\r\n", b"hello"),
    ("interim", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + HELLO, b"hello"),
    ("no reason", HELLO.replace(b" OK", b""), b"hello"),
    ("two equal lengths", OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    ("weak etag", HELLO.replace(b'ETag: "', b'ETag: W/"'), b"hello"),
    ("bare etag", HELLO.replace(b'"', b""), b"hello"),
    ("no dates", f'HTTP/1.1 200 OK\r\nETag: "{ETAG}"\r\nContent-Length: 5\r\n\r\nhello'.encode(), b"hello"),
    ("obs-text", OK + b"x-amz-meta-a: \xe9\x85\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    ("empty", OK + b"Content-Length: 0\r\n\r\n", b""),
    # Refused: nothing may be made of them.
    ("two lengths", OK + b"Content-Length: 5\r\nContent-Length: 4\r\n\r\nhello", StoreRefused),
    ("listed lengths", OK + b"Content-Length: 5, 5\r\n\r\nhello", StoreRefused),
    ("length and chunks", OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", StoreRefused),
    ("negative length", OK + b"Content-Length: -5\r\n\r\nhello", StoreRefused),
    ("hex length", OK + b"Content-Length: 0x5\r\n\r\nhello", StoreRefused),
    ("1_0", OK + b"Content-Length: 1_0\r\n\r\nhellohello", StoreRefused),
    ("gzip coding", OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", StoreRefused),
    ("two codings", OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n", StoreRefused),
    ("folded", OK + b"Content-Length:\r\n 5\r\n\r\nhello", StoreRefused),
    ("blank before the colon", OK + b"Content-Length : 5\r\n\r\nhello", StoreRefused),
    ("bare LF", OK + b"A: b\nContent-Length: 5\r\n\r\nhello", StoreRefused),
    ("bare CR", OK + b"A: b\rContent-Length: 5\r\n\r\nhello", StoreRefused),
    ("NUL", OK + b"x-amz-meta-a: b\0\r\nContent-Length: 5\r\n\r\nhello", StoreRefused),
    ("no colon", OK + b"nothing\r\nContent-Length: 5\r\n\r\nhello", StoreRefused),
    ("two etags", HELLO.replace(b"Date:", b'ETag: "x"\r\nDate:', 1), StoreRefused),
    ("metadata twice", OK + b"x-amz-meta-a: 1\r\nx-amz-meta-A: 2\r\nContent-Length: 0\r\n\r\n", StoreRefused),
    ("no etag", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", StoreRefused),
    ("empty etag", b'HTTP/1.1 200 OK\r\nETag: ""\r\nContent-Length: 5\r\n\r\nhello', StoreRefused),
    ("another protocol", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n" + HELLO, StoreRefused),
    ("HTTP/2", b"\x00\x00\x12\x04" + b"\x00" * 40 + b"\r\n\r\n", StoreRefused),
    ("HTTP/0.9", b"hello\r\n\r\n", StoreRefused),
    ("interim without end", b"HTTP/1.1 100 Continue\r\n\r\n" * 100 + HELLO, StoreRefused),
    ("huge head", b"HTTP/1.1 200 OK\r\n" + b"A: " + b"b" * 100_000 + b"\r\n\r\n", StoreRefused),
    ("many headers", OK + b"A: b\r\n" * 300 + b"Content-Length: 5\r\n\r\nhello", StoreRefused),
    ("chunk too long", OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n", StoreRefused),
    ("negative chunk", OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n", StoreRefused),
    ("huge chunk", OK + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nhello", StoreRefused),
    ("long chunk line", OK + b"Transfer-Encoding: chunked\r\n\r\n5;" + b"x" * 10_000, StoreRefused),
    ("long trailer", OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"A: b\r\n" * 5_000, StoreRefused),
    ("huge length", OK + b"Content-Length: 99999999999999999\r\n\r\nhello", (StoreRefused, StoreUnreachable)),
    ("a part of it", HELLO.replace(b"200 OK", b"206 Partial Content"), StoreRefused),
    # They end too early.
    ("no answer", b"", StoreUnreachable),
    ("half a head", HELLO[:60], StoreUnreachable),
    ("half a body", HELLO[:-1], StoreUnreachable),
    ("half a large body", OK + b"Content-Length: 100000\r\n\r\nhello", StoreUnreachable),
    ("half a chunk", OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhe", StoreUnreachable),
    ("no last chunk", OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", StoreUnreachable),
    ("LF alone", HELLO.replace(b"\r\n", b"\n"), StoreUnreachable),
    ("interim alone", b"HTTP/1.1 100 Continue\r\n\r\n", StoreUnreachable),
    # Other answers.
    ("201", HELLO.replace(b"200", b"201"), StoreRefused),
    ("302", headed(302, {"Location": "http://127.0.0.1:9/", "Content-Length": "0"}), StoreRefused),
    ("304", headed(304, {"ETag": "x"}), CloudCachedError),
    ("407", headed(407, {"Content-Length": "0"}), StoreRefused),
    ("412", headed(412, {"Content-Length": "0"}), PreconditionFailed),
    ("416", headed(416, {"Content-Length": "0"}), StoreRefused),
    ("500", headed(500, {"Content-Length": "0"}), StoreBusy),
    ("599", headed(599, {"Content-Length": "0"}), StoreBusy),
    ("999", headed(999, {"Content-Length": "0"}), StoreBusy),
]


@pytest.mark.parametrize(("data", "result"), [row[1:] for row in FRAMED], ids=[row[0] for row in FRAMED])
@pytest.mark.parametrize("verb", ["get", "get pieces"])
def test_framing(data: bytes, result: Any, verb: str) -> None:
    with Stage(once(data)) as stage:
        store = wire_store(stage.endpoint)
        found = outcome(VERBS[verb], store)
        if isinstance(result, bytes):
            assert found == result
        else:
            assert isinstance(found, result)
        check_next(store)


@pytest.mark.parametrize("data", [row[1] for row in FRAMED], ids=[row[0] for row in FRAMED])
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_survives_every_framing(data: bytes, verb: str) -> None:
    with Stage(once(data)) as stage:
        store = wire_store(stage.endpoint)
        outcome(VERBS[verb], store)
        check_next(store)


WHOLE = [row for row in FRAMED if isinstance(row[2], bytes) and "no length" not in row[0]]


@pytest.mark.parametrize(("data", "result"), [row[1:] for row in WHOLE], ids=[row[0] for row in WHOLE])
@pytest.mark.parametrize(
    "more", [EVIL, b"x", b"\r\n", b"\r\n" + EVIL], ids=["answer", "byte", "line", "line and answer"]
)
def test_bytes_behind_an_answer_are_nobody_s(data: bytes, result: bytes, more: bytes) -> None:
    with Stage(once(data + more, stays=True)) as stage:
        store = wire_store(stage.endpoint)
        assert outcome(VERBS["get"], store) == result
        check_next(store)
        assert stage.connections == 2


@pytest.mark.parametrize("size", [5, 60_000, 70_000, 1_000_003])
@pytest.mark.parametrize("verb", ["get", "get pieces"])
@pytest.mark.parametrize("version", ["", "1.2", "1.3"], ids=["http", "TLS 1.2", "TLS 1.3"])
def test_bytes_behind_a_large_body_are_nobody_s(size: int, verb: str, version: str, authority: Any) -> None:
    """Over TLS they may be decrypted already, where poll does not see them."""
    body = b"x" * size
    data = OK + f"Content-Length: {size}\r\n\r\n".encode() + body + EVIL
    with Stage(once(data, stays=True), authority.context(version) if version else None) as stage:
        store = wire_store(stage.endpoint, ca_bundle=authority.bundle if version else "")
        assert outcome(VERBS[verb], store) == body
        check_next(store)
        assert stage.connections == 2


@pytest.mark.parametrize(
    "head",
    [
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nContent-Length: 99\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=["204", "204 with a length", "200"],
)
def test_bytes_behind_no_body_are_nobody_s(head: str) -> None:
    with Stage(once(head.encode() + EVIL, stays=True)) as stage:
        store = wire_store(stage.endpoint)
        store.delete("a", timeout=LONG)
        check_next(store)
        assert stage.connections == 2


def test_the_body_of_a_204_that_comes_later_is_nobody_s() -> None:
    """It says that there is one, so the connection is not used again, however long it takes."""
    gone = threading.Event()

    def play(peer: Peer) -> None:
        if peer.number == 1:
            peer.request()
            peer.send(f"HTTP/1.1 204 No Content\r\nContent-Length: {len(EVIL)}\r\n\r\n".encode())
            assert gone.wait(LONG)
            peer.send(EVIL)
        echo(peer)

    with Stage(play) as stage:
        store = wire_store(stage.endpoint)
        store.delete("a", timeout=LONG)
        check_next(store)
        gone.set()
        check_next(store)


@pytest.mark.parametrize("head", [HELLO[:-5], OK + b"Transfer-Encoding: chunked\r\n\r\n"], ids=["length", "chunks"])
def test_a_body_behind_a_head_is_nobody_s(head: bytes) -> None:
    with Stage(once(head + EVIL, stays=True)) as stage:
        store = wire_store(stage.endpoint)
        assert store.head("a", timeout=LONG).etag == ETAG
        check_next(store)
        assert stage.connections == 2


def test_an_answer_that_nobody_asked_for_is_nobody_s() -> None:
    """It comes while the connection rests."""
    rests = threading.Event()
    sent = threading.Event()

    def play(peer: Peer) -> None:
        if peer.number == 1:
            asked = peer.request()
            assert asked is not None
            peer.send(answered(asked, b"hello"))
            assert rests.wait(LONG)
            peer.send(EVIL)
            sent.set()
        echo(peer)

    with Stage(play) as stage:
        store = wire_store(stage.endpoint)
        assert outcome(VERBS["get"], store) == b"hello"
        rests.set()
        assert sent.wait(LONG)
        check_next(store)
        assert stage.connections == 2


# Early ends, and late ones


@pytest.mark.parametrize(
    "data", [HELLO, OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"], ids=["length", "chunks"]
)
def test_an_early_end_at_every_byte(data: bytes) -> None:
    def play(peer: Peer) -> None:
        while asked := peer.request():
            if not asked.target.startswith("/bucket/cut-"):
                peer.send(answered(asked, asked.target.encode()))
                continue
            peer.send(data[: int(asked.target.rpartition("-")[2])])
            return

    with Stage(play) as stage:
        store = wire_store(stage.endpoint)
        for end in range(len(data)):
            with pytest.raises(StoreUnreachable):
                store.get(f"cut-{end}", timeout=LONG).read()
            if end % 20 == 0:
                check_next(store)
        assert bytes(store.get(f"cut-{len(data)}", timeout=LONG).read()) == b"hello"


@pytest.mark.parametrize(
    "data", [HELLO, OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"], ids=["length", "chunks"]
)
def test_an_answer_in_single_bytes(data: bytes) -> None:
    def play(peer: Peer) -> None:
        if peer.number == 1:
            peer.request()
            for at in range(len(data)):
                peer.send(data[at : at + 1])
        echo(peer)

    with Stage(play) as stage:
        store = wire_store(stage.endpoint)
        assert outcome(VERBS["get"], store) == b"hello"
        check_next(store)
        assert stage.connections == 1


SILENCES = {
    "nothing": b"",
    "half a head": HELLO[:40],
    "interim": b"HTTP/1.1 100 Continue\r\n\r\n",
    "half a body": HELLO[:-2],
    "half a large body": OK + b"Content-Length: 70000\r\n\r\nhello",
    "half a chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhe",
    "no last chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "no end": OK + b"\r\nhello",
}


@pytest.mark.parametrize("data", SILENCES.values(), ids=SILENCES)
@pytest.mark.parametrize("verb", ["get", "get pieces"])
def test_silence_ends_with_the_timeout(data: bytes, verb: str) -> None:
    def play(peer: Peer) -> None:
        if peer.number == 1:
            peer.request()
            peer.send(data)
            peer.stage.over.wait()
        echo(peer)

    with Stage(play) as stage:
        store = wire_store(stage.endpoint)
        assert isinstance(outcome(VERBS[verb], store, SHORT), StoreTimeout)
        check_next(store)


TRICKLES = {
    "head": b"HTTP/1.1 200 OK\r\nA: ",
    "headers": OK,
    "body": OK + b"Content-Length: 1000\r\n\r\n",
    "large body": OK + b"Content-Length: 1000000\r\n\r\n",
    "no length": OK + b"\r\n",
    "chunk line": OK + b"Transfer-Encoding: chunked\r\n\r\n5;",
    "chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n1000\r\n",
    "trailer": OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\nA: ",
    "interim": b"HTTP/1.1 103 Early Hints\r\nA: ",
    "error": b"HTTP/1.1 500 No\r\nContent-Length: 1000\r\n\r\n",
}


@pytest.mark.parametrize("data", TRICKLES.values(), ids=TRICKLES)
@pytest.mark.parametrize("verb", ["get", "get pieces", "put", "list"])
def test_trickles_end_with_the_timeout(data: bytes, verb: str) -> None:
    """Each byte comes in time, and the whole never does."""

    def play(peer: Peer) -> None:
        if peer.number == 1:
            peer.request()
            peer.send(data)
            while not peer.stage.over.wait(SHORT / 10):
                peer.send(b"x")
        echo(peer)

    with Stage(play) as stage:
        store = wire_store(stage.endpoint)
        found = outcome(VERBS[verb], store, SHORT)
        assert isinstance(found, StoreError) or (verb == "put" and found == ETAG)  # a PUT's answer is its head
        check_next(store)


def test_a_flood_ends_with_the_timeout() -> None:
    """Of interim answers, of headers, and of a body without an end."""

    def play(peer: Peer) -> None:
        if peer.number <= 2:
            asked = peer.request()
            assert asked is not None
            peer.send(OK + (b"\r\n" if asked.target.endswith("unframed") else b"Transfer-Encoding: chunked\r\n\r\n"))
            while not peer.stage.over.is_set():
                peer.send(b"x" * 4096 if asked.target.endswith("unframed") else b"1000\r\n" + b"x" * 4096 + b"\r\n")
        echo(peer)

    with Stage(play) as stage:
        store = wire_store(stage.endpoint)
        for name in ("unframed", "chunks"):
            with pytest.raises((StoreTimeout, StoreRefused)):
                store.get(name, timeout=SHORT).read()
        check_next(store)


# Heads of objects


@pytest.mark.parametrize(
    "date",
    [
        "",
        "yesterday",
        "Sun, 22 Nov 2026 20:00:00",
        "Sun, 22 Nov 2026 20:00:00 +0000",
        "Sun, 22 Nev 2026 20:00:00 GMT",
        "Sun, 22 Nov 0000 20:00:00 GMT",
        "Sun, \xb2\xb2 Nov 2026 20:00:00 GMT",
        "Sunday, 22-Nov-26 20:00:00 GMT",
        "9" * 5000,
    ],
)
def test_dates_that_are_none(date: str) -> None:
    headers = {"ETag": f'"{ETAG}"', "Content-Length": "5", "Date": date, "Last-Modified": date}
    with Stage(once(headed(200, headers, b"hello"), stays=True)) as stage:
        store = wire_store(stage.endpoint)
        found = store.get("a", timeout=LONG)
        assert bytes(found.read()) == b"hello"
        for name in ("modified", "date"):
            with pytest.raises(StoreRefused, match="date"):
                getattr(found.head, name)
        check_next(store)


@pytest.mark.parametrize("date", ["Sun, 99 Nov 9999 99:99:99 GMT", "Sun, 00 Jan 0001 00:00:00 GMT", "xyz"])
def test_a_refusal_with_an_odd_date_is_a_refusal(date: str) -> None:
    data = headed(403, {"Date": date, "Content-Length": "0"})

    def play(peer: Peer) -> None:
        while peer.request():
            peer.send(data)

    with Stage(play) as stage:
        assert isinstance(outcome(VERBS["get"], wire_store(stage.endpoint)), AccessDenied)
        assert len(stage.asked) <= 2


# Ranges

RANGES = [
    ("right", 206, {"Content-Range": "bytes 0-4/100"}, b"hello"),
    ("shorter object", 206, {"Content-Range": "bytes 0-2/3"}, b"hel"),
    ("whole", 200, {}, StoreRefused),
    ("whole and larger", 200, {"Content-Length": "1000000"}, StoreRefused),
    ("no range", 206, {}, StoreRefused),
    ("another beginning", 206, {"Content-Range": "bytes 5-9/100"}, StoreRefused),
    ("shorter", 206, {"Content-Range": "bytes 0-2/100"}, StoreRefused),
    ("longer", 206, {"Content-Range": "bytes 0-9/100"}, StoreRefused),
    ("backwards", 206, {"Content-Range": "bytes 4-0/100"}, StoreRefused),
    ("behind its end", 206, {"Content-Range": "bytes 0-4/3"}, StoreRefused),
    ("of what size", 206, {"Content-Range": "bytes 0-4/*"}, StoreRefused),
    ("in words", 206, {"Content-Range": "lines 0-4/100"}, StoreRefused),
    ("negative", 206, {"Content-Range": "bytes -1-4/100"}, StoreRefused),
    ("superscript", 206, {"Content-Range": "bytes 0-4/\xb2"}, StoreRefused),
    ("digits without end", 206, {"Content-Range": "bytes 0-4/" + "9" * 5000}, StoreRefused),
    ("two ranges", 206, {"Content-Type": "multipart/byteranges; boundary=x"}, StoreRefused),
    ("another length", 206, {"Content-Range": "bytes 0-4/100", "Content-Length": "4"}, StoreRefused),
    ("another version", 206, {"Content-Range": "bytes 0-4/100", "ETag": '"0123"'}, PreconditionFailed),
    ("no version", 206, {"Content-Range": "bytes 0-4/100", "ETag": ""}, StoreRefused),
    ("no content", 204, {"Content-Length": "0"}, StoreRefused),
]


@pytest.mark.parametrize(("status", "headers", "result"), [row[1:] for row in RANGES], ids=[row[0] for row in RANGES])
@pytest.mark.parametrize("verb", ["get_range", "get_first"])
def test_ranges(status: int, headers: dict[str, str], result: Any, verb: str) -> None:
    body = result if isinstance(result, bytes) else b"hello"
    given_headers = {"ETag": f'"{ETAG}"', "Last-Modified": DATE, "Content-Length": str(len(body)), **headers}
    with Stage(once(headed(status, given_headers, body))) as stage:
        store = wire_store(stage.endpoint)
        found = outcome(VERBS[verb], store)
        if verb == "get_first" and (result is PreconditionFailed or headers == {}) and str(status) != "206":
            assert found == b"hello"  # all of it is its beginning
        elif verb == "get_first" and result is PreconditionFailed:
            assert found == b"hello"  # any version will do
        elif isinstance(result, bytes):
            assert found == result
        else:
            assert isinstance(found, result)
        check_next(store)


def test_a_range_in_chunks_is_not_longer_than_it_says() -> None:
    data = OK.replace(b"200 OK", b"206 Partial Content") + (
        b"Content-Range: bytes 0-4/100\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nhello!!!\r\n0\r\n\r\n"
    )
    with Stage(once(data)) as stage:
        store = wire_store(stage.endpoint)
        for verb in ("get_range",):
            assert isinstance(outcome(VERBS[verb], store), StoreError)
        check_next(store)


# XML

BOMB = (
    '<?xml version="1.0"?><!DOCTYPE x ['
    '<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {new} "{f"&{old};" * 10}">' for old, new in zip("abcdefghi", "bcdefghij", strict=True))
    + "]><{0}><Key>&j;</Key><UploadId>&j;</UploadId></{0}>"
).encode()
NAMESPACE = b'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
ROOTS = {
    "list": b"ListBucketResult",
    "delete_many": b"DeleteResult",
    "create_upload": b"InitiateMultipartUploadResult",
    "complete_upload": b"CompleteMultipartUploadResult",
}
RUBBISH = {
    "nothing": b"",
    "blanks": b" " * 10_000,
    "text": b"hello",
    "html": b"<html><body>It works!</body></html>",
    "open": b"<{0}>",
    "half": b"<{0}><Contents><Key>a</K",
    "two roots": b"<{0}/><{0}/>",
    "error": b"<?xml version='1.0'?>\n<Error><Code>InternalError</Code><Message>We encountered</Message></Error>",
    "error with a namespace": b"<Error " + NAMESPACE + b"><Code>SlowDown</Code></Error>",
    "error behind blanks": b" " * 10_000 + b"<Error><Code>InternalError</Code></Error>",
    "bomb": BOMB,
    "file": b"<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><{0}><Key>&a;</Key><UploadId>&a;</UploadId></{0}>",
    "encoding": b"<?xml version='1.0' encoding='nonsense'?><{0}/>",
    "wide encoding": b"<?xml version='1.0' encoding='big5'?><{0}/>",
    "utf-7": b"<?xml version='1.0' encoding='utf-7'?><{0}/>",
    "idna": b"<?xml version='1.0' encoding='idna'?><{0}/>",
    "not utf-8": b"<{0}>\xff\xfe</{0}>",
    "nul": b"<{0}>\0</{0}>",
    "deep": b"<a>" * 100_000 + b"</a>" * 100_000,
    "another root": b"<ListAllMyBucketsResult/>",
    "binary": bytes(range(256)) * 10,
}


@pytest.mark.parametrize("body", RUBBISH.values(), ids=RUBBISH)
@pytest.mark.parametrize("verb", ROOTS)
def test_rubbish_is_no_answer(body: bytes, verb: str) -> None:
    """Above all nothing counts as removed, or as an object, because of it."""
    data = OK + f"Content-Length: {len(body.replace(b'{0}', ROOTS[verb]))}\r\n\r\n".encode()
    with Stage(once(data + body.replace(b"{0}", ROOTS[verb]))) as stage:
        store = wire_store(stage.endpoint)
        found = outcome(VERBS[verb], store)
        assert isinstance(found, StoreError)
        assert found.retryable
        check_next(store)


@pytest.mark.parametrize("body", [*RUBBISH.values(), b"<Code>" + b"x" * 1000 + b"</Code>"], ids=[*RUBBISH, "long code"])
@pytest.mark.parametrize(
    ("status", "kind"), [(400, StoreError), (403, AccessDenied), (500, StoreError), (503, StoreError)]
)
def test_rubbish_in_an_error_leaves_its_status(body: bytes, status: int, kind: type[Exception]) -> None:
    data = headed(status, {"Date": DATE, "Content-Length": str(len(body))}, body)

    def play(peer: Peer) -> None:
        while asked := peer.request():
            peer.send(data if asked.target == "/bucket/a" else answered(asked, asked.target.encode()))

    with Stage(play) as stage:
        store = wire_store(stage.endpoint)
        error = outcome(VERBS["get"], store)
        assert isinstance(error, kind if b"<Error" not in body else StoreError)
        check_next(store)


ROW = "<Contents><Key>{}</Key><ETag>{}</ETag><Size>{}</Size><LastModified>{}</LastModified></Contents>"
MOMENT = "2026-11-22T20:00:00.000Z"


@pytest.mark.parametrize(
    "row",
    [
        ROW.format("a", "x", "", MOMENT),
        ROW.format("a", "x", "-5", MOMENT),
        ROW.format("a", "x", "1_0", MOMENT),
        ROW.format("a", "x", "\u0665", MOMENT),
        ROW.format("a", "x", "9" * 5000, MOMENT),
        ROW.format("a", "x", "5", ""),
        ROW.format("a", "x", "5", "yesterday"),
        ROW.format("a", "x", "5", "0001-01-01T00:00:00"),
        ROW.format("a", "x", "5", "9999-99-99T00:00:00Z"),
        "<Contents/>",
    ],
    ids=lambda row: row[:60],
)
def test_damaged_rows(row: str) -> None:
    body = f"<ListBucketResult {NAMESPACE.decode()}>{row}</ListBucketResult>".encode()
    with Stage(once(OK + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)) as stage:
        store = wire_store(stage.endpoint)
        assert isinstance(outcome(VERBS["list"], store), StoreUnreachable)
        check_next(store)


def page(rows: str, more: str = "") -> bytes:
    return f"<ListBucketResult {NAMESPACE.decode()}>{rows}{more}</ListBucketResult>".encode()


def test_an_empty_page_that_goes_on_is_passed_over() -> None:
    """As S3 answers where everything of a page was removed; the port's pages go on by their last name."""
    more = "<IsTruncated>true</IsTruncated><NextContinuationToken>t&amp;1</NextContinuationToken>"
    pages = [page("", more), page("", more.replace("1", "2")), page(ROW.format("b", "x", 5, MOMENT))]

    def play(peer: Peer) -> None:
        while asked := peer.request():
            peer.send(answered(asked, pages.pop(0)))

    with Stage(play) as stage:
        rows, is_more = wire_store(stage.endpoint).list("", timeout=LONG)
    assert ([row.object_key for row in rows], is_more) == (["b"], False)
    tokens = [asked.target.partition("continuation-token=")[2].partition("&")[0] for asked in stage.asked]
    assert tokens == ["", "t%261", "t%262"]


def test_empty_pages_without_end() -> None:
    more = "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"

    def play(peer: Peer) -> None:
        while asked := peer.request():
            peer.send(answered(asked, page("", more)))

    with Stage(play) as stage:
        assert isinstance(outcome(VERBS["list"], wire_store(stage.endpoint), SHORT), StoreTimeout)


def test_a_listing_that_is_too_large() -> None:
    data = OK + b"Content-Length: 99999999\r\n\r\n" + b" " * 1000
    chunks = OK + b"Transfer-Encoding: chunked\r\n\r\n" + (b"100000\r\n" + b" " * (1 << 20) + b"\r\n") * 20
    for each in (data, chunks):
        with Stage(once(each)) as stage:
            store = wire_store(stage.endpoint)
            assert isinstance(outcome(VERBS["list"], store), StoreError)
            check_next(store)


# What a server tells


@pytest.mark.parametrize("region", ["evil.example/", "x\xe9", "a b", "A", "x" * 65, "us-east-1"])
def test_regions_that_are_none(region: str) -> None:
    data = headed(400, {"x-amz-bucket-region": region, "Content-Length": "0"})
    with Stage(once(data)) as stage:
        store = wire_store(stage.endpoint)
        assert isinstance(outcome(VERBS["get"], store), StoreRefused)
        check_next(store)
        assert "/us-east-1/s3/aws4_request" in stage.asked[-1].headers["authorization"]


@pytest.mark.parametrize("status", [301, 307, 400])
def test_another_region_is_learned_once(status: int) -> None:
    def play(peer: Peer) -> None:
        while asked := peer.request():
            if "/eu-west-9/" in asked.headers["authorization"]:
                peer.send(answered(asked, asked.target.encode()))
            else:
                peer.send(headed(status, {"x-amz-bucket-region": "eu-west-9", "Content-Length": "0"}))

    with Stage(play) as stage:
        check_next(wire_store(stage.endpoint))
        assert len(stage.asked) == 3


def test_a_server_that_sends_on_and_on_is_followed_once() -> None:
    regions = iter(f"r-{number}" for number in range(100))

    def play(peer: Peer) -> None:
        while peer.request():
            peer.send(headed(301, {"x-amz-bucket-region": next(regions), "Content-Length": "0"}))

    with Stage(play) as stage:
        assert isinstance(outcome(VERBS["get"], wire_store(stage.endpoint)), StoreRefused)
        assert len(stage.asked) == 2


def test_a_404_and_the_look_at_the_bucket_share_one_timeout() -> None:
    def play(peer: Peer) -> None:
        while asked := peer.request():
            if asked.method == "HEAD":
                peer.stage.over.wait()
            peer.send(headed(404, {"Content-Length": "0"}))

    with Stage(play) as stage:
        assert isinstance(outcome(VERBS["get"], wire_store(stage.endpoint), SHORT), StoreTimeout)


def test_missing_things() -> None:
    def play(peer: Peer) -> None:
        while asked := peer.request():
            is_bucket = asked.target == "/bucket"
            peer.send(headed(200, {"Content-Length": "0"}) if is_bucket else refused(asked, 404, "NoSuchKey"))

    with Stage(play) as stage:
        store = wire_store(stage.endpoint)
        assert isinstance(outcome(VERBS["get"], store), NotFound)
        assert isinstance(outcome(VERBS["head"], store), NotFound)
        assert outcome(VERBS["delete"], store) is None
        assert isinstance(outcome(VERBS["list"], store), StoreError)

    def nothing(peer: Peer) -> None:
        while peer.request():
            peer.send(headed(404, {"Content-Length": "0"}))

    with Stage(nothing) as stage:
        assert isinstance(outcome(VERBS["get"], wire_store(stage.endpoint)), BucketMissing)


# Fuzzing

TEMPLATES = [
    HELLO,
    OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" + HELLO,
    b"HTTP/1.1 204 No Content\r\nETag: x\r\n\r\n",
    headed(404, {"Content-Length": "70"}, b"<Error><Code>NoSuchKey</Code><Message>no</Message></Error>".ljust(70)),
    OK.replace(b"200", b"206") + b"Content-Range: bytes 0-4/5\r\nContent-Length: 5\r\n\r\nhello",
    OK
    + b"Content-Length: %d\r\n\r\n" % len(page(ROW.format("a", "x", 5, MOMENT)))
    + page(ROW.format("a", "x", 5, MOMENT)),
]
TOKENS = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b":",
    b"0",
    b"-",
    b"_",
    b"Content-Length: 5\r\n",
    b"\r\n\r\n",
    EVIL,
    b"\xff",
    b"HTTP/1.1 ",
]
EDITS = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 6), st.sampled_from(TOKENS) | st.binary(max_size=4)),
    min_size=1,
    max_size=4,
)


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[Stage]:
    """Give a server that answers what it is told to keys that begin with fuzz-, and all others properly."""

    def play(peer: Peer) -> None:
        while asked := peer.request():
            if "fuzz" in asked.target:
                peer.send(stage.answer)  # type: ignore[attr-defined]
                if stage.closes:  # type: ignore[attr-defined]
                    return
            else:
                peer.send(answered(asked, asked.target.encode()))

    with Stage(play) as stage:
        yield stage


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(
    template=st.sampled_from(TEMPLATES),
    edits=EDITS,
    verb=st.sampled_from(
        ["get", "get pieces", "get_first", "get_range", "head", "put", "delete", "list", "delete_many"]
    ),
)
def test_a_damaged_answer_is_one_answer_or_an_error(fuzzed: Stage, template: bytes, edits: Any, verb: str) -> None:
    data = template
    for place, count, new in edits:
        at = place % (len(data) + 1)
        data = data[:at] + new + data[at + count :]
    fuzzed.answer, fuzzed.closes = data, True  # type: ignore[attr-defined]
    store = wire_store(fuzzed.endpoint, "fuzz")
    outcome(VERBS[verb], store)
    name = hashlib.sha256(data).hexdigest()
    assert body_of(wire_store(fuzzed.endpoint), name) == f"/bucket/{name}".encode()
