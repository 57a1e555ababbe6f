"""The store in memory, and what is peculiar to it."""

from __future__ import annotations

import subprocess
import sys
import uuid
from typing import Any

import pytest
from contracts.object_store import ObjectStoreContract, body_of, names_under

from cloudcached import PreconditionFailed
from cloudcached.config import Config
from cloudcached.stores import open_store
from cloudcached.stores.port import Matches, Store, UnmodifiedSince, Write
from cloudcached.testing import FakeClock


class TestMemoryStore(ObjectStoreContract):
    @pytest.fixture
    def root(self) -> str:
        return "root/"

    @pytest.fixture
    def store(self, clock: FakeClock) -> Store:
        return open_store(Config.parse("memory://", {}), clock)


def test_stores_are_shared_by_name(clock: FakeClock) -> None:
    name = uuid.uuid4().hex
    one, same, another = (
        open_store(Config.parse(url, {}), clock) for url in (f"memory://{name}",) * 2 + ("memory://",)
    )
    one.put(Write("a", b"x", {}), timeout=1)
    assert names_under(same, "") == ["a"]
    assert names_under(another, "") == []


def test_times_are_whole_seconds_of_the_clock(clock: FakeClock) -> None:
    store = open_store(Config.parse("memory://", {}), clock)
    clock.advance(1.7)
    store.put(Write("a", b"x", {}), timeout=1)
    clock.advance(2.0)
    head = store.head("a", timeout=1)
    assert (head.modified, head.date) == (1_800_000_001.0, 1_800_000_003.0)
    assert store.list("", timeout=1)[0][0].modified == 1_800_000_001.0


def test_what_was_given_can_be_changed_afterwards(clock: FakeClock) -> None:
    store = open_store(Config.parse("memory://", {}), clock)
    body, metadata = bytearray(b"x"), {"a": "1"}
    store.put(Write("a", body, metadata), timeout=1)
    body[:] = b"y"
    metadata["a"] = "2"
    found = store.get("a", timeout=1)
    found.head.metadata["a"] = "3"  # type: ignore[index]
    assert (body_of(store, "a"), dict(store.head("a", timeout=1).metadata)) == (b"x", {"a": "1"})


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        (lambda head: Matches("0" * 32), lambda head: Matches(head.etag)),
        (lambda head: UnmodifiedSince(head.modified - 1), lambda head: UnmodifiedSince(head.modified)),
    ],
)
def test_a_removal_may_have_a_condition(clock: FakeClock, wrong: Any, right: Any) -> None:
    store = open_store(Config.parse("memory://", {}), clock)
    store.put(Write("a", b"x", {}), timeout=1)
    head = store.head("a", timeout=1)
    with pytest.raises(PreconditionFailed):
        store.delete("a", when=wrong(head), timeout=1)
    store.delete("a", when=right(head), timeout=1)
    store.delete("a", when=wrong(head), timeout=1)  # what is not there is no error
    assert store.list("", timeout=1) == ([], False)


def test_a_child_goes_on_with_a_copy() -> None:
    """Also while a thread of the parent holds the lock."""
    script = """
import os, sys
from cloudcached.runtime.clock import SystemClock
from cloudcached import PreconditionFailed, StoreUnreachable
from cloudcached.config import Config
from cloudcached.stores import open_store
from cloudcached.stores.port import Write
store = open_store(Config.parse("memory://shared", {}), SystemClock())
store.put(Write("a", b"x", {}), timeout=1)
with store._objects.lock:
    child = os.fork()
    if child == 0:
        store.put(Write("b", b"y", {}), timeout=1)
        os._exit(0 if bytes(store.get("a", timeout=1).read()) == b"x" else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert [row.object_key for row in store.list("", timeout=1)[0]] == ["a"]
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=20)
