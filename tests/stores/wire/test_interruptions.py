"""The wire where signals, greenlets and the end of the interpreter come in between."""

from __future__ import annotations

import functools
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
from peer import Peer, Stage, answered, echo
from wire_scripts import Staged, run, sized
from wire_stores import wire_store

from cloudcached import StoreError
from cloudcached.stores.wire.connection import NotSent

LONG = 60.0


# Signals

ALARMS = """
import random, signal, ssl  # an exception that comes while ssl is imported may come out of that as another
from pathlib import Path
from cloudcached.stores.wire.pool import POOL

def sockets():
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found += str(entry.readlink()).startswith("socket:")
        except OSError:
            pass
    return found

kinds = [type("Mine", (base,), {}) for base in (Exception, OSError, TimeoutError, ConnectionResetError, BaseException)]
expected = None

def ring(*_):
    raise expected("mine")

signal.signal(signal.SIGALRM, ring)
# An alarm that rings while a destructor runs is Python's to report; there is nothing to be lost then.
sys.unraisablehook = lambda unraisable: None
rung = quiet = 0
rand = random.Random(0)
while rung < 400:
    expected = rand.choice(kinds)
    size = rand.choice([50, 70_000, 400_000])
    name = f"{rung}-{size}"
    wanted = f"/bucket/{name}".encode().ljust(size)
    try:
        signal.setitimer(signal.ITIMER_REAL, rand.uniform(0.00002, 0.004))
        if rand.random() < 0.3:
            store.put(Write(name, wanted, {}), timeout=60)
        elif rand.random() < 0.5:
            assert b"".join(store.get(name, timeout=60).pieces()) == wanted
        else:
            assert bytes(store.get(name, timeout=60).read()) == wanted
        signal.setitimer(signal.ITIMER_REAL, 0)
        quiet += 1
    except BaseException as error:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if type(error) is not expected:  # nothing else, and not translated either
            raise
        rung += 1
assert body("last-50") == b"/bucket/last-50".ljust(50)
POOL.close()
assert sockets() == 0, sockets()
print(quiet)
"""


def test_alarms_that_raise(staged: Staged, bundle: str) -> None:
    """Their exceptions come through, nothing is wedged, no body is another's and no descriptor is lost."""
    with staged(sized) as stage:
        run(ALARMS, stage.endpoint, bundle)


def test_signals_do_not_prolong_a_timeout(staged: Staged, bundle: str) -> None:
    """The kernel's own timeouts begin anew after each: a program that samples itself would wait for ever."""
    script = """
import signal
from cloudcached import StoreTimeout
rings = []
signal.signal(signal.SIGALRM, lambda *_: rings.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
for call in (
    lambda: store.get("a", timeout=0.5),
    lambda: store.put(Write("a", bytes(16 << 20), {}), timeout=0.5),
    lambda: store.put(Write("a", bytes(200_000), {}), timeout=0.5),
):
    try:
        call()
    except StoreTimeout:
        pass
    else:
        raise AssertionError("answered")
signal.setitimer(signal.ITIMER_REAL, 0)
assert len(rings) > 5
"""

    def play(peer: Peer) -> None:
        peer.head()
        peer.stage.over.wait()

    with staged(play) as stage:
        run(script, stage.endpoint, bundle)


def test_an_interrupt_from_the_keyboard(staged: Staged, bundle: str) -> None:
    script = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background begins without it
for _ in range(3):
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        body("silence")
    except KeyboardInterrupt:
        pass
    else:
        raise AssertionError("answered")
ask("a", "b")
"""

    def play(peer: Peer) -> None:
        while asked := peer.request():
            if asked.target.endswith("silence"):
                peer.stage.over.wait()
            peer.send(answered(asked, asked.target.encode()))

    with staged(play) as stage:
        run(script, stage.endpoint, bundle)
        assert stage.connections == 4


# gevent

GEVENT = "from gevent import monkey; monkey.patch_all()"


def together(count: int) -> Callable[[Peer], None]:
    """Answer when so many requests wait at the same time: one after the other, they would wait for ever."""
    barrier = threading.Barrier(count)

    def play(peer: Peer) -> None:
        while asked := peer.request():
            barrier.wait(LONG)
            peer.send(answered(asked, b"" if asked.method == "PUT" else asked.target.encode()))

    return play


@pytest.mark.parametrize("before", [GEVENT, f"import cloudcached.stores.wire.store; {GEVENT}"], ids=["first", "later"])
def test_greenlets_do_not_wait_for_each_other(staged: Staged, bundle: str, before: str) -> None:
    script = """
import gevent
for turn in range(3):
    gevent.joinall([gevent.spawn(ask, f"{turn}-{n}") for n in range(10)], raise_error=True)
"""
    with staged(together(10)) as stage:
        run(script, stage.endpoint, bundle, before=f"import warnings; warnings.simplefilter('ignore'); {before}")
        assert stage.connections == 10


def test_large_bodies_under_gevent(staged: Staged, bundle: str) -> None:
    script = """
import gevent
from cloudcached import StoreTimeout
def work(number):
    name = f"{number}-3000000"
    wanted = f"/bucket/{name}".encode().ljust(3000000)
    store.put(Write(name, wanted, {}), timeout=60)
    assert body(name) == wanted
    assert b"".join(store.get(name, timeout=60).pieces()) == wanted
gevent.joinall([gevent.spawn(work, number) for number in range(5)], raise_error=True)
"""
    with staged(sized) as stage:
        run(script, stage.endpoint, bundle, before=GEVENT)


def test_gevent_s_timeouts_come_through(staged: Staged, bundle: str) -> None:
    script = """
import gevent
from cloudcached import StoreTimeout
for seconds in (0.1, 0.2):
    try:
        with gevent.Timeout(seconds):
            body("silence")
    except gevent.Timeout:
        pass
    else:
        raise AssertionError("answered")
try:
    store.get("silence", timeout=0.3)
except StoreTimeout:
    pass
else:
    raise AssertionError("answered")
ask("a", "b")
"""

    def play(peer: Peer) -> None:
        while asked := peer.request():
            if asked.target.endswith("silence"):
                peer.stage.over.wait()
            peer.send(answered(asked, asked.target.encode()))

    with staged(play) as stage:
        run(script, stage.endpoint, bundle, before=GEVENT)


def test_gevent_without_patches(staged: Staged, bundle: str) -> None:
    with staged(echo) as stage:
        run("ask('a', 'b')", stage.endpoint, bundle, before="import gevent.monkey")


# The end


def test_after_the_main_thread_and_in_exit_handlers(staged: Staged, bundle: str) -> None:
    """Where threads cannot be started any more, a name is looked up without one."""
    script = """
import atexit
log = open(sys.argv[0] if False else os.devnull)
def late(name):
    ask(name)
    store.put(Write(name, bytes(2_000_000), {}), timeout=60)
    print(name, flush=True)
atexit.register(late, "atexit")
main = threading.main_thread()
threading.Thread(target=lambda: (main.join(), late("thread"))).start()
if "{first}":
    ask("{first}")
"""
    for first in ("", "first"):
        with staged(echo) as stage:
            url = stage.endpoint.replace("127.0.0.1", "localhost")
            assert run(script.replace("{first}", first), url, bundle).split() == ["thread", "atexit"]


def test_an_answer_that_is_kept_until_the_end(staged: Staged, bundle: str) -> None:
    """Neither it nor the kept connections say anything when the interpreter goes."""
    script = """
kept = [store.get("a-3000000", timeout=60), iter(store.get("b-3000000", timeout=60).pieces())]
next(kept[1])
assert len(body("c-50")) == 50
"""
    with staged(sized) as stage:
        run(script, stage.endpoint, bundle, before="import warnings; warnings.simplefilter('always')")


# Whose exception it is


class Handler:
    """A signal handler in some of its forms."""

    def method(self, *_: object) -> None:
        raise OSError("mine")

    def __call__(self, *_: object) -> None:
        raise OSError("mine")

    @classmethod
    def of_class(cls, *_: object) -> None:
        raise OSError("mine")


def plain(*_: object) -> None:
    raise TimeoutError("mine")


@pytest.mark.parametrize(
    "handler",
    [plain, Handler().method, Handler(), Handler.of_class, functools.partial(plain, 1), lambda *_: plain()],
    ids=["function", "method", "object", "class method", "partial", "lambda"],
)
def test_handlers_are_known_in_every_form(handler: Any) -> None:
    def play(peer: Peer) -> None:
        peer.request()
        os.kill(os.getpid(), signal.SIGUSR1)
        peer.stage.over.wait()

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with Stage(play) as stage, pytest.raises(OSError, match=r"^mine$") as caught:
            wire_store(stage.endpoint).get("a", timeout=LONG)
        assert not isinstance(caught.value, StoreError)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_sockets_of_others_fail_as_ours_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a proxy's module, say: their errors come from files that nobody here knows."""

    def connect(*_: object) -> None:
        raise OSError("no route to the proxy")

    monkeypatch.setattr("cloudcached.stores.wire.connection._opened", connect)
    with pytest.raises(NotSent, match="no route"):
        wire_store("http://127.0.0.1:9").get("a", timeout=LONG)
