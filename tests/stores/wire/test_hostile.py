"""Answers that no S3 server gives: each ends in a result or in an error of the library, and the next request gets its own.

A play answers the first request of the first connection wrongly, and every other one properly: with the request's name.
"""

from __future__ import annotations

import threading
from typing import Any

import pytest
from peer import ETAG, Peer, Stage, answered, echo, headed
from plays import EVIL, HELLO, LONG, OK, SHORT, VERBS, check_next, once, outcome
from wire_stores import wire_store

from cloudcached import (
    AccessDenied,
    CloudCachedError,
    PreconditionFailed,
    StoreBusy,
    StoreError,
    StoreRefused,
    StoreTimeout,
    StoreUnreachable,
)

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
    ("two lengths", OK + b"Content-Length: 5\r\nContent-Length: 4\r\n\r\nhello", StoreUnreachable),
    ("listed lengths", OK + b"Content-Length: 5, 5\r\n\r\nhello", StoreUnreachable),
    ("length and chunks", OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", StoreUnreachable),
    ("negative length", OK + b"Content-Length: -5\r\n\r\nhello", StoreUnreachable),
    ("hex length", OK + b"Content-Length: 0x5\r\n\r\nhello", StoreUnreachable),
    ("1_0", OK + b"Content-Length: 1_0\r\n\r\nhellohello", StoreUnreachable),
    ("gzip coding", OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", StoreUnreachable),
    ("two codings", OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n", StoreUnreachable),
    ("folded", OK + b"Content-Length:\r\n 5\r\n\r\nhello", StoreUnreachable),
    ("blank before the colon", OK + b"Content-Length : 5\r\n\r\nhello", StoreUnreachable),
    ("bare LF", OK + b"A: b\nContent-Length: 5\r\n\r\nhello", StoreUnreachable),
    ("bare CR", OK + b"A: b\rContent-Length: 5\r\n\r\nhello", StoreUnreachable),
    ("NUL", OK + b"x-amz-meta-a: b\0\r\nContent-Length: 5\r\n\r\nhello", StoreUnreachable),
    ("no colon", OK + b"nothing\r\nContent-Length: 5\r\n\r\nhello", StoreUnreachable),
    ("two etags", HELLO.replace(b"Date:", b'ETag: "x"\r\nDate:', 1), StoreUnreachable),
    ("metadata twice", OK + b"x-amz-meta-a: 1\r\nx-amz-meta-A: 2\r\nContent-Length: 0\r\n\r\n", StoreUnreachable),
    ("no etag", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", StoreRefused),
    ("empty etag", b'HTTP/1.1 200 OK\r\nETag: ""\r\nContent-Length: 5\r\n\r\nhello', StoreRefused),
    ("another protocol", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n" + HELLO, StoreUnreachable),
    ("HTTP/2", b"\x00\x00\x12\x04" + b"\x00" * 40 + b"\r\n\r\n", StoreUnreachable),
    ("HTTP/0.9", b"hello\r\n\r\n", StoreUnreachable),
    ("interim without end", b"HTTP/1.1 100 Continue\r\n\r\n" * 100 + HELLO, StoreUnreachable),
    ("huge head", b"HTTP/1.1 200 OK\r\n" + b"A: " + b"b" * 100_000 + b"\r\n\r\n", StoreUnreachable),
    ("many headers", OK + b"A: b\r\n" * 300 + b"Content-Length: 5\r\n\r\nhello", StoreUnreachable),
    ("chunk too long", OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n", StoreUnreachable),
    ("negative chunk", OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n", StoreUnreachable),
    ("huge chunk", OK + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nhello", StoreUnreachable),
    ("long chunk line", OK + b"Transfer-Encoding: chunked\r\n\r\n5;" + b"x" * 10_000, StoreUnreachable),
    ("long trailer", OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"A: b\r\n" * 5_000, StoreUnreachable),
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
