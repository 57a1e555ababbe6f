"""What a listing tells of a bucket: exactly, and by a sample within a budget."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner
from store_doubles import CountingStore, wrap

from cloudcached import Client
from cloudcached.cli import command_line
from cloudcached.maintenance.survey import LONG_KEYS, REST, Survey, beginning, survey, types_and_lifetimes
from cloudcached.stores.port import Write
from cloudcached.testing import FakeClock


@pytest.fixture
def client(clock: FakeClock) -> Client:
    return Client("memory://", clock=clock)


def fill(client: Client, count: int, name: str = "page/{}") -> None:
    """Write objects that are listed as entries are; what is in them is not read."""
    engine = client.engine
    for number in range(count):
        engine.store.put(Write(engine.place(name.format(number)).object_key, b"x" * 10, {}), timeout=1)


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        ("page/home/1", "page/"),
        ("user:42", "user:"),
        (":1:user:42", ":1:user:"),
        ("site:3:views.decorators.cache", "site:3:views."),
        (":1:answer", ":1:"),
        ("answer", ""),
        ("", ""),
        ("<b>/x", "<b>/"),
        ("/lead", "/"),
        ("x" * 100 + "/", "x" * 60),
    ],
)
def test_the_beginning_of_a_key(key: str, wanted: str) -> None:
    assert beginning(key) == wanted


def test_all_is_counted_without_a_budget(client: Client) -> None:
    fill(client, 30)
    fill(client, 20, "user:{}")
    client.put("k" * 2000, 1)
    client.lock("name").acquire()
    client.engine.store.put(Write("foreign", b"x", {}), timeout=1)
    store = wrap(client, CountingStore)
    seen: list[int] = []
    found = survey(client.engine, progress=seen.append)
    assert (found.entries, found.scale, found.known, found.requests) == (51, 1.0, True, 1)
    assert found.by_beginning["page/"] == (30, 300)
    assert found.by_beginning["user:"] == (20, 200)
    assert found.by_beginning[LONG_KEYS][0] == 1
    assert found.bytes == sum(size for _, size in found.by_beginning.values())
    assert (store.requests, seen) == (["LIST"], [51])


def test_a_budget_is_kept_and_the_rest_estimated(client: Client) -> None:
    fill(client, 6000)
    store = wrap(client, CountingStore)
    found = survey(client.engine, budget=2)
    assert store.requests == ["LIST", "LIST"]
    assert found.known
    assert found.scale == pytest.approx(3, rel=0.1)
    assert found.entries == pytest.approx(6000, rel=0.1)
    assert found.bytes == pytest.approx(60_000, rel=0.1)


def test_what_fits_into_the_budget_is_exact(client: Client) -> None:
    fill(client, 1500)
    found = survey(client.engine, budget=2)
    assert (found.entries, found.bytes, found.scale, found.requests) == (1500, 15_000, 1.0, 2)


def test_a_page_that_does_not_even_fill_a_shard_is_a_lower_bound(client: Client) -> None:
    engine = client.engine
    number = written = 0
    while written < 1100:
        name = engine.place(f"page/{number}").object_key
        number += 1
        if name.startswith("00/"):
            engine.store.put(Write(name, b"x", {}), timeout=1)
            written += 1
    found = survey(engine, budget=1)
    assert (found.known, found.entries, found.scale) == (False, 1000, 1.0)


def test_many_beginnings_are_cut(client: Client) -> None:
    fill(client, 1010, "{}/x")
    found = survey(client.engine)
    assert len(found.by_beginning) == 1001
    assert found.by_beginning[REST][0] == 10


def test_the_largest_and_the_rest() -> None:
    found = Survey(by_beginning={"a": (1, 10), "b": (2, 30), "c": (3, 20)})
    assert found.largest(3) == [("b", 2, 30), ("c", 3, 20), ("a", 1, 10)]
    assert found.largest(1) == [("b", 2, 30), (REST, 4, 30)]


def test_types_and_what_is_left_to_live(client: Client, clock: FakeClock) -> None:
    client.put("a", 1, 10)
    client.put("b", "text", None)
    client.put("c", "text", 7200)
    client.put("gone", 1, 10_000)
    clock.advance(10)
    found = survey(client.engine, draw=10)
    client.delete("gone")
    engine = client.engine
    engine.store.put(Write(engine.place("bad").object_key, b"x", {}), timeout=1)
    store = wrap(client, CountingStore)
    types, spans = types_and_lifetimes(engine, [*found.drawn, engine.place("bad").object_key])
    assert types == {"int": 1, "str": 2, "refused": 1}
    assert spans == {"expired": 1, "never": 1, "within a day": 1}
    assert store.counts == {"HEAD": 5}


def test_some_are_drawn(client: Client) -> None:
    fill(client, 50)
    drawn = survey(client.engine, draw=10).drawn
    assert len(set(drawn)) == 10


def run(*arguments: str, url: str) -> Any:
    return CliRunner().invoke(command_line, [*arguments], env={"CLOUDCACHED_URL": url}, prog_name="cloudcached")


def test_the_command(any_url: str) -> None:
    client = Client(any_url)
    client.put_many({"page/1": "x", "page/2": "y", "user:1": 3})
    found = json.loads(run("stats", "--json", url=any_url).stdout)
    assert {row["prefix"]: row["entries"] for row in found["prefixes"]} == {"page/": 2, "user:": 1}
    assert found["bytes"] == sum(row["bytes"] for row in found["prefixes"])
    assert found["sample"] == {"entries": 3, "types": {"str": 2, "int": 1}, "expire": {"within an hour": 3}}
    table = run("stats", "--top", "1", "--sample", "0", url=any_url).stdout
    assert "page/" in table
    assert "user:" not in table
    assert "drawn" not in table


def test_the_command_shows_no_control_characters() -> None:
    url = "memory://control"
    Client(url).put("\x1b[2J/x", 1)
    assert "\x1b" not in run("stats", url=url).stdout
