"""64 threads at one client: no error, and a state that adds up.

``CLOUDCACHED_HAMMER_SECONDS`` says for how long; 3 by default.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter, defaultdict
from functools import partial

import pytest
from crew import at_once

from cloudcached import Client

SECONDS = float(os.environ.get("CLOUDCACHED_HAMMER_SECONDS", "3"))
THREADS = 64


class Hammer:
    """One thread's work: a key of its own whose state it knows, and keys that all threads share."""

    #: What it does in turn, by chance.
    STEPS = ("put", "update", "touch", "delete", "add", "count", "race", "race", "read", "read_many", "look", "lock")

    def __init__(self, client: Client, me: int) -> None:
        self.client = client
        self.me = me
        self.dice = random.Random(me)
        self.mine = f"of {me}"
        self.live = False
        self.steps = self.counted = 0
        self.won: list[str] = []

    def work(self, end: float) -> None:
        while time.monotonic() < end:
            self.steps += 1
            getattr(self, self.dice.choice(self.STEPS))()
            assert self.client.has(self.mine) is self.live

    @property
    def value(self) -> tuple[int, int]:
        return self.me, self.steps

    def put(self) -> None:
        assert self.client.put(self.mine, self.value, None, replace=True)
        self.live = True
        assert self.client.get(self.mine) == self.value

    def update(self) -> None:
        assert self.client.update(self.mine, self.value) is self.live

    def touch(self) -> None:
        assert self.client.touch(self.mine, 900) is self.live

    def delete(self) -> None:
        assert self.client.delete(self.mine) is self.live
        self.live = False
        assert self.client.get(self.mine) is None

    def add(self) -> None:
        assert self.client.put(self.mine, self.value) is not self.live
        self.live = True

    def count(self) -> None:
        self.client.incr("hits")
        self.counted += 1

    def race(self) -> None:
        """Add what all others add too."""
        key = f"same {self.steps // 4}"
        if self.client.put(key, "the same value", None):
            self.won.append(key)

    def read(self) -> None:
        other = self.dice.randrange(THREADS)
        value = self.client.get(f"of {other}")
        assert value is None or value[0] == other

    def read_many(self) -> None:
        others = [f"of {self.dice.randrange(THREADS)}" for _ in range(4)]
        assert all(key == f"of {value[0]}" for key, value in self.client.get_many(others).items())

    def look(self) -> None:
        info = self.client.info(self.mine)
        assert (info is not None) is self.live
        assert bool(self.client.ttl(self.mine) is None or self.client.ttl(self.mine)) is self.live

    def lock(self) -> None:
        name = f"lock {self.me % 4}"
        lock = self.client.lock(name, blocking=False)
        if lock.acquire():
            inside[name] += 1
            assert inside[name] == 1
            inside[name] -= 1
            lock.release()


#: How many are inside each lock.
inside: dict[str, int] = defaultdict(int)


@pytest.mark.real
@pytest.mark.slow
def test_mixed_operations_of_64_threads(s3_url: str) -> None:
    with Client(s3_url, timeout=30) as client:
        client.put("hits", 0, None)
        hammers = [Hammer(client, me) for me in range(THREADS)]
        end = time.monotonic() + SECONDS
        assert at_once(*[partial(hammer.work, end) for hammer in hammers]) == [None] * THREADS

        assert min(hammer.steps for hammer in hammers) > 0
        assert client.get("hits") == sum(hammer.counted for hammer in hammers)
        winners = Counter(key for hammer in hammers for key in hammer.won)
        assert set(winners.values()) == {1}
        assert client.get_many(winners) == dict.fromkeys(winners, "the same value")
        owned = client.get_many(hammer.mine for hammer in hammers)
        assert owned.keys() == {hammer.mine for hammer in hammers if hammer.live}
        assert not [name for name in client.stats() if name.startswith(("refused", "outcome"))]
