"""Entries in another format: ordinary misses for every method, and no obstacle to any.

``data/entries_v1.json`` has entries of format 1, as the last commit before format 2 wrote them. That commit takes an
entry of format 2 for a miss too, one with a warning: it refuses it for the reason ``format``.
"""

from __future__ import annotations

import base64
import io
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from disks import Machine, unclosed
from prometheus_client import CollectorRegistry
from samples import BASE, same
from store_doubles import CountingStore, wrap

from cloudcached import MISSING, Client, KeyMissing, LockError
from cloudcached.config import Config
from cloudcached.coordination.locks import Lock
from cloudcached.engine import engine as of_engine
from cloudcached.entry.format import FORMAT
from cloudcached.maintenance.purge import Purge, Wanted
from cloudcached.maintenance.survey import types_and_lifetimes
from cloudcached.metrics.prometheus import CacheCollector
from cloudcached.runtime.clock import SystemClock
from cloudcached.runtime.forks import PerProcess
from cloudcached.runtime.log import Throttle
from cloudcached.stores.port import Write
from cloudcached.testing import FakeClock

Entry = dict[str, Any]

DATA = Path(__file__).parents[1] / "data" / "entries_v1.json"
OLD: dict[str, Entry] = json.loads(DATA.read_text("ascii"))
URL = "memory:///golden/prefix"


def newer(entry: Entry) -> Entry:
    """Return what a later version may write: another number, other names, other bytes."""
    metadata = {"cc-format": "3", "cc-kind": "str", "cc-until": "never", "cc-proof": "x" * 64}
    return {**entry, "metadata": metadata, "body": base64.b64encode(b"something else").decode()}


OTHERS = {
    **{f"1, {name}": entry for name, entry in OLD.items()},
    "3, unsigned": newer(OLD["unsigned: str"]),
    "3, signed": newer(OLD["signed: str"]),
    "3, hashed name": newer(OLD["signed: hashed name"]),
}


def store_in(client: Client, entry: Entry, object_key: str = "") -> None:
    write = Write(object_key or entry["object_key"], base64.b64decode(entry["body"]), entry["metadata"])
    client.engine.store.put(write, timeout=30)


def refusals(client: Client) -> list[str]:
    return [name for name in client.stats() if name.startswith("refused.") or name == "near.disk_refused"]


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Give the lines that were logged, in a process that has not told of other formats yet."""
    monkeypatch.setattr(of_engine, "_formats", PerProcess(lambda: Throttle(SystemClock(), 3600.0)))
    caplog.set_level(logging.INFO, "cloudcached")
    return lambda: [record.getMessage() for record in caplog.records]


@pytest.fixture(params=OTHERS)
def entry(request: pytest.FixtureRequest) -> Entry:
    return OTHERS[request.param]


@pytest.fixture
def key(entry: Entry) -> str:
    return str(entry["key"])


@pytest.fixture
def client(entry: Entry) -> Client:
    """Give a client with the options of the one that wrote the entry, at that time: in its format it would be live."""
    client = Client(URL, clock=FakeClock(entry["time"]), **entry["options"])
    store_in(client, entry)
    return client


class TestEveryMethod:
    @pytest.fixture(autouse=True)
    def quiet(self, client: Client, told: Callable[[], list[str]]) -> Iterator[None]:
        """Whatever was done: at most one line, and nothing was refused."""
        yield
        assert refusals(client) == []
        assert len(told()) <= 1

    def test_the_reading_ones_miss(self, client: Client, key: str) -> None:
        assert client.get(key, MISSING) is MISSING
        assert client.get_many([key]) == {}
        assert client.gets(key)[0] is None
        assert client.has(key) is False
        assert client.ttl(key) == 0
        assert client.info(key) is None
        assert client.get_file(key, io.BytesIO()) is False
        with pytest.raises(KeyMissing):
            client.open(key)
        assert client.stats()["misses.format"] == 8
        assert client.stats()["misses"] == 2  # get and get_many: the others count no hits either

    def test_the_replacing_ones_find_nothing_to_replace(self, client: Client, key: str) -> None:
        store = wrap(client, CountingStore)
        assert client.update(key, 2) is False
        assert client.touch(key) is False
        assert client.persist(key) is False
        assert client.expire_at(key, 4e9) is False
        with pytest.raises(KeyMissing):
            client.incr(key)
        assert set(store.requests) == {"GET"}

    @pytest.mark.parametrize(
        "write",
        [
            lambda c, key: c.put(key, 5),
            lambda c, key: c.put(key, 5, replace=True),
            lambda c, key: c.put_many({key: 5})[key],
            lambda c, key: c.get_or_put(key, 5) == 5,
            lambda c, key: c.get_or_put(key, lambda: 5, lock=True) == 5,
            lambda c, key: c.incr(key, initial=4) == 5,
            lambda c, key: c.cas(key, 5, c.gets(key)[1]),
        ],
        ids=["add", "set", "put_many", "get_or_put", "computed", "incr", "cas"],
    )
    def test_the_others_write_over_it(self, client: Client, key: str, write: Callable[[Client, str], Any]) -> None:
        assert write(client, key)
        assert client.get(key) == 5
        store, place = client.engine.store, client.engine.place(key)
        assert store.head(place.object_key, timeout=1).metadata["cc-format"] == FORMAT

    @pytest.mark.parametrize("size", [5, 20_000_000])
    @pytest.mark.parametrize("replace", [False, True])
    def test_files_are_written_over_it(self, client: Client, key: str, size: int, replace: bool) -> None:
        assert client.put_file(key, io.BytesIO(bytes(size)), replace=replace) is True
        assert client.get(key) == bytes(size)

    def test_one_of_two_that_write_over_it_wins(self, client: Client, entry: Entry, key: str) -> None:
        rival = Client(URL, clock=client.engine.clock, **entry["options"])
        rival.engine.wrap_store(lambda _: client.engine.store)
        token = client.gets(key)[1]
        assert rival.put(key, "theirs") is True
        assert client.cas(key, "ours", token) is False
        assert client.put(key, "ours") is False

    def test_removal(self, client: Client, entry: Entry, key: str) -> None:
        assert client.delete(key) is False  # there was nothing live
        store_in(client, entry)
        client.delete_many([key])
        store_in(client, entry)
        assert client.clear() == 1
        assert client.engine.store.list("", timeout=1) == ([], False)

    def test_a_listing_shows_names_and_nothing_inside(self, client: Client, key: str) -> None:
        assert list(client.keys()) == ([key] if len(key) < 2000 else [])

    def test_near(self, entry: Entry, key: str) -> None:
        near = {"max_bytes": 2**20, "max_age": 60}
        client = Client(URL, clock=FakeClock(entry["time"]), near=near, **entry["options"])
        store_in(client, entry)
        assert client.get(key, MISSING) is MISSING
        assert client.put(key, 5)
        assert (client.get(key), client.get(key)) == (5, 5)
        assert refusals(client) == []


@unclosed
@pytest.mark.parametrize("number", ["1", "3"])
def test_copies_on_disk(number: str, tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a process of another version on this machine; what is under the key now is asked for, and kept."""
    pytest.importorskip("diskcache")
    with Machine(tmp_path / "near", clock, monkeypatch) as machine:
        writer, reader = machine.process(), machine.process()
        writer.put("k", "new")
        copies, place = writer.reader._copies, writer.engine.place("k")
        assert writer.get("k") == "new"
        kept = copies._disk.load(place.object_key)
        assert kept is not None
        other = kept._replace(metadata={**kept.metadata, "cc-format": number})
        copies._disk.keep(place.object_key, other, None)
        store = wrap(reader, CountingStore)
        assert reader.get("k") == "new"
        assert store.requests == ["GET"]
        assert refusals(reader) == []
        assert "misses.format" not in reader.stats()  # it was a hit
        assert copies._disk.load(place.object_key).metadata["cc-format"] == FORMAT


class TestWhatIsTold:
    def test_one_line_for_all_entries_of_a_process(self, told: Callable[[], list[str]]) -> None:
        for _ in range(2):
            client = Client("memory://", signing_key="the golden key")
            for number in range(20):
                store_in(client, OLD["signed: str"], client.engine.place(f"k{number}").object_key)
            assert client.get_many([f"k{number}" for number in range(20)]) == {}
            assert client.get("k1") is None
            assert client.stats()["misses.format"] == 21
        (line,) = told()
        assert "format 1" in line
        assert f"format {FORMAT}" in line
        assert "the golden key" not in line

    def test_listeners_and_prometheus(self) -> None:
        client = Client(URL, signing_key="the golden key")
        store_in(client, OLD["signed: str"])
        events: list[tuple[str, int]] = []
        client.listen(lambda *event: events.append(event))
        client.has("k")
        assert events == [("misses.format", 1)]
        registry = CollectorRegistry()
        registry.register(CacheCollector(client))
        labels = {"cache": "default", "event": "misses.format"}
        assert registry.get_sample_value("cloudcached_events_total", labels) == 1


class TestMaintenance:
    @pytest.mark.parametrize(("refused", "left"), [(False, 2), (True, 0)])
    def test_purge_trusts_no_deadline_of_another_format(self, refused: bool, left: int) -> None:
        entry = OLD["signed: expired"]
        clock = FakeClock(entry["time"] + 10_000)
        client = Client(URL, clock=clock, **entry["options"])
        store_in(client, entry)
        store_in(client, newer(entry), client.engine.place("newer").object_key)
        clock.advance(10_000)
        purge = Purge(Config.parse(URL, entry["options"]), Wanted(refused=refused), clock=clock)
        purge._engine.wrap_store(lambda _: client.engine.store)
        report = purge.run()
        assert (report.counts.listed, report.counts.expired, report.counts.refused) == (2, 0, 2)
        assert report.counts.removed == 2 - left
        assert len(client.engine.store.list("", timeout=1)[0]) == left

    def test_a_survey_names_them(self) -> None:
        entry = OLD["signed: str"]
        client = Client(URL, clock=FakeClock(entry["time"]), **entry["options"])
        store_in(client, entry)
        client.put("live", 1)
        engine = client.engine
        types, spans = types_and_lifetimes(engine, [entry["object_key"], engine.place("live").object_key])
        assert types == {"other-format": 1, "int": 1}
        assert sum(spans.values()) == 1


class TestLocks:
    @pytest.fixture
    def client(self) -> Client:
        return Client(URL, clock=FakeClock(OLD["signed: str"]["time"]), **OLD["signed: str"]["options"])

    @pytest.mark.parametrize("other", [OLD["signed: str"], newer(OLD["signed: str"])], ids="13")
    def test_a_lease_is_taken_over(self, client: Client, other: Entry, told: Callable[[], list[str]]) -> None:
        """At worst two versions compute the same."""
        lease = Lock(client.engine, "k", kind="fill", timeout=5)
        store_in(client, other, lease._place.object_key)
        for number in range(3):
            assert client.get_or_put("k", lambda number=number: number, lock=True) == number
            client.delete("k")
        assert len(told()) == 1

    @pytest.mark.parametrize("other", [OLD["signed: str"], newer(OLD["signed: str"])], ids="13")
    def test_a_lock_is_not(self, client: Client, other: Entry) -> None:
        """It must not have two holders."""
        lock = client.lock("k")
        store_in(client, other, lock._place.object_key)
        with pytest.raises(LockError, match="another version of CloudCached"):
            lock.acquire()


@pytest.mark.parametrize("name", OLD)
def test_the_samples_are_what_they_seem(name: str) -> None:
    """They are refused for their format alone: with the number of this one they get as far as their signature."""
    entry = OLD[name]
    client = Client(URL, clock=FakeClock(entry["time"]), **entry["options"])
    assert entry["metadata"]["cc-format"] == "1"
    store_in(client, {**entry, "metadata": {**entry["metadata"], "cc-format": FORMAT}})
    assert client.get(entry["key"], MISSING) is MISSING
    assert refusals(client) == ["refused.signature"]
    client.put("k", BASE["str"], replace=True)
    assert same(client.get("k"), BASE["str"])
