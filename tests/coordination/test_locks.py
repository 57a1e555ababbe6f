"""Locks: one holder, a lease by the server's clock, and an object that is never deleted."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from crew import Crew, at_once, compute_once, count_in_file, settings_for, together
from fault_proxy import FaultProxy, first, loses_answer, only, sometimes

from cloudcached import Client, ConfigError, Lock, LockError, ReadOnlyError
from cloudcached.testing import FakeClock


@pytest.fixture
def client(any_url: str) -> Iterator[Client]:
    with Client(any_url) as client:
        yield client


@pytest.fixture
def local(clock: FakeClock) -> Client:
    """Give a client in memory, where the server's clock is the one that the test moves."""
    return Client(f"memory://{uuid.uuid4().hex}", clock=clock)


@pytest.fixture
def proxy(server: Any) -> Iterator[FaultProxy]:
    with FaultProxy(server.endpoint) as proxy:
        yield proxy


@pytest.fixture
def watched(s3_url: str, server: Any, proxy: FaultProxy, clock: FakeClock) -> Iterator[Client]:
    """Give a client whose requests the proxy counts, and whose sleeps take no time."""
    with Client(s3_url, clock=clock, s3=settings_for(server, proxy.endpoint)) as client:
        yield client


class Skewed:
    """A machine whose clock is wrong."""

    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(time.sleep)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def time(self) -> float:
        return time.time() + self.seconds


class TestOneHolder:
    def test_takes_and_gives_back(self, client: Client) -> None:
        lock = client.lock("name")
        assert not lock.locked()
        assert lock.acquire() is True
        assert lock.locked()
        assert lock.owned()
        lock.release()
        assert not lock.locked()
        assert not lock.owned()

    def test_a_second_one_waits_in_vain(self, client: Client) -> None:
        with client.lock("name"):
            other = client.lock("name")
            assert other.acquire(blocking=False) is False
            assert other.acquire(blocking_timeout=0.1) is False
            assert client.lock("name", blocking=False).acquire() is False
            assert client.lock("name", blocking_timeout=0.1).acquire() is False
            assert other.locked()
            assert not other.owned()
            with pytest.raises(LockError), client.lock("name", blocking_timeout=0):
                pytest.fail("two holders")
        assert other.acquire(blocking=False) is True

    def test_other_names_are_other_locks(self, client: Client) -> None:
        with client.lock("one"), client.lock("two"), client.lock("one/two"), client.lock("One"):
            assert client.lock("one").locked()

    def test_only_its_owner_releases(self, client: Client) -> None:
        with client.lock("name") as lock:
            other = client.lock("name")
            with pytest.raises(LockError):
                other.release()
            with pytest.raises(LockError):
                other.extend(10)
            assert lock.owned()

    def test_one_object_is_one_owner(self, client: Client) -> None:
        lock = client.lock("name")
        with lock, pytest.raises(LockError):
            lock.acquire()
        with pytest.raises(LockError):
            lock.release()
        with lock:
            assert lock.fencing == 2

    @pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
    def test_a_forked_child_holds_nothing_of_its_parents(self, local: Client) -> None:
        """However often it asks."""
        lock = local.lock("name")
        lock.acquire()
        child = os.fork()
        if not child:
            code = 2
            try:
                signal.alarm(20)
                code = int(any(lock.acquire(blocking=False) for _ in range(3)) or lock.owned())
                with pytest.raises(LockError):
                    lock.release()
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert lock.owned()

    def test_an_exception_inside_releases(self, client: Client) -> None:
        with pytest.raises(ZeroDivisionError), client.lock("name"):
            _ = 1 / 0
        assert not client.lock("name").locked()

    def test_the_fencing_number_grows(self, client: Client) -> None:
        numbers = []
        for _ in range(5):
            with client.lock("name") as lock:
                numbers.append(lock.fencing)
        assert numbers == [1, 2, 3, 4, 5]

    @pytest.mark.parametrize("timeout", [0, -1, float("nan")])
    def test_a_lease_is_positive(self, timeout: float) -> None:
        with pytest.raises(ConfigError):
            Client("memory://").lock("name", timeout=timeout)

    def test_asks_nothing_before_it_is_taken(self, watched: Client, proxy: FaultProxy) -> None:
        watched.lock("name")
        assert not proxy.seen


class TestLease:
    def test_ends_by_itself(self, local: Client, clock: FakeClock) -> None:
        late, next_one = local.lock("name", timeout=10), local.lock("name", timeout=10)
        assert late.acquire()
        clock.advance(10)
        assert next_one.acquire(blocking=False) is False  # HTTP dates are whole seconds
        clock.advance(1)
        assert next_one.acquire(blocking=False) is True
        assert next_one.fencing == late.fencing + 1
        assert not late.owned()
        with pytest.raises(LockError, match="ran out"):
            late.release()
        assert next_one.owned()

    def test_is_not_missed_while_nobody_takes_the_lock(self, local: Client, clock: FakeClock) -> None:
        lock = local.lock("name", timeout=10)
        with lock:
            clock.advance(100)
            assert not lock.locked()
        assert local.lock("name").acquire(blocking=False)

    def test_is_waited_for(self, local: Client, clock: FakeClock) -> None:
        assert local.lock("name", timeout=10).acquire()
        began = clock.monotonic()
        assert local.lock("name").acquire()
        assert 11 <= clock.monotonic() - began <= 13

    def test_none_is_for_ever(self, local: Client, clock: FakeClock) -> None:
        lock = local.lock("name", timeout=None)
        assert lock.acquire()
        clock.advance(10**9)
        assert local.lock("name").acquire(blocking=False) is False
        lock.release()

    def test_is_extended(self, local: Client, clock: FakeClock) -> None:
        lock, other = local.lock("name", timeout=10), local.lock("name")
        lock.acquire()
        clock.advance(4)
        lock.extend(10)  # 6 were left
        clock.advance(16)
        assert other.acquire(blocking=False) is False
        lock.extend(5, replace_ttl=True)
        clock.advance(5)
        assert other.acquire(blocking=False) is False
        clock.advance(1)
        assert other.acquire(blocking=False) is True
        with pytest.raises(LockError, match="ran out"):
            lock.extend(10)
        assert other.owned()
        assert other.fencing == 2

    @pytest.mark.slow
    @pytest.mark.parametrize("ahead", [-30, 30])
    def test_goes_by_the_clock_of_the_server(self, ahead: int, s3_url: str) -> None:
        """Holder and rival are a minute apart: neither sees the lease end early, nor never."""
        holder = Client(s3_url, clock=Skewed(-ahead)).lock("name", timeout=1)
        rival = Client(s3_url, clock=Skewed(ahead)).lock("name", timeout=60)
        began = time.monotonic()
        assert holder.acquire()
        assert rival.acquire(blocking=False) is False
        assert rival.acquire(blocking_timeout=20) is True
        assert time.monotonic() - began > 1
        assert not holder.owned()
        assert rival.owned()
        with pytest.raises(LockError):
            holder.release()
        rival.release()

    @pytest.mark.slow
    def test_survives_a_killed_holder(self, s3_url: str, server: Any) -> None:
        with Crew(1) as crew, Client(s3_url) as client:
            crew.open(s3_url, s3=settings_for(server))
            began = time.monotonic()
            assert crew.each("hold", "name", 2) == [1]
            os.kill(crew.pids[0], signal.SIGKILL)
            lock = client.lock("name")
            assert lock.acquire(blocking=False) is False
            assert lock.acquire(blocking_timeout=30) is True
            assert time.monotonic() - began > 2
            assert lock.fencing == 2


class TestObject:
    def test_is_no_entry(self, client: Client) -> None:
        with client.lock("name") as lock:
            assert list(client.keys()) == []
            assert client.clear() == 0
            assert client.get("name") is None
            assert client.delete("name") is False
            assert lock.owned()
        with client.lock("name") as lock:
            assert lock.fencing == 2

    def test_is_never_deleted(self, watched: Client, proxy: FaultProxy) -> None:
        for _ in range(3):
            with watched.lock("name", timeout=30) as lock:
                lock.extend(10)
        assert not watched.lock("name").locked()
        assert set(proxy.counts) == {"GET", "PUT"}
        assert proxy.counts["PUT"] == 9
        conditions = (b"if-match", b"if-none-match")
        assert all(
            any(condition in request.head.lower() for condition in conditions)
            for request in proxy.seen
            if request.method == "PUT"
        )

    def test_costs_a_look_and_two_writes(self, watched: Client, proxy: FaultProxy) -> None:
        with watched.lock("name"):
            pass
        proxy.forget()
        with watched.lock("name"):
            pass
        assert proxy.counts == {"GET": 1, "PUT": 2}

    def test_is_asked_less_and_less_often(self, watched: Client, proxy: FaultProxy, clock: FakeClock) -> None:
        with watched.lock("name", timeout=None):
            proxy.forget()
            began = clock.monotonic()
            assert watched.lock("name").acquire(blocking_timeout=120) is False
            assert 118 <= clock.monotonic() - began <= 120
        # Six looks in the first two seconds, then one every one to two seconds.
        assert 60 <= proxy.counts["GET"] <= 126
        assert proxy.counts["PUT"] == 1

    @pytest.mark.parametrize("damage", ["bytes", "another key"])
    def test_that_is_damaged_is_not_free(self, damage: str, s3_url: str, server: Any) -> None:
        with Client(s3_url) as client:
            lock = client.lock("name")
            lock.acquire()
            other = client.lock("name")
            if damage == "bytes":
                place = {"Bucket": server.bucket, "Key": lock._place.object_key}
                metadata = server.client().head_object(**place)["Metadata"]
                server.client().put_object(**place, Body=b"free never 7", Metadata=metadata)
            else:
                other = Client(s3_url, signing_key="another").lock("name")
            for use in (other.acquire, other.locked):
                with pytest.raises(LockError, match="damaged"):
                    use()


class TestLostAnswers:
    def test_of_taking_extending_and_releasing(self, watched: Client, proxy: FaultProxy) -> None:
        lock = watched.lock("name")
        for use in (lock.acquire, partial(lock.extend, 10), lock.release):
            proxy.fault = only("PUT", first(1, loses_answer))
            assert use() is not False
        assert not lock.locked()
        assert watched.lock("name").acquire(blocking=False)

    def test_that_nobody_has_the_lock_for(self, watched: Client, proxy: FaultProxy) -> None:
        """Who loses to a rival in a lost answer does not believe to hold the lock."""
        with watched.lock("name"):
            pass
        rival = watched.lock("name")

        def fault(exchange: Any) -> None:
            proxy.fault = None
            assert rival.acquire(blocking=False)
            loses_answer(exchange)

        proxy.fault = only("PUT", fault)
        assert watched.lock("name").acquire(blocking=False) is False
        assert rival.owned()


@pytest.fixture(params=["memory", pytest.param("real", marks=pytest.mark.real)])
def atomic_url(request: pytest.FixtureRequest, servers: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> str:
    """Give a URL on a store whose conditional writes are atomic."""
    name = uuid.uuid4().hex
    if request.param == "memory":
        return f"memory://{name}"
    server = servers("real")
    for variable, value in server.env.items():
        monkeypatch.setenv(variable, value)
    return f"s3://{server.bucket}/{name}"


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    """Give 8 processes."""
    with Crew(8) as crew:
        yield crew


def check_sections(path: Path, count: int) -> None:
    """Check that each critical section saw what the one before had left, under a higher number."""
    assert [int(line) for line in path.read_text().splitlines()] == list(range(1, count + 1))


@pytest.mark.slow
class TestAmongRivals:
    def test_threads_exclude_each_other(self, atomic_url: str, tmp_path: Path) -> None:
        path = tmp_path / "count"
        path.touch()
        clients = [Client(atomic_url) for _ in range(8)]
        works = [partial(count_in_file, client, "name", str(path), 4) for client in clients]
        assert at_once(*works) == [None] * 8
        check_sections(path, 32)

    @pytest.mark.real
    def test_processes_exclude_each_other(self, s3_url: str, server: Any, crew: Crew, tmp_path: Path) -> None:
        path = tmp_path / "count"
        path.touch()
        crew.open(s3_url, s3=settings_for(server))
        assert crew.each("count_in_file", "name", str(path), 4) == [None] * 8
        check_sections(path, 32)

    @pytest.mark.real
    def test_also_when_answers_are_lost(
        self, s3_url: str, server: Any, proxy: FaultProxy, crew: Crew, tmp_path: Path
    ) -> None:
        path = tmp_path / "count"
        path.touch()
        proxy.fault = only("PUT", sometimes(0.1, loses_answer, seed=7))
        crew.open(s3_url, s3=settings_for(server, proxy.endpoint), timeout=30)
        assert crew.each("count_in_file", "name", str(path), 2) == [None] * 8
        check_sections(path, 16)

    def test_one_of_16_takes_it(self, atomic_url: str) -> None:
        client = Client(atomic_url)
        for number in range(5):
            locks = [client.lock(f"name {number}", blocking=False) for _ in range(16)]
            assert sorted(at_once(*[lock.acquire for lock in locks])) == [False] * 15 + [True]
            assert sum(lock.owned() for lock in locks) == 1

    def test_one_of_16_takes_over(self, local: Client, clock: FakeClock) -> None:
        assert local.lock("name", timeout=5).acquire()
        clock.advance(6)
        locks: list[Lock] = [local.lock("name", blocking=False) for _ in range(16)]
        assert sorted(at_once(*[lock.acquire for lock in locks])) == [False] * 15 + [True]
        assert {lock.fencing for lock in locks} == {0, 2}


class TestGetOrPut:
    @pytest.mark.slow
    def test_16_threads_compute_once(self, atomic_url: str, tmp_path: Path) -> None:
        assert compute_once(Client(atomic_url), "key", str(tmp_path / "log"), 16) == [42] * 16
        assert len((tmp_path / "log").read_text().splitlines()) == 1

    @pytest.mark.real
    @pytest.mark.slow
    def test_16_threads_in_8_processes_compute_once(self, s3_url: str, server: Any, crew: Crew, tmp_path: Path) -> None:
        crew.open(s3_url, s3=settings_for(server))
        answers = crew.each("compute_once", "key", str(tmp_path / "log"), 2)
        assert answers == [[42, 42]] * 8
        assert len((tmp_path / "log").read_text().splitlines()) == 1

    def test_a_failed_computation_leaves_no_lock(self, client: Client) -> None:
        def fail() -> int:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            client.get_or_put("key", fail, lock=True)
        assert client.get_or_put("key", lambda: 1, lock=True) == 1

    def test_computes_itself_when_the_lease_of_a_dead_one_is_over(self, local: Client, clock: FakeClock) -> None:
        dead = Lock(local.engine, "key", kind="fill", timeout=20)
        assert dead.acquire()
        assert local.get_or_put("key", lambda: 1, lock=20) == 1
        assert clock.monotonic() <= 23

    def test_shares_no_lock_with_lock(self, client: Client) -> None:
        with client.lock("key"):
            assert client.get_or_put("key", lambda: 1, lock=True) == 1


class TestReadOnly:
    def test_refuses(self, s3_url: str, server: Any, proxy: FaultProxy) -> None:
        with Client(s3_url, read_only="refuse", s3=settings_for(server, proxy.endpoint)) as client:
            with pytest.raises(ReadOnlyError):
                client.lock("name").acquire()
            with pytest.raises(ReadOnlyError):
                client.get_or_put("key", 1, lock=True)
        assert proxy.counts["PUT"] == 0

    def test_drops(self, s3_url: str, server: Any, proxy: FaultProxy) -> None:
        with Client(s3_url, read_only="drop", s3=settings_for(server, proxy.endpoint)) as client:
            assert client.lock("name").acquire() is False
            with pytest.raises(LockError), client.lock("name"):
                pytest.fail("held")
            assert client.get_or_put("key", 1, lock=True) == 1
        assert proxy.counts["PUT"] == 0


def test_together_means_together() -> None:
    """The threads of these tests do meet."""
    client = Client("memory://")
    assert sorted(together(16, client.put, "key", 1)) == [False] * 15 + [True]
