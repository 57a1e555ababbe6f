"""What the tests of hostile servers share: the requests of a store, and what became of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from peer import DATE, ETAG, Peer, echo

from cloudcached import (
    StoreError,
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
