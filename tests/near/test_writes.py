"""The near tier and writes: what this process has written or learnt is seen at once, whatever was under way."""

from __future__ import annotations

import ast
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from store_doubles import CountingStore, FaultyStore, after, before, fail, lose_answer, ok, wrap

import cloudcached
from cloudcached import MISSING, Client, CloudCachedError, StoreRefused, StoreUnreachable
from cloudcached.engine.snapshot import NOTHING
from cloudcached.near.memory import Held, Tier
from cloudcached.testing import FakeClock

NEAR = {"max_bytes": 2**24, "max_age": 60}
BROKEN = StoreUnreachable("broken")

#: Every verb that writes "k", which holds 1; and the port's verb that does it.
WRITES: dict[str, tuple[str, Callable[[Client], Any]]] = {
    "put": ("put", lambda cache: cache.put("k", 2, replace=True)),
    "put nothing lasting": ("delete", lambda cache: cache.put("k", 2, 0, replace=True)),
    "put_many": ("put", lambda cache: cache.put_many({"k": 2}, replace=True)),
    "update": ("put", lambda cache: cache.update("k", 2)),
    "incr": ("put", lambda cache: cache.incr("k")),
    "decr": ("put", lambda cache: cache.decr("k", -1)),
    "cas": ("put", lambda cache: cache.cas("k", 2, cache.gets("k")[1])),
    "touch": ("put", lambda cache: cache.touch("k", 0)),
    "expire_at": ("put", lambda cache: cache.expire_at("k", 0)),
    "delete": ("delete", lambda cache: cache.delete("k")),
    "delete_many": ("delete_many", lambda cache: cache.delete_many(["other", "k"])),
    "clear": ("delete_many", lambda cache: cache.clear()),
    "clear a prefix": ("delete_many", lambda cache: cache.clear("k")),
}
every_write = pytest.mark.parametrize("verb", WRITES)


@pytest.fixture
def url() -> str:
    return f"memory://{uuid.uuid4().hex}"


@pytest.fixture
def cache(url: str, clock: FakeClock) -> Client:
    """Give a client that holds 1 under "k"."""
    return holding(url, clock)


@pytest.fixture
def rival(url: str, clock: FakeClock) -> Client:
    """Give a client of another process, as far as the near tier knows."""
    return Client(url, clock=clock)


def holding(url: str, clock: FakeClock) -> Client:
    cache = Client(url, clock=clock, near=NEAR)
    cache.put("k", 1)
    assert cache.get("k") == 1
    assert held(cache) == ["k"]
    return cache


def held(cache: Client) -> list[str]:
    return list(cache.reader.tier().held)


def expected(verb: str) -> Any:
    return 2 if WRITES[verb][0] == "put" and verb not in ("touch", "expire_at") else MISSING


def test_a_write_of_one_s_own_is_seen_at_once(any_url: str, clock: FakeClock):
    cache = holding(any_url, clock)
    for verb, (_, write) in WRITES.items():
        write(cache)
        assert held(cache) == [], verb
        assert cache.get("k", MISSING) == expected(verb), verb
        assert cache.get_many(["k"]).get("k", MISSING) == expected(verb), verb
        cache.put("k", 1, replace=True)
        assert cache.get("k") == 1


@every_write
def test_a_get_that_was_under_way_fills_nothing(url: str, clock: FakeClock, verb: str):
    """It was answered before the write, and comes back after it."""
    cache = Client(url, clock=clock, near=NEAR)
    cache.put("k", 1)
    store = wrap(cache, FaultyStore)
    store.script("get", after(lambda: WRITES[verb][1](cache)))
    assert cache.get("k") == 1
    assert held(cache) == []
    assert cache.stats()["near.late"] == 1
    assert cache.get("k", MISSING) == expected(verb)


@every_write
def test_a_get_that_came_between_fills_nothing(cache: Client, verb: str):
    """It begins and ends while the write is under way, and sees what was there before."""
    store, seen = wrap(cache, FaultyStore), []
    if verb in ("update", "incr", "decr", "cas", "touch", "expire_at"):
        store.script("get", ok)  # the verb's own look
    store.script(WRITES[verb][0], before(lambda: seen.append(cache.get("k"))))
    WRITES[verb][1](cache)
    assert seen == [1]
    assert held(cache) == []
    assert cache.get("k", MISSING) == expected(verb)


@every_write
@pytest.mark.parametrize("done", [True, False])
def test_after_a_write_that_failed_the_store_is_asked(cache: Client, verb: str, done: bool):
    store, error = wrap(cache, FaultyStore), StoreRefused("no")
    store.script(WRITES[verb][0], lose_answer(error) if done else fail(error))
    with pytest.raises(CloudCachedError):
        WRITES[verb][1](cache)
    assert store.done
    assert held(cache) == []
    assert cache.get("k", MISSING) == (expected(verb) if done else 1)


@pytest.mark.parametrize("verb", ["put", "put_many", "delete_many", "clear"])
def test_after_a_write_that_was_not_sent_the_store_is_asked(clock: FakeClock, verb: str):
    """While the store rests, nobody gets the value that he has just replaced."""
    cache = Client("memory://", clock=clock, near=NEAR, fail_silently=True)
    cache.put("k", 1)
    assert cache.get("k") == 1
    store = wrap(cache, FaultyStore)
    store.script("head", *[fail(BROKEN)] * 100)
    assert cache.has("nothing") is False
    assert cache.get("k") == 1
    asked = len(store.asked)
    assert WRITES[verb][1](cache) in (False, None, {"k": False})
    assert store.asked[asked:] == []
    assert held(cache) == []
    assert cache.get("k", "default") == "default"


# What other verbs learn


@pytest.mark.parametrize("removed", [True, False])
@pytest.mark.parametrize(
    "look",
    [
        lambda cache: cache.has("k"),
        lambda cache: cache.ttl("k"),
        lambda cache: cache.info("k"),
        lambda cache: cache.gets("k"),
        lambda cache: cache.delete("k"),
        lambda cache: cache.update("k", 10),
        lambda cache: cache.touch("k"),
        lambda cache: cache.put("k", 10),
        lambda cache: cache.clear(),
        lambda cache: cache.delete_many(["k"]),
    ],
    ids=["has", "ttl", "info", "gets", "delete", "update", "touch", "put", "clear", "delete_many"],
)
def test_no_get_goes_back_behind_what_another_verb_has_seen(
    cache: Client, rival: Client, look: Callable[[Client], Any], removed: bool
):
    rival.delete("k")
    if not removed:
        rival.put("k", 10)
    look(cache)
    assert cache.get("k", MISSING) == rival.get("k", MISSING) != 1


def test_a_look_that_says_the_same_forgets_nothing(cache: Client):
    store = wrap(cache, CountingStore)
    assert cache.has("k")
    assert cache.gets("k")[0] == 1
    assert not cache.update("other", 1)
    store.forget()
    assert cache.get("k") == 1
    assert store.requests == []


def test_verbs_that_decide_never_ask_the_near_tier(cache: Client, rival: Client):
    rival.put("k", 5, 7, replace=True)
    assert cache.ttl("k") == 7
    assert cache.gets("k")[0] == 5
    cache.get("k")
    rival.put("k", 6, 7, replace=True)
    assert cache.incr("k") == 7
    cache.get("k")
    rival.delete("k")
    assert not cache.has("k")
    assert "k" not in cache
    assert cache.info("k") is None
    rival.put("k", 8)
    cache.get("k")
    rival.delete("k")
    assert cache.update("k", 1) is False
    rival.put("k", 9)
    cache.get("k")
    rival.delete("k")
    assert cache.put("k", 1) is True
    cache.get("k")
    rival.delete("k")
    assert cache.delete("k") is False


def test_locks_are_not_held(cache: Client, rival: Client):
    store = wrap(cache, FaultyStore)
    for _ in range(2):
        store.script("put", lose_answer())  # so that it looks again
        with cache.lock("k"):
            assert rival.lock("k").locked()
            assert not rival.lock("k").acquire(blocking=False)
            assert cache.get("k") == 1
        assert cache.get("k") == 1
    assert rival.lock("k").acquire(blocking=False)
    assert cache.lock("k").locked()


def test_looks_at_a_lock_say_nothing_of_the_entry_of_its_name(cache: Client, rival: Client):
    assert rival.lock("k").acquire()
    cache.get("k")
    store = wrap(cache, CountingStore)
    assert cache.lock("k").locked()
    assert not cache.lock("k").acquire(blocking=False)
    store.forget()
    assert cache.get("k") == 1
    assert store.requests == []


def test_no_write_goes_round_the_near_tier():
    """Whoever adds a way to write stands inside ``writing`` or ``clearing``, and is named here."""
    known = {
        "engine/engine.py": {"write_packed", "write_if", "remove"},  # each within ``writing``
        "engine/multipart.py": {"send", "_complete"},  # within write_packed, and put_file's own
        "engine/bulk.py": {"_delete_batch"},  # within delete_many and clear
        "doctor/": None,  # objects of its own
        "maintenance/purge.py": {"_purge"},  # of what has expired, which no near tier gives out
        "stores/": None,
    }
    root = Path(cloudcached.__file__).parent
    ways = {
        (str(path.relative_to(root)), function.name)
        for path in sorted(root.rglob("*.py"))
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute)
        and node.attr in ("put", "create_upload", "put_part", "complete_upload", "delete", "delete_many")
        and ast.unparse(node.value).endswith("store")
    }
    found = {way for way in ways if not any(way[0].startswith(name) and known[name] is None for name in known)}
    assert found == {(name, function) for name, functions in known.items() for function in functions or ()}


def test_a_ticket_is_good_until_the_next_write():
    tier, entry = Tier(1000), Held("k", NOTHING, 1.0)
    ticket = tier.ticket("k")
    tier.fill("k", entry, ticket)
    tier.fill("k", entry, ticket)
    assert tier.held == {"k": entry}
    with tier.writing(["k"]):
        during = tier.ticket("k")
        tier.fill("k", entry, ticket)
        tier.fill("k", entry, during)
        assert tier.held == {}
        with tier.clearing("z"):
            pass
    tier.fill("k", entry, during)
    tier.fill("k", entry, ticket)
    assert (tier.held, tier.bytes, tier.late) == ({}, 0, 4)
    tier.fill("k", entry, tier.ticket("k"))
    with tier.clearing("z"):
        assert tier.held == {"k": entry}
    with tier.clearing(""):
        assert (tier.held, tier.bytes) == ({}, 0)
