"""The near tier on disk: what the processes of a machine share, and for how long."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from contracts.cache import CacheContract
from crew import Crew
from disks import Machine, rows, unclosed
from store_doubles import CountingStore, FaultyStore, after, wrap

from cloudcached import MISSING, Client
from cloudcached.testing import FakeClock

pytest.importorskip("diskcache")
pytestmark = unclosed

MAX_AGE = 60
Open = Callable[..., Client]


@pytest.fixture
def machine(tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    with Machine(tmp_path / "near", clock, monkeypatch) as machine:
        yield machine


@pytest.fixture
def opened(machine: Machine) -> Open:
    """Give a function that opens a client, as another process of the machine would."""
    return machine.process


@pytest.fixture
def near(machine: Machine) -> dict[str, Any]:
    return machine.near


@pytest.fixture
def rival(machine: Machine) -> Client:
    """Give a client on another machine."""
    return machine.elsewhere()


class TestContract(CacheContract):
    test_a_foreign_object_in_the_place_of_an_entry_is_a_miss_that_can_be_replaced = None

    @pytest.fixture
    def open_cache(self, machine: Machine) -> Open:
        machine.near["max_bytes"] = 0  # all goes by the disk
        return lambda below="", **options: machine.process(below, **{"signing_key": None, **options})


# What is shared


@pytest.mark.parametrize("value", ["text", b"x" * 100_000, [1, {"a": None}], None, 2**70], ids=lambda v: repr(v)[:9])
@pytest.mark.parametrize("options", [{}, {"signing_key": None}, {"encryption_key": "e" * 32}], ids=str)
def test_what_one_process_has_read_another_finds(opened: Open, value: Any, options: dict[str, Any]):
    one, two = opened(**options), opened(**options)
    store = wrap(two, CountingStore)
    one.put("k", value)
    assert one.get("k") == value
    assert two.get("k", MISSING) == value
    assert two.get_many(["k"]) == {"k": value}
    assert store.requests == []
    assert two.stats()["near.disk_hits"] == 1


def test_long_keys_too(opened: Open):
    one, two = opened(), opened()
    key = "x" * 5000
    one.put(key, 1)
    one.get(key)
    store = wrap(two, CountingStore)
    assert two.get(key) == 1
    assert store.requests == []


def test_an_entry_is_as_old_as_the_request_that_was_answered_by_it(opened: Open, rival: Client, clock: FakeClock):
    one, two = opened(), opened()
    rival.put("k", "old", None)
    assert one.get("k") == "old"
    rival.put("k", "new", None, replace=True)
    clock.advance(MAX_AGE - 1)
    assert two.get("k") == "old"
    clock.advance(1)
    assert two.get("k") == "new"
    assert one.get("k") == "new"


def test_what_one_process_has_asked_for_again_is_fresh_for_all(opened: Open, clock: FakeClock):
    one, two = opened(), opened()
    stores = [wrap(client, CountingStore) for client in (one, two)]
    one.put("k", "x" * 100_000, None)
    clock.advance(1)
    for client in (one, two, one, two):
        assert client.get("k") == "x" * 100_000
        clock.advance(MAX_AGE / 2)
    assert [store.requests for store in stores] == [["PUT if absent", "GET", "GET unless"], []]
    assert two.stats()["near.disk_hits"] == two.latencies()["near.disk"].count == 2


def test_what_is_old_on_the_disk_costs_a_304(opened: Open, clock: FakeClock):
    one = opened()
    one.put("k", ["page"], None)
    one.get("k")
    clock.advance(MAX_AGE * 100)
    two = opened()
    store = wrap(two, CountingStore)
    assert two.get("k") == ["page"]
    assert two.get("k") == ["page"]
    assert store.requests == ["GET unless"]
    assert store.bodies == 0


@pytest.mark.slow
def test_processes_share_it(s3_url: str, tmp_path: Path):
    near = {"max_bytes": 0, "max_age": MAX_AGE, "disk": str(tmp_path)}
    with Crew(3) as crew:
        crew.open(s3_url, near=near, signing_key="a secret")
        crew.each("put_many", {"k": 1, "l": [2]}, replace=True)
        end = time.monotonic() + 20
        while not all("near.disk_hits" in stats for stats in crew.each("stats")):  # all have opened it
            assert time.monotonic() < end
            assert crew.each("get", "k", times=2) == [[1, 1]] * 3
        assert crew.each("get_many", ["k", "l"]) == [{"k": 1, "l": [2]}] * 3
        hits = sum(stats["near.disk_hits"] for stats in crew.each("stats"))
        assert crew.each("get", "l", times=30) == [[[2]] * 30] * 3
        assert sum(stats["near.disk_hits"] for stats in crew.each("stats")) == hits + 90
        crew.each("delete", "k")
        assert crew.each("get", "k") == [None] * 3


def test_other_caches_have_other_folders(opened: Open, near: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    opened()
    opened("/prefix")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:1")
    opened()
    assert len(list(Path(near["disk"]).iterdir())) == 3
    assert all(path.stat().st_mode & 0o77 == 0 for path in Path(near["disk"]).iterdir())


# What is not


def test_one_s_own_write_is_not_undone_by_what_others_fill_in(opened: Open, near: dict[str, Any], clock: FakeClock):
    """The other process asked before the write, and keeps the answer after it."""
    one, two = opened(), opened()
    one.put("k", "old", None)
    clock.advance(1)
    store = wrap(two, FaultyStore)
    store.script("get", after(lambda: (clock.advance(1), one.put("k", "new", None, replace=True))))
    assert two.get("k") == "old"
    assert len(rows(near)) == 2
    assert one.get("k") == "new"
    assert two.get("k") == "old"
    clock.advance(MAX_AGE)
    assert two.get("k") == "new"


def test_no_get_goes_back_behind_what_another_verb_has_seen(opened: Open, rival: Client, clock: FakeClock):
    one, two = opened(), opened()
    rival.put("k", "old", None)
    assert (one.get("k"), two.get("k")) == ("old", "old")
    clock.advance(1)
    rival.put("k", "new", None, replace=True)
    assert two.gets("k")[0] == "new"
    assert two.get("k") == "new"
    rival.delete("k")
    clock.advance(1)
    assert not two.has("k")
    assert two.get("k", MISSING) is MISSING
    assert one.get("k") == "old"


def test_an_older_answer_does_not_replace_a_newer_one(opened: Open, rival: Client, clock: FakeClock):
    one, two, three = opened(), opened(), opened()
    rival.put("k", "old", None)

    def overtake() -> None:
        clock.advance(1)
        rival.put("k", "new", None, replace=True)
        assert two.get("k") == "new"

    store = wrap(one, FaultyStore)
    store.script("get", after(overtake))
    assert one.get("k") == "old"
    assert three.get("k") == "new"


@pytest.mark.parametrize(
    "remove",
    [
        lambda client: client.delete("k"),
        lambda client: client.delete_many(["k", "other"]),
        lambda client: client.clear(),
        lambda client: client.clear("k"),
        lambda client: client.put("k", 1, 0, replace=True),
    ],
    ids=["delete", "delete_many", "clear", "clear a prefix", "put"],
)
def test_what_is_removed_is_removed_from_the_disk(opened: Open, near: dict[str, Any], remove: Callable[[Client], Any]):
    client = opened()
    for value in ("small", "large" * 50_000):
        client.put("k", value)
        client.get("k")
        assert len(rows(near)) == 2
        remove(client)
        assert rows(near) == []
        assert list(Path(near["disk"]).glob("*/*/*/*.val")) == []
        assert opened().get("k", MISSING) is MISSING


def test_a_prefix_is_cleared_alone(opened: Open, near: dict[str, Any]):
    client = opened()
    client.put_many({"a1": 1, "a2": 2, "b": 3})
    client.get_many(["a1", "a2", "b"])
    client.clear("a")
    assert len(rows(near)) == 2
    assert opened().get_many(["a1", "a2", "b"]) == {"b": 3}


def test_deadlines_hold(opened: Open, clock: FakeClock):
    one, two = opened(), opened()
    one.put("k", "v", MAX_AGE / 2)
    assert one.get("k") == "v"
    clock.advance(MAX_AGE / 2)
    assert two.get("k", MISSING) is MISSING
    assert one.get("k", MISSING) is MISSING


@pytest.mark.parametrize("jump", ["restart", "set back"])
def test_a_clock_that_jumps_makes_nothing_fresh(opened: Open, rival: Client, clock: FakeClock, jump: str):
    one, two = opened(), opened()
    clock.advance(1000)
    rival.put("k", "old", None)
    assert one.get("k") == "old"
    rival.put("k", "new", None, replace=True)
    clock.advance(MAX_AGE + 1)
    if jump == "restart":  # the monotonic clock of this machine begins anew
        clock._start, clock._passed = clock._start + clock._passed, 1000 + 1.0
    else:
        clock._start -= MAX_AGE
    assert two.get("k") == "new"
