"""The wire among processes and threads: forks, many threads, many stores."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from peer import Peer, echo
from wire_scripts import Staged, run, sized
from wire_stores import wire_store

from cloudcached.stores.port import Write
from cloudcached.stores.wire.pool import POOL

LONG = 60.0


# Forks


def test_a_child_has_connections_of_its_own_and_its_parent_s_go_on(staged: Staged, bundle: str) -> None:
    script = """
ask("a")
for ending in ("sys", "os", "close"):
    def child():
        ask("b", "c")
        if ending == "os":
            os._exit(0)
        if ending == "close":
            store.close()
    first = fork(child)
    ask("d")
    wait(first)
    ask("e")
"""
    with staged(echo) as stage:
        run(script, stage.endpoint, bundle)
        assert stage.connections == 4
        assert len(stage.asked) == 1 + 3 * 4


def test_children_of_children(staged: Staged, bundle: str) -> None:
    script = """
ask("a")
def child(depth):
    ask("b")
    if depth:
        wait(fork(lambda: child(depth - 1)))
    ask("c")
wait(fork(lambda: child(2)))
ask("d")
"""
    with staged(echo) as stage:
        run(script, stage.endpoint, bundle)
        assert stage.connections == 4


def test_a_child_does_not_read_what_its_parent_asked_for(staged: Staged, bundle: str) -> None:
    script = """
from cloudcached import StoreUnreachable
found, pieces, dropped = (store.get(f"{n}-3000000", timeout=60) for n in range(3))
begun = iter(pieces.pieces())
first = next(begun)
def child():
    global dropped
    for read in (found.read, lambda: list(found.pieces())):
        try:
            read()
        except StoreUnreachable:
            pass
        else:
            raise AssertionError("read")
    dropped.close()
    del dropped
    assert len(body("b-5000")) == 5000
wait(fork(child))
assert bytes(found.read()) == b"/bucket/0-3000000".ljust(3000000)
assert first + b"".join(begun) == b"/bucket/1-3000000".ljust(3000000)
assert bytes(dropped.read()) == b"/bucket/2-3000000".ljust(3000000)
"""
    with staged(sized) as stage:
        run(script, stage.endpoint, bundle)


def test_a_fork_while_threads_are_at_it(staged: Staged, bundle: str) -> None:
    script = """
over = threading.Event()
ready = threading.Barrier(5)
failures = []
def work(number):
    turn = 0
    while not over.is_set():
        try:
            ask(f"thread-{number}-{turn}")
        except BaseException as error:
            failures.append(error)
            return
        if turn == 3:
            ready.wait()
        turn += 1
threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
for thread in threads:
    thread.start()
# While the very first handshakes run, OpenSSL 3.0 itself holds locks that stay locked in a child.
ready.wait()
for turn in range(5):
    children = [fork(lambda: ask("b", "c", "d")) for _ in range(2)]
    ask("e")
    for child in children:
        wait(child)
over.set()
for thread in threads:
    thread.join()
assert not failures, failures
"""
    with staged(echo) as stage:
        run(script, stage.endpoint, bundle, before="import warnings; warnings.simplefilter('ignore')")


def test_multiprocessing(staged: Staged, bundle: str) -> None:
    script = """
import multiprocessing
ask("a")
with multiprocessing.get_context("fork").Pool(3) as pool:
    assert pool.map(body, map(str, range(30))) == [f"/bucket/{n}".encode() for n in range(30)]
ask("b")
"""
    with staged(echo) as stage:
        run(script, stage.endpoint, bundle)
        assert 2 <= stage.connections <= 4


# Threads


@pytest.mark.usefixtures("no_leak")
def test_32_threads(staged: Staged, bundle: str) -> None:
    """Each gets its own bytes, of every size."""
    sizes = [50, 60_000, 70_000, 300_000]

    def work(number: int) -> None:
        for turn in range(12):
            name = f"{number}-{turn}-{sizes[(number + turn) % len(sizes)]}"
            wanted = f"/bucket/{name}".encode().ljust(int(name.rpartition("-")[2]))
            store.put(Write(name, wanted, {}), timeout=LONG)
            assert bytes(store.get(name, timeout=LONG).read()) == wanted
            assert b"".join(store.get(name, timeout=LONG).pieces()) == wanted
            if turn % 4 == 0:
                del wanted
                store.get(name, timeout=LONG)  # forgotten

    with staged(sized) as stage:
        store = wire_store(stage.endpoint, ca_bundle=bundle)
        with ThreadPoolExecutor(32) as threads:
            list(threads.map(work, range(32)))
        assert len(stage.asked) == 32 * (12 * 3 + 3)
        POOL.close()


@pytest.mark.usefixtures("no_leak")
def test_connections_are_for_the_main_thread_and_others_in_turn(staged: Staged, bundle: str) -> None:
    """They wait in two ways; each takes over what the other leaves."""
    with staged(sized) as stage, ThreadPoolExecutor(1) as thread:
        store = wire_store(stage.endpoint, ca_bundle=bundle)

        def work(name: str) -> None:
            size = int(name.rpartition("-")[2])
            store.put(Write(name, bytes(size), {}), timeout=LONG)
            assert len(store.get(name, timeout=LONG).read()) == size

        for turn in range(10):
            size = (50, 2_000_000)[turn % 2]
            work(f"main-{size}")
            thread.submit(work, f"thread-{size}").result()
        assert stage.connections == 1


@pytest.mark.usefixtures("no_leak")
def test_many_stores_opened_and_closed(staged: Staged, bundle: str, version: str) -> None:
    with staged(echo) as stage:
        for number in range(100 if version else 1000):
            store = wire_store(stage.endpoint, ca_bundle=bundle)
            assert bytes(store.get("a", timeout=LONG).read()) == b"/bucket/a"
            if number % 2:
                store.close()
        assert stage.connections <= (50 if version else 500) + 1
        assert threading.active_count() < 50 + stage.connections


def test_a_miss_keeps_no_frame_of_its_caller(staged: Staged, bundle: str) -> None:
    """And no body: what it raises dies with its handler."""
    import gc
    import weakref

    from peer import refused

    from cloudcached import NotFound

    class Local:
        pass

    def play(peer: Peer) -> None:
        while asked := peer.request():
            peer.send(refused(asked, 404, "NoSuchKey"))

    def page() -> weakref.ref[Local]:
        local = Local()
        with pytest.raises(NotFound):
            store.get("a", timeout=LONG)
        return weakref.ref(local)

    with staged(play) as stage:
        store = wire_store(stage.endpoint, ca_bundle=bundle)
        gc.collect()
        gc.disable()
        try:
            assert page()() is None
        finally:
            gc.enable()
