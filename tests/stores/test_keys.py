"""Keys that expire: asked for next to the requests, in time, from sources that fail, hang and turn."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from chains import eventually, run

from cloudcached import AccessDenied, ConfigError
from cloudcached.errors import StoreError, StoreTimeout, StoreUnreachable
from cloudcached.stores.boto3 import keys as keys_module
from cloudcached.stores.boto3.keys import MARGIN, PAUSE, WINDOW, Lease, Renewed
from cloudcached.stores.wire.request import Keys


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))


class Moment:
    """The real time, as a test wants it."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def moment(monkeypatch: pytest.MonkeyPatch) -> Moment:
    made = Moment()
    monkeypatch.setattr(keys_module, "_real_time", made)
    return made


class Scripted:
    """A source that gives numbered keys for an hour, or does what it is told once."""

    def __init__(self, moment: Callable[[], float] = time.time) -> None:
        self.moment = moment
        self.asked = 0
        self.next: list[Callable[[], None]] = []
        self.seconds = 3600.0
        self.threads: list[threading.Thread] = []

    def __call__(self, seconds: float) -> Lease:
        self.asked += 1
        self.threads.append(threading.current_thread())
        if self.next:
            self.next.pop(0)()
        return Lease.until(Keys(f"key-{self.asked}", "secret", None), self.moment() + self.seconds)


def failing(error: Exception | None = None) -> Callable[[], None]:
    def fail() -> None:
        raise error or StoreUnreachable("the source is away")

    return fail


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)


# One source


def test_it_is_asked_once(moment: Moment) -> None:
    source = Scripted(moment)
    renewed = Renewed(source)
    assert {renewed(5.0).access_key for _ in range(10)} == {"key-1"}
    moment.now += 3600 - WINDOW - 1
    assert renewed(5.0).access_key == "key-1"
    assert source.asked == 1


def test_renewal_beside_the_requests(moment: Moment) -> None:
    source = Scripted(moment)
    renewed = Renewed(source)
    renewed(5.0)
    gate = threading.Event()
    source.next = [lambda: gate.wait(10) and None]
    moment.now += 3600 - WINDOW + 1
    # 0 seconds: nothing here waits for the source
    assert [renewed(0.0).access_key for _ in range(10)] == ["key-1"] * 10
    eventually(lambda: source.asked == 2)
    gate.set()
    eventually(lambda: renewed(0.0).access_key == "key-2")
    assert source.asked == 2
    assert all(thread.daemon and thread is not threading.main_thread() for thread in source.threads)


def test_a_renewal_that_fails_once(moment: Moment, caplog: pytest.LogCaptureFixture) -> None:
    source = Scripted(moment)
    renewed = Renewed(source)
    renewed(5.0)
    source.next = [failing(), failing(RuntimeError("no error of ours"))]
    moment.now += 3600 - WINDOW + 1
    for asked in (2, 3):
        assert renewed(0.0).access_key == "key-1"
        eventually(lambda asked=asked: source.asked == asked and not renewed._questions())
        for _ in range(100):
            assert renewed(0.0).access_key == "key-1"
        assert source.asked == asked  # it gets a second to recover
        moment.now += PAUSE
    assert renewed(0.0).access_key == "key-1"
    eventually(lambda: renewed(0.0).access_key == "key-4")
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "the credentials could not be renewed yet: the source is away"
    ]


def test_keys_are_used_as_long_as_they_are_valid(moment: Moment) -> None:
    source = Scripted(moment)
    renewed = Renewed(source)
    renewed(5.0)
    source.next = [failing()] * 100
    moment.now += 3600 - MARGIN - 1
    assert renewed(5.0).access_key == "key-1"
    moment.now += MARGIN
    assert renewed(5.0).access_key == "key-1"
    moment.now += 1
    with pytest.raises(StoreUnreachable, match="the source is away"):
        renewed(5.0)
    source.next = []
    assert renewed(5.0).access_key != "key-1"  # a failure is not remembered


def test_the_last_seconds_are_not_relied_on(moment: Moment) -> None:
    source = Scripted(moment)
    renewed = Renewed(source)
    renewed(5.0)
    moment.now += 3600 - MARGIN / 2
    assert renewed(5.0).access_key == "key-2"


def test_a_late_source_leaves_time_for_the_request(moment: Moment) -> None:
    source = Scripted(moment)
    renewed = Renewed(source)
    renewed(5.0)
    gate = threading.Event()
    source.next = [lambda: gate.wait(10) and None]
    moment.now += 3600 - MARGIN / 2
    began = time.monotonic()
    assert renewed(0.4).access_key == "key-1"
    assert 0.15 < time.monotonic() - began < 0.4
    gate.set()


def test_keys_for_less_than_the_window(moment: Moment) -> None:
    """They are renewed now and then, not by every request."""
    source = Scripted(moment)
    source.seconds = 600.0
    renewed = Renewed(source)
    for _ in range(100):
        assert renewed(5.0).access_key == "key-1"
    moment.now += 301
    renewed(5.0)
    eventually(lambda: renewed(0.0).access_key == "key-2")
    assert source.asked == 2


def test_a_source_that_gives_the_same_keys_until_the_end(moment: Moment) -> None:
    source = Scripted(moment)
    end = moment.now + 3600
    renewed = Renewed(lambda seconds: Lease.until(source(seconds).keys, end))
    renewed(5.0)
    for _ in range(3550):
        moment.now += 1
        renewed(5.0)
        eventually(lambda: not renewed._questions())
    assert source.asked < 10


def test_keys_that_have_expired_already(moment: Moment) -> None:
    source = Scripted(moment)
    source.seconds = -1.0
    renewed = Renewed(source)
    for _ in range(2):
        with pytest.raises(AccessDenied, match="have expired"):
            renewed(5.0)
    assert source.asked == 2


def test_keys_that_do_not_expire(moment: Moment) -> None:
    calls = []

    def source(seconds: float) -> Lease:
        calls.append(seconds)
        return Lease(Keys("for-ever", "secret", None))

    renewed = Renewed(source)
    renewed(5.0)
    moment.now += 10**9
    assert renewed(5.0).access_key == "for-ever"
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (StoreUnreachable("away"), StoreUnreachable),
        (StoreTimeout("late"), StoreTimeout),
        (AccessDenied("no"), AccessDenied),
        (ConfigError("wrong"), AccessDenied),
        (KeyError("odd"), AccessDenied),
    ],
)
def test_a_source_that_fails_once(error: Exception, kind: type[StoreError]) -> None:
    source = Scripted()
    source.next = [failing(error)]
    renewed = Renewed(source)
    with pytest.raises(kind) as caught:
        renewed(5.0)
    assert type(caught.value) is kind
    assert caught.value is not error
    assert renewed(5.0).access_key == "key-2"


def test_a_slow_source_is_not_waited_for_longer_than_the_caller_may() -> None:
    source = Scripted()
    gate = threading.Event()
    source.next = [lambda: gate.wait(10) and None]
    renewed = Renewed(source)
    began = time.monotonic()
    for seconds in (0.0, 0.2, -1.0):
        with pytest.raises(StoreTimeout, match="in time"):
            renewed(seconds)
    assert time.monotonic() - began < 2
    gate.set()
    assert renewed(5.0).access_key == "key-1"  # the answer was not lost
    assert source.asked == 1


def test_threads_share_an_answer_and_a_failure() -> None:
    source = Scripted()
    gate = threading.Event()

    def fail() -> None:
        gate.wait(10)
        raise StoreUnreachable("the source is away")

    source.next = [fail]
    renewed = Renewed(source)
    answers: list[object] = []

    def ask() -> None:
        try:
            answers.append(renewed(5.0).access_key)
        except StoreUnreachable as exc:
            answers.append(exc)

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    eventually(lambda: source.asked == 1)
    time.sleep(0.1)
    gate.set()
    for thread in threads:
        thread.join()
    assert source.asked == 1
    assert len({id(failure) for failure in answers}) == 20
    assert renewed(5.0).access_key == "key-2"


def test_no_frame_is_kept_by_a_failure() -> None:
    class Large:
        alive = 0

        def __init__(self) -> None:
            Large.alive += 1

        def __del__(self) -> None:
            Large.alive -= 1

    def source(_: float) -> Lease:
        large = Large()  # noqa: F841 - as a local variable
        raise StoreUnreachable("away")

    renewed = Renewed(source)
    for _ in range(3):
        with pytest.raises(StoreUnreachable):
            renewed(5.0)
    eventually(lambda: Large.alive == 0)


# Where no thread can be started


def test_inline(moment: Moment, no_threads: None) -> None:
    source = Scripted(moment)
    source.next = [failing()]
    renewed = Renewed(source)
    with pytest.raises(StoreUnreachable):
        renewed(5.0)
    assert renewed(5.0).access_key == "key-2"
    moment.now += 3600 - WINDOW + 1
    assert renewed(5.0).access_key == "key-2"  # no request waits while there are good ones
    moment.now += WINDOW - MARGIN
    assert renewed(5.0).access_key == "key-3"
    assert {thread is threading.current_thread() for thread in source.threads} == {True}


def test_inline_without_time(no_threads: None) -> None:
    source = Scripted()
    renewed = Renewed(source)
    with pytest.raises(StoreTimeout):
        renewed(0.0)
    assert source.asked == 0
    assert renewed(5.0).access_key == "key-1"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ZeroDivisionError("of a signal's handler")])
def test_what_a_signal_raises_comes_through(error: BaseException, no_threads: None) -> None:
    source = Scripted()

    def interrupt() -> None:
        raise error

    source.next = [interrupt]
    renewed = Renewed(source)
    with pytest.raises(type(error)):
        renewed(5.0)
    assert renewed(5.0).access_key == "key-2"


def test_an_interrupt_between_question_and_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Scripted()
    renewed = Renewed(source)

    def start(*_: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(keys_module, "_start", start)
        with pytest.raises(KeyboardInterrupt):
            renewed(5.0)
    assert renewed(5.0).access_key == "key-1"


PRELUDE = """
import atexit, os, sys, threading, time
from cloudcached.stores.boto3.keys import Lease, Renewed
from cloudcached.stores.wire.request import Keys
from cloudcached.errors import StoreError
asked = []
gate = threading.Event()
gate.set()
def source(seconds):
    asked.append((os.getpid(), threading.current_thread() is threading.main_thread()))
    gate.wait()
    return Lease.until(Keys(f"key-{len(asked)}", "secret", None), time.time() + lifetime)
lifetime = 3600
renewed = Renewed(source)
"""


def test_after_the_main_thread_has_ended() -> None:
    script = PRELUDE + (
        "def end():\n    print(renewed(5.0).access_key, threading.main_thread().is_alive())\natexit.register(end)\n"
    )
    assert run(script) in ("key-1 False\n", "key-1 True\n")
    script = PRELUDE + (
        "def end():\n    threading.main_thread().join()\n    print(renewed(5.0).access_key)\n"
        "threading.Thread(target=end).start()\n"
    )
    assert run(script) == "key-1\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_goes_on_with_its_parent_s_keys() -> None:
    script = PRELUDE + (
        "renewed(5.0)\n"
        "if os.fork() == 0:\n"
        "    print(renewed(0.0).access_key, len(asked), threading.active_count(), flush=True)\n"
        "    renewed._lease = None\n"
        "    print(renewed(5.0).access_key, asked[-1][0] == os.getpid(), flush=True)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "print(renewed(0.0).access_key)\n"
    )
    assert run(script) == "key-1 1 1\nkey-2 True\nkey-1\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_does_not_wait_for_its_parent_s_question() -> None:
    script = PRELUDE + (
        "gate.clear()\n"
        "try:\n    renewed(0.1)\nexcept StoreError:\n    pass\n"
        "if os.fork() == 0:\n"
        "    gate = threading.Event(); gate.set()\n"
        "    print(renewed(5.0).access_key, flush=True)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "gate.set()\n"
        "print(renewed(5.0).access_key)\n"
    )
    assert run(script) == "key-2\nkey-1\n"
