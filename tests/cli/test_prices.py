"""The calculator behind ``cloudcached cost``, against sums done by hand and an example of AWS's own."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner
from store_doubles import CountingStore, wrap

from cloudcached import Client
from cloudcached.cli import command_line
from cloudcached.prices import (
    OPERATIONS,
    PREFIX_READS_S,
    PREFIX_WRITES_S,
    PREFIXES,
    PRICES,
    Node,
    ObjectStore,
    Operation,
    Serverless,
    Workload,
    break_even_gb,
    break_even_gets_s,
    everything,
    millions,
    month,
    per_million,
)
from cloudcached.stores.port import Write
from cloudcached.testing import FakeClock

STANDARD, EXPRESS, NODE, SERVERLESS = PRICES
MONTH_S = 730 * 3600


def test_a_million_requests_of_s3_standard() -> None:
    assert isinstance(STANDARD, ObjectStore)
    dollars = millions(STANDARD, 0)
    assert (dollars["get"], dollars["put"]) == pytest.approx((0.40, 5.00))


def test_a_million_of_each_operation() -> None:
    """By hand: of a lock 0.40 + 2 * 5.00; deletes are free; only what carries a value pays for its bytes."""
    assert isinstance(STANDARD, ObjectStore)
    assert isinstance(EXPRESS, ObjectStore)
    dollars, express = millions(STANDARD, 10**9), millions(EXPRESS, 2**30)
    assert set(dollars) == {operation.name for operation in OPERATIONS}
    assert dollars["lock, acquire and release"] == pytest.approx(10.40)
    assert dollars["delete"] == pytest.approx(0.40)
    assert dollars["delete_many of 1,000 keys"] == 0
    assert express["get"] == pytest.approx(0.03 + 600)
    assert express["update"] == pytest.approx(0.03 + 600 + 1.13 + 3200)
    assert express["incr"] == pytest.approx(0.03 + 1.13)


def test_express_as_in_the_example_of_the_s3_faq() -> None:
    """9,000,000 GETs and 1,000,000 PUTs of 10 KB: $0.27 + $0.05 and $1.13 + $0.03."""
    load = Workload(0, 10 * 1024, 9e6 / MONTH_S, 1e6 / MONTH_S)
    assert month(EXPRESS, load) == pytest.approx(0.27 + 0.05 + 1.13 + 0.03, abs=0.01)


def test_nodes_are_whole() -> None:
    one = month(NODE, Workload(1, 1, 1000, 1000))
    assert one == pytest.approx(0.219 * 730)
    assert month(NODE, Workload(11, 2**30 - 512, 0, 0)) == pytest.approx(2 * one)


def test_serverless_bills_its_least_and_its_units() -> None:
    assert month(SERVERLESS, Workload(0, 0, 0, 0)) == pytest.approx(0.1 * 0.084 * 730)
    busy = month(SERVERLESS, Workload(0, 2048, 1e6 / MONTH_S, 0)) - month(SERVERLESS, Workload(0, 0, 0, 0))
    assert busy == pytest.approx(2 * 0.0023)


@pytest.mark.parametrize("other", [NODE, SERVERLESS])
def test_at_the_break_even_both_cost_the_same(other: object) -> None:
    assert isinstance(STANDARD, ObjectStore)
    load = Workload(10**6, 10_240, 20, 1)
    rate = break_even_gets_s(STANDARD, other, load)  # type: ignore[arg-type]
    there = Workload(10**6, 10_240, rate, rate / 20)
    assert month(STANDARD, there) == pytest.approx(month(other, load))  # type: ignore[arg-type]


def test_a_million_with_the_storage_shared_out() -> None:
    load = Workload(10**6, 10_240, 20, 1)
    assert per_million(NODE, load) == pytest.approx(2 * 0.219 * 730 / (21 * MONTH_S) * 1e6)


@pytest.mark.parametrize(("store", "nodes"), [(STANDARD, 7), (EXPRESS, 1)])
def test_from_how_many_nodes_on_s3_is_cheaper(store: ObjectStore, nodes: int) -> None:
    """The node before is cheaper when it is full, the next one dearer as soon as it is needed."""
    assert isinstance(NODE, Node)
    rates = {"gets_s": 500.0, "puts_s": 50.0}
    gb = break_even_gb(store, NODE, Workload(1, 1024, **rates))
    assert gb == pytest.approx(nodes * NODE.gb)
    full = Workload(int(gb * 2**30 / 1536), 1024, **rates)
    for load, cheaper in ((full, NODE), (Workload(full.entries + 1, 1024, **rates), store)):
        assert min((store, NODE), key=lambda service: month(service, load)) is cheaper


@pytest.mark.parametrize("store", [STANDARD, EXPRESS])
def test_at_the_break_even_size_both_cost_the_same(store: ObjectStore) -> None:
    rates = {"gets_s": 500.0, "puts_s": 50.0}
    gb = break_even_gb(store, SERVERLESS, Workload(1, 1024, **rates))
    there = Workload(round(gb * 2**30 / 1536), 1024, **rates)
    assert month(store, there) == pytest.approx(month(SERVERLESS, there), rel=1e-6)
    assert gb > 1


@pytest.mark.parametrize("other", [NODE, SERVERLESS])
def test_a_cache_that_is_seldom_asked_is_cheaper_on_s3_at_any_size(other: Node | Serverless) -> None:
    assert isinstance(STANDARD, ObjectStore)
    assert break_even_gb(STANDARD, other, Workload(10**6, 1024, 1, 0.1)) == 0


@pytest.mark.parametrize("other", [Node("", hour=0.01, gb=1000), Serverless("", 0.00001, 1, 0.1)])
def test_where_storage_is_cheaper_elsewhere_there_is_no_such_size(other: Node | Serverless) -> None:
    assert isinstance(STANDARD, ObjectStore)
    assert break_even_gb(STANDARD, other, Workload(10**6, 1024, 500, 50)) == float("inf")


#: Of an operation: what it does, and what "k" is before. None: not there; "expired"; otherwise its value.
VALUE = os.urandom(10_000)
SENT: dict[str, tuple[Callable[[Client], Any], Any]] = {
    "get": (lambda c: c.get("k"), VALUE),
    "get_many, each key": (lambda c: c.get_many(["k"]), VALUE),
    "has, ttl, info": (lambda c: c.info("k"), VALUE),
    "put": (lambda c: c.put("k", VALUE), None),
    "put over a live entry": (lambda c: c.put("k", VALUE), VALUE),
    "put over an expired entry": (lambda c: c.put("k", VALUE), "expired"),
    "put_many, each key": (lambda c: c.put_many({"k": VALUE}, replace=True), VALUE),
    "get_or_put of a missing key": (lambda c: c.get_or_put("k", lambda: VALUE), None),
    "update": (lambda c: c.update("k", VALUE), VALUE),
    "touch": (lambda c: c.touch("k", 60), VALUE),
    "incr": (lambda c: c.incr("k"), 1),
    "delete": (lambda c: c.delete("k"), VALUE),
    "delete_many of 1,000 keys": (lambda c: c.delete_many(["k", *map(str, range(999))]), VALUE),
    "lock, acquire and release": (lambda c: c.lock("k", timeout=60).__enter__().release(), None),
}


class Weighed(CountingStore):
    """Counts the requests that carry the value."""

    down = up = 0

    def put(self, write: Write, *, timeout: float) -> str:
        self.up += len(write.body) > len(VALUE)
        return super().put(write, timeout=timeout)

    def count_body(self, *, read: bool) -> None:
        self.down += read
        super().count_body(read=read)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_operations_are_what_a_client_sends(operation: Operation, clock: FakeClock) -> None:
    client = Client("memory://", clock=clock)
    call, before = SENT[operation.name]
    if before is not None:
        client.put("k", VALUE if before == "expired" else before, 10)
        clock.advance(10 if before == "expired" else 0)
    store = wrap(client, Weighed)
    call(client)
    assert tuple(request.partition(" ")[0] for request in store.requests) == operation.requests
    assert store.up == operation.up
    if "lock" not in operation.name and operation.name != "incr":  # these read bytes, but few
        assert store.down == operation.down


@pytest.mark.parametrize("entries", [0, 1, 1_000, 1_001, 1_500, 20_000])
def test_what_goes_over_all_entries_is_what_a_client_sends(entries: int) -> None:
    client = Client("memory://")
    for number in range(entries):
        client.engine.store.put(Write(client.engine.place(f"{number}").object_key, b"", {}), timeout=1)
    store = wrap(client, CountingStore)
    list(client.keys())
    assert store.counts == everything(entries)["keys"]
    store.forget()
    client.clear()
    assert store.counts == +Counter(everything(entries)["clear"])


def test_purge_lists_and_looks_at_each() -> None:
    assert everything(100_500)["purge"] == {"LIST": 101, "HEAD": 100_500}


def printed(*arguments: str) -> str:
    result = CliRunner().invoke(command_line, ["cost", *arguments], prog_name="cloudcached")
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def test_what_is_printed() -> None:
    text = printed("--entries", "20000", "--size", "1024", "--gets", "500", "--puts", "50")
    rows = {tuple(cell.strip() for cell in line.split("  ") if cell) for line in text.splitlines()}
    assert ("lock, acquire and release", "1 GET + 2 PUT", "$10.40", "$2.29") in rows
    assert ("S3 Standard", NODE.name, "67.6 gets/s", "68.6 GB (47,967,109 entries)") in rows
    assert ("clear", "32 LIST + 20 DeleteObjects", "$0.00", "$0.00") in rows
    assert f"{PREFIXES * PREFIX_READS_S:,} reads and {PREFIXES * PREFIX_WRITES_S:,} writes" in text
    assert "any size" in printed()


def test_json_of_a_cache_that_does_nothing() -> None:
    figures = json.loads(printed("--entries", "0", "--gets", "0", "--puts", "0", "--json"))
    assert figures["per_million"] == dict.fromkeys(service.name for service in PRICES)
    assert figures["requests"]["update"] == {"GET": 1, "PUT": 1}
    assert figures["break_even_gb"][STANDARD.name] == {NODE.name: 0, SERVERLESS.name: 0}
    assert figures["million"][STANDARD.name]["get"] == pytest.approx(0.4)
    assert figures["all_entries"]["keys"]["requests"] == {"LIST": 1}
