"""Every verb of a client on a bad day: what it answers silently, and how long it may take."""

from __future__ import annotations

import asyncio
import io
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from crew import at_once, settings_for
from fault_proxy import FaultProxy

from cloudcached import (
    AccessDenied,
    BucketMissing,
    Client,
    CloudCachedError,
    KeyMissing,
    OutcomeUnknown,
    PartialFailure,
    StoreError,
    StoreTimeout,
)

TIMEOUT = 1.0
#: The promise is the timeout and the one request under way; the rest is for a busy machine.
BOUND = 2 * TIMEOUT + 2.5

Verb = Callable[[Client], Any]

#: Each verb on keys that hold something, and what it answers where failures are silent; an exception is raised.
VERBS: dict[str, tuple[Verb, Any]] = {
    "get": (lambda c: c.get("text", "default"), "default"),
    "get big": (lambda c: c.get("big"), None),
    "aget": (lambda c: asyncio.run(c.aget("text")), None),
    "get_many": (lambda c: c.get_many(["text", "number"]), {}),
    "put": (lambda c: c.put("new", 1), False),
    "put over": (lambda c: c.put("text", 1, replace=True), False),
    "put_many": (lambda c: c.put_many({"one": 1, "two": 2}), {"one": False, "two": False}),
    "put_file": (lambda c: c.put_file("new file", io.BytesIO(b"x" * 100)), False),
    "put_file over": (lambda c: c.put_file("doomed", io.BytesIO(b"x" * 100), replace=True), False),
    "get_file": (lambda c: c.get_file("big", io.BytesIO()), False),
    "open": (lambda c: read_opened(c, "big"), KeyMissing),
    "open to write": (lambda c: write_opened(c, "opened"), False),
    "update": (lambda c: c.update("text", 2), False),
    "delete": (lambda c: c.delete("doomed"), False),
    "delete_many": (lambda c: c.delete_many(["doomed"]), False),
    "has": (lambda c: c.has("text"), False),
    "touch": (lambda c: c.touch("text"), False),
    "persist": (lambda c: c.persist("text"), False),
    "expire_at": (lambda c: c.expire_at("text", 2e9), False),
    "ttl": (lambda c: c.ttl("text"), 0),
    "info": (lambda c: c.info("text"), None),
    "incr": (lambda c: c.incr("number"), KeyMissing),
    "decr": (lambda c: c.decr("other number", initial=0), KeyMissing),
    "keys": (lambda c: list(c.keys()), []),
    "clear": (lambda c: c.clear("nothing"), None),
    "gets": (lambda c: c.gets("text"), StoreError),
    "cas": (lambda c: c.cas("text", 1, TOKENS[c]), StoreError),
    "lock": (lambda c: c.lock("name", blocking=False).acquire(), StoreError),
}
TOKENS: dict[Client, Any] = {}


def read_opened(client: Client, key: str) -> int:
    with client.open(key) as file:
        return len(file.read())


def write_opened(client: Client, key: str) -> bool:
    """Return whether what was written was stored."""
    with client.open(key, "wb") as file:
        file.write(b"x" * 100)
    return file.stored


def timed(verb: Verb, client: Client) -> tuple[float, Any]:
    """Return the seconds that a verb took, and its answer or the error that it raised."""
    began = time.monotonic()
    try:
        answer = verb(client)
    except CloudCachedError as error:
        answer = error
    return time.monotonic() - began, answer


def check_all(
    client: Client, check: Callable[[str, Any], bool], names: list[str] | None = None, bound: float = BOUND
) -> None:
    """Call all verbs at once, and check how long each took and what came of it."""
    names = names or list(VERBS)
    results = dict(zip(names, at_once(*[partial(timed, VERBS[name][0], client) for name in names]), strict=True))
    wrong = {name: answer for name, (_, answer) in results.items() if not check(name, answer)}
    assert wrong == {}
    late = {name: seconds for name, (seconds, _) in results.items() if seconds > bound}
    assert late == {}


def failed_with(error: type[StoreError]) -> Callable[[str, Any], bool]:
    """Return a check for answers that are this error, in bulk verbs that of each key."""

    def check(name: str, answer: Any) -> bool:
        causes = answer.failures.values() if isinstance(answer, PartialFailure) else [answer]
        # A busy machine may use up the time of a request before it fails.
        allowed = (error,) if error in (AccessDenied, BucketMissing) else (error, StoreTimeout, OutcomeUnknown)
        return all(isinstance(cause, allowed) for cause in causes)

    return check


def soon(client: Client, key: str, value: Any = None) -> Any:
    """Return what is under *key*, of a client that works again; the first tries may meet a busy machine."""
    for _ in range(20):
        with suppress(StoreError):
            value = client.get(key)
        if value is not None:
            break
    return value


def silent(name: str, answer: Any) -> bool:
    """Check for the answer of the table above."""
    wanted = VERBS[name][1]
    return isinstance(answer, wanted) if isinstance(wanted, type) else answer == wanted


@contextmanager
def clients_of(url: str, server: Any, proxy: FaultProxy, transport: str) -> Iterator[Callable[..., Client]]:
    """Give a function that opens a client of a cache with something in it, by way of the proxy."""
    opened: list[Client] = []

    def open_client(**options: Any) -> Client:
        settings = {"timeout": TIMEOUT, "transport": transport, "s3": settings_for(server, proxy.endpoint)}
        client = Client(url, **{**settings, **options})
        opened.append(client)
        if "s3" not in options and proxy.fault is None:  # what takes long, on a busy machine, is done once
            client.engine.requests.timeout = 30
            TOKENS[client] = client.gets("text")[1]
            list(client.keys())
            client.engine.requests.timeout = options.get("timeout", TIMEOUT)
            proxy.forget()
        return client

    with Client(url) as direct:
        values = {"text": "abc" * 100, "number": 5, "other number": 5, "doomed": 1, "big": os.urandom(300_000)}
        direct.put_many(values, None)
    yield open_client
    for client in opened:
        client.close()
        TOKENS.pop(client, None)
