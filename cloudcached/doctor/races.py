"""Probes with concurrent requests, and of a bucket's speed."""

from __future__ import annotations

import statistics
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

from ..errors import StoreError
from ..stores.port import ABSENT, Matches, When, Write
from .probe import Outcome, Probe, no, probe, unsure, yes
from .site import Site

#: Writers in one round of a race.
WRITERS: Final = 50
#: Bytes of the bodies in every other round, which is sent by boto3: different requests reveal different gaps, such as
#: that of a store that checks the condition before the body arrives, and writes afterwards.
LARGE: Final = 1 << 16
#: Number of PUTs, and of GETs, that are timed.
SAMPLES: Final = 20

_RACES = "several callers may win where only one should (add, update, incr, locks): use this store for get and set"


class _Round(NamedTuple):
    #: The writers that were told that their write was done.
    winners: list[int]
    #: The writer whose bytes are there afterwards; ``None``: other bytes, or no object.
    kept: int | None
    #: The answers to the other writers, and how many there were of each.
    losers: Counter[str]


def race_if_absent(rounds: int) -> Probe:
    """Return the probe of so many *rounds* of races for a name that is free."""

    def ask(site: Site) -> Outcome:
        return _judged([_race(site, site.name("race"), ABSENT, number) for number in range(rounds)])

    return Probe("race-if-absent", f"Of {WRITERS} concurrent PUTs If-None-Match: * one succeeds", ask)


def race_if_match(rounds: int) -> Probe:
    """Return the probe of so many *rounds* of races to replace one object."""

    def ask(site: Site) -> Outcome:
        bases = (site.write("race", b"base") for _ in range(rounds))
        return _judged([_race(site, name, Matches(etag), number) for number, (name, etag) in enumerate(bases)])

    return Probe("race-if-match", f"Of {WRITERS} concurrent PUTs If-Match one succeeds", ask)


def _race(site: Site, name: str, when: When, number: int) -> _Round:
    """Let all writers put their own bodies under *name* at once. **Cost:** one PUT each, and a GET."""
    store, size = (site.by_boto3, LARGE) if number % 2 else (site.store, 0)
    bodies = [f"writer {writer} of {name}".encode().ljust(size) for writer in range(WRITERS)]
    start = threading.Barrier(WRITERS, timeout=30)

    def write(body: bytes) -> str:
        start.wait()
        try:
            store.put(Write(name, body, {}, when=when), timeout=site.config.timeout)
        except StoreError as error:
            return _label(error)
        return ""

    with ThreadPoolExecutor(WRITERS) as writers:
        answers = list(writers.map(write, bodies))
    kept = site.body(name)
    return _Round(
        [number for number, answer in enumerate(answers) if not answer],
        bodies.index(kept) if kept in bodies else None,
        Counter(filter(None, answers)),
    )


def _label(error: StoreError) -> str:
    """Return the status and code of the answer that became *error*."""
    status = str(error).partition(": ")[2][:3]
    return f"{status} {error.code}" if status.isdigit() and status != error.code else error.code or type(error).__name__


def _judged(rounds: list[_Round]) -> Outcome:
    losers = sum((race.losers for race in rounds), Counter())
    answers = "; losers: " if losers else ""
    answers += ", ".join(f"{count} x {label}" for label, count in losers.most_common())
    crowded = [len(race.winners) for race in rounds if len(race.winners) > 1]
    if crowded:
        text = f"up to {max(crowded)} winners in {len(crowded)} of {len(rounds)} rounds{answers}"
        return no(text, "problem", _RACES)
    if any(race.winners and race.winners != [race.kept] for race in rounds):
        return no(f"the winner's bytes are not those that are stored{answers}", "problem", _RACES)
    decided = sum(bool(race.winners) for race in rounds)
    if not decided:
        return unsure(f"no winner in {len(rounds)} rounds{answers}")
    return yes(f"one winner in {decided} of {len(rounds)} rounds{answers}")


@probe("speed", "A GET after a PUT sees it")
def speed(site: Site) -> Outcome:
    """Overwrite one object and read it back, several times, as the client does."""
    name, timeout, now = site.name("speed"), site.config.timeout, site.clock.monotonic
    puts, gets, stale = [], [], 0
    for number in range(SAMPLES):
        body = b"version %d" % number
        began = now()
        site.store.put(Write(name, body, {}), timeout=timeout)
        written = now()
        stale += site.store.get(name, timeout=timeout).read() != body
        puts.append(written - began)
        gets.append(now() - written)
    figures = {"get_ms": _median_ms(gets), "put_ms": _median_ms(puts)}
    text = f"{SAMPLES} of {SAMPLES}; median GET {figures['get_ms']:g} ms, PUT {figures['put_ms']:g} ms"
    if stale:
        advice = "readers may see values that have been overwritten"
        return no(f"{SAMPLES - stale}{text[len(str(SAMPLES)) :]}", "warning", advice, figures=figures)
    return yes(text, figures=figures)


def _median_ms(seconds: list[float]) -> float:
    return round(statistics.median(seconds) * 1000, 2)
