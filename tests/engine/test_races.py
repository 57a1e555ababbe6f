"""Rivals at one key: threads and processes, counted exactly, on a store whose conditional writes are atomic."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import Any

import pytest
from crew import Crew, at_once, count, settings_for, together
from fault_proxy import FaultProxy, one_by_one

from cloudcached import Client, OutcomeUnknown

pytestmark = [pytest.mark.real, pytest.mark.slow]

#: Long enough for whoever loses many races in a row on a busy machine.
PATIENT = {"timeout": 30.0}
SAME = "the value that all of them write"


@pytest.fixture
def options(server: Any) -> dict[str, Any]:
    """Give the options of a client in any process."""
    return {**PATIENT, "s3": settings_for(server)}


@pytest.fixture
def client(s3_url: str, options: dict[str, Any]) -> Iterator[Client]:
    with Client(s3_url, **options) as client:
        yield client


@pytest.fixture
def clients(s3_url: str, options: dict[str, Any]) -> Iterator[Callable[[int], list[Client]]]:
    """Give a function that opens so many clients of one cache."""
    opened: list[Client] = []

    def open_clients(count: int) -> list[Client]:
        opened.extend(Client(s3_url, **options) for _ in range(count))
        return opened[-count:]

    yield open_clients
    for client in opened:
        client.close()


@pytest.fixture(scope="module")
def spawned(server: Any) -> Iterator[Crew]:
    """Give 8 processes that were started afresh."""
    with Crew(8) as crew:
        yield crew


@pytest.fixture(scope="module")
def forked(server: Any, bucket: str) -> Iterator[Crew]:
    """Give 8 processes that were forked from one that had used its client."""
    with Crew(8, forked_on=(f"s3://{bucket}/forked", {"s3": settings_for(server)})) as crew:
        yield crew


@pytest.fixture(params=["spawned", "forked"])
def crew(request: pytest.FixtureRequest, s3_url: str, options: dict[str, Any]) -> Crew:
    """Give 8 processes with a client of the test's cache."""
    crew: Crew = request.getfixturevalue(request.param)
    crew.open(s3_url, **options)
    return crew


def prepare(state: str, rounds: int, client: Client, server: Any) -> list[str]:
    """Return so many keys with nothing live under them."""
    keys = [f"{state} {number}" for number in range(rounds)]
    if state == "absent":
        return keys
    client.put_many(dict.fromkeys(keys, SAME), time_to_expire=0.05 if state == "expired" else 3600)
    if state == "damaged":
        for key in keys:
            place = {"Bucket": server.bucket, "Key": client.engine.place(key).object_key}
            metadata = server.client().head_object(**place)["Metadata"]
            server.client().put_object(
                **place, Body=b"bytes that nobody has sealed, but as many as that", Metadata=metadata
            )
    else:
        time.sleep(0.06)
    assert client.get_many(keys) == {}
    return keys


def objects_of(client: Client, server: Any) -> dict[str, str]:
    """Return the ETag of each object below the client's prefix."""
    pages = (
        server.client()
        .get_paginator("list_objects_v2")
        .paginate(Bucket=server.bucket, Prefix=client.url.partition(f"{server.bucket}/")[2] + "/")
    )
    return {row["Key"]: row["ETag"] for page in pages for row in page.get("Contents", ())}


def check_one_winner(client: Client, server: Any, keys: list[str], rivals: int, race: Callable[..., list[Any]]) -> None:
    """Let *rivals* add the same value to each of the keys, and look for the marks of more than one."""
    objects = {}
    for key in keys:
        assert Counter(map(repr, race(key, SAME))) == {"True": 1, "False": rivals - 1}, key
        info = client.info(key)
        assert info is not None
        objects[info.object_key] = f'"{info.etag}"'
        assert client.get(key, "nothing") == SAME
    # One object a key, still the one that the winner wrote: losers left no trace.
    assert objects_of(client, server) == objects


class TestAdd:
    @pytest.mark.parametrize("state", ["absent", "expired", "damaged"])
    def test_one_of_32_threads(self, state: str, client: Client, server: Any) -> None:
        keys = prepare(state, 12, client, server)
        check_one_winner(client, server, keys, 32, partial(together, 32, client.put))

    @pytest.mark.parametrize("state", ["absent", "expired"])
    def test_one_of_32_threads_by_boto3(self, state: str, s3_url: str, options: dict[str, Any], server: Any) -> None:
        with Client(s3_url, transport="boto3", **options) as client:
            keys = prepare(state, 3, client, server)
            check_one_winner(client, server, keys, 32, partial(together, 32, client.put))

    @pytest.mark.parametrize("state", ["absent", "expired", "damaged"])
    def test_one_of_8_processes(self, state: str, client: Client, server: Any, crew: Crew) -> None:
        keys = prepare(state, 10, client, server)
        check_one_winner(client, server, keys, 8, partial(crew.each, "put"))

    def test_one_of_those_who_put_many(self, clients: Callable[[int], list[Client]]) -> None:
        rivals = clients(8)
        mapping = {f"key {number}": SAME for number in range(20)}
        answers = at_once(*[partial(rival.put_many, mapping) for rival in rivals])
        for key in mapping:
            assert sorted(answer[key] for answer in answers) == [False] * 7 + [True], key


class TestCounters:
    def count(self, client: Client, race: Callable[[], list[int]], total: int = 800) -> None:
        """Let *race* count from 0 in steps of one, and look for what was lost or counted twice."""
        client.put("hits", 0, 300, replace=True)
        before = client.info("hits")
        totals = race()
        assert sorted(totals) == list(range(1, total + 1))  # nobody was told what another was told
        assert client.get("hits") == total
        after = client.info("hits")
        assert before is not None
        assert after is not None
        assert after.expires == before.expires

    def test_16_threads_of_one_client(self, client: Client) -> None:
        self.count(client, lambda: count(client, "hits", 16, 50))

    def test_16_threads_with_clients_of_their_own(self, clients: Callable[[int], list[Client]]) -> None:
        rivals = clients(16)
        works = [partial(count, rival, "hits", 1, 50) for rival in rivals]
        self.count(rivals[0], lambda: list(chain(*at_once(*works))))

    def test_8_processes_with_2_threads_each(self, client: Client, spawned: Crew, options: dict[str, Any]) -> None:
        spawned.open(client.url, **options)
        self.count(client, lambda: list(chain(*spawned.each("count", "hits", 2, 50))))

    def test_8_forked_processes(self, client: Client, forked: Crew, options: dict[str, Any]) -> None:
        forked.open(client.url, **options)
        self.count(client, lambda: list(chain(*forked.each("count", "hits", 2, 5))), 80)

    def test_up_and_down(self, clients: Callable[[int], list[Client]]) -> None:
        rivals = clients(8)
        rivals[0].put("level", 5)

        def work(step: Callable[..., int]) -> None:
            for _ in range(20):
                step("level", 3)

        works = [partial(work, rival.incr if number % 2 else rival.decr) for number, rival in enumerate(rivals)]
        assert at_once(*works) == [None] * 8
        assert rivals[0].get("level") == 5

    def test_one_beginning(self, clients: Callable[[int], list[Client]]) -> None:
        rivals = clients(16)
        for number in range(5):
            totals = at_once(*[partial(rival.incr, f"new {number}", initial=100) for rival in rivals])
            assert sorted(totals) == list(range(101, 117))


#: Verbs that rewrite a live entry.
REWRITING: dict[str, Callable[[Client], object]] = {
    "update": lambda client: client.update("key", 2),
    "touch": lambda client: client.touch("key", 600),
    "persist": lambda client: client.persist("key"),
    "expire_at": lambda client: client.expire_at("key", time.time() + 900),
    "incr": lambda client: client.incr("key"),
}


class TestRewriting:
    """``update``, ``touch``, ``persist``, ``expire_at``, ``incr``: only the entry that they saw.

    The requests of each race reach the store one by one, in an order of chance. Where a conditional PUT and a plain
    PUT or DELETE meet in the same instant, Ceph 16 says yes to both and may keep the conditional one: that is beyond
    any client.
    """

    ROUNDS = 10

    @pytest.fixture
    def rivals(self, s3_url: str, options: dict[str, Any], server: Any) -> Iterator[list[Client]]:
        """Give 8 clients whose requests go one by one."""
        with FaultProxy(server.endpoint) as proxy:
            proxy.fault = one_by_one()
            options["s3"]["endpoint_url"] = proxy.endpoint
            opened = [Client(s3_url, **options) for _ in range(8)]
            yield opened
            for client in opened:
                client.close()

    @staticmethod
    def race(rivals: list[Client], verb: str, rival: Callable[[Client], object]) -> list[Any]:
        """Let the first client do *rival* while the others rewrite."""
        return at_once(partial(rival, rivals[0]), *[partial(REWRITING[verb], mine) for mine in rivals[1:]])

    @pytest.mark.parametrize("verb", REWRITING)
    def test_never_revive_what_was_deleted(self, verb: str, rivals: list[Client], server: Any) -> None:
        for number in range(self.ROUNDS):
            rivals[0].put("key", 1, replace=True)
            self.race(rivals, verb, lambda mine: mine.delete("key"))
            assert rivals[0].get("key", "nothing") == "nothing", number
            assert objects_of(rivals[0], server) == {}

    @pytest.mark.parametrize("verb", ["touch", "persist", "expire_at"])
    def test_never_lose_what_was_put_meanwhile(self, verb: str, rivals: list[Client]) -> None:
        for number in range(self.ROUNDS):
            rivals[0].put("key", "old", replace=True)
            self.race(rivals, verb, lambda mine: mine.put("key", "new" * 1000, 60, replace=True))
            assert rivals[0].get("key") == "new" * 1000, number
        assert not [name for rival in rivals for name in rival.stats() if name.startswith("refused")]

    def test_an_update_is_not_undone_by_a_touch(self, clients: Callable[[int], list[Client]]) -> None:
        rivals = clients(8)
        for number in range(self.ROUNDS):
            rivals[0].put("key", "old", replace=True)
            answers = self.race(rivals, "touch", lambda mine: mine.update("key", "new", 60))
            assert answers == [True] * 8
            assert rivals[0].get("key") == "new", number

    def test_never_revive_what_has_expired(self, client: Client, server: Any) -> None:
        client.put("key", 1, 0.05)
        time.sleep(0.06)
        before = objects_of(client, server)
        answers = together(8, lambda: [work(client) for verb, work in REWRITING.items() if verb != "incr"])
        assert answers == [[False] * 4] * 8
        assert objects_of(client, server) == before

    def test_readers_see_whole_entries(self, client: Client) -> None:
        """Entries are read as they were written, each value with its own expiry, whoever touches them meanwhile."""
        client.put("key", [0] * 1000)
        over = threading.Event()

        def write() -> None:
            for number in range(1, 40):
                client.put("key", [number] * 1000, replace=True)
            over.set()

        def touch() -> None:
            while not over.is_set():
                # A race that Ceph told neither yes nor no, and then a plain write: that one cannot be told.
                with contextlib.suppress(OutcomeUnknown):
                    client.touch("key", 1000)

        def read() -> None:
            while not over.is_set():
                value = client.get("key")
                assert len(value) == 1000
                assert len(set(value)) == 1

        assert at_once(write, touch, touch, *[read] * 5) == [None] * 8
        assert not [name for name in client.stats() if name.startswith("refused")]


class TestCompareAndSwap:
    ROUNDS = 10

    @pytest.mark.parametrize("state", ["live", "absent", "expired", "damaged"])
    def test_one_of_16_with_one_token(self, state: str, clients: Callable[[int], list[Client]], server: Any) -> None:
        rivals = clients(16)
        keys = prepare("absent" if state == "live" else state, self.ROUNDS, rivals[0], server)
        if state == "live":
            rivals[0].put_many(dict.fromkeys(keys, SAME))
        for key in keys:
            value, token = rivals[0].gets(key)
            assert value == (SAME if state == "live" else None)
            answers = at_once(*[partial(rival.cas, key, SAME, token) for rival in rivals])
            assert sorted(answers) == [False] * 15 + [True]
            assert rivals[0].cas(key, "too late", token) is False
            assert rivals[0].get(key) == SAME

    def test_one_of_8_processes(self, client: Client, crew: Crew) -> None:
        for number in range(self.ROUNDS):
            key = f"key {number}"
            client.put(key, SAME)
            _, token = client.gets(key)
            assert sorted(crew.each("cas", key, SAME, token)) == [False] * 7 + [True]
            assert sorted(crew.each("cas", f"no {key}", SAME, client.gets(f"no {key}")[1])) == [False] * 7 + [True]

    def test_a_counter_of_ones_own(self, clients: Callable[[int], list[Client]]) -> None:
        rivals = clients(8)
        rivals[0].put("sum", 0)

        def work(mine: Client) -> None:
            for _ in range(10):
                value, token = mine.gets("sum")
                while not mine.cas("sum", value + 1, token):
                    value, token = mine.gets("sum")

        assert at_once(*[partial(work, rival) for rival in rivals]) == [None] * 8
        assert rivals[0].get("sum") == 80


class TestReadOnlyAmongRivals:
    def test_changes_nothing(
        self, clients: Callable[[int], list[Client]], s3_url: str, options: dict[str, Any]
    ) -> None:
        (writer,) = clients(1)
        reader = Client(s3_url, read_only="drop", **options)
        writer.put("key", 0)
        writes = [partial(reader.put, "key", 9, replace=True)] * 7
        answers = at_once(partial(count, writer, "key", 1, 20), *writes)
        assert answers.count(False) == 7
        assert writer.get("key") == 20


def test_outcomes_are_never_unknown_without_lost_answers(clients: Callable[[int], list[Client]]) -> None:
    """Ceph tells most losers of a race 500; that alone must not become ``OutcomeUnknown``."""
    rivals = clients(8)
    for number in range(10):
        key = f"key {number}"
        rivals[0].put(key, 0, 0.01)
        time.sleep(0.02)
        answers = at_once(*[partial(rival.put, key, SAME) for rival in rivals])
        assert not [answer for answer in answers if isinstance(answer, OutcomeUnknown)]
    assert sum(rival.stats().get("outcome_unknown", 0) for rival in rivals) == 0
