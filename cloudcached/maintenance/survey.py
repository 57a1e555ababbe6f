"""What a bucket holds, by the beginnings of keys: from a listing, which costs requests and shows no metadata.

Entries are spread over 256 shards by a hash of their names, and a listing goes through them in order. So the shards
that fit into a budget are a fair sample of all, and the rest is estimated from them.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from ..engine.engine import Engine
from ..engine.listing import Listing
from ..errors import EntryRefused, NotFound
from ..runtime.pool import fan_out
from ..stores.port import Listed

#: Up to the first separator; what Django puts before a key, ``KEY_PREFIX:VERSION:``, is a part of it.
_BEGINNING: Final = re.compile(r"(?:[^:]*:\d+:)?(?:[^:/|.]*[:/|.])?")
#: Characters of a beginning, and how many are told apart; the entries of further ones are counted under "...".
_LONGEST: Final = 60
_MOST: Final = 1000
_SHARDS: Final = 256
#: Upper bounds in seconds of what is left to live, and their names.
_SPANS: Final = ((0, "expired"), (3600, "within an hour"), (86400, "within a day"), (30 * 86400, "within 30 days"))

#: Under what names are counted whose key is inside the entry, which is not read.
LONG_KEYS: Final = "(long keys)"
REST: Final = "..."


def beginning(key: str) -> str:
    """Return the first segment of *key* with its separator, one of ``: / | .``; "" where there is none."""
    match = _BEGINNING.match(key)
    return match.group()[:_LONGEST] if match else ""


@dataclass
class Survey:
    """What a listing showed, expired entries included."""

    entries: int = 0
    bytes: int = 0
    #: When the oldest and the newest of them were written, in epoch seconds.
    oldest: float | None = None
    newest: float | None = None
    #: Entries and bytes by the beginning of the key.
    by_beginning: dict[str, tuple[int, int]] = field(default_factory=dict)
    #: What a part of all was multiplied by; 1.0 where all were counted.
    scale: float = 1.0
    #: False: the budget did not suffice even for an estimate, so there is at least this much.
    known: bool = True
    #: Requests that it took.
    requests: int = 0
    #: Names of entries that were drawn by chance.
    drawn: list[str] = field(default_factory=list)

    def largest(self, most: int) -> list[tuple[str, int, int]]:
        """Return beginning, entries and bytes of those with most bytes, and of all the others as one."""
        rows = sorted(
            ((name, entries, size) for name, (entries, size) in self.by_beginning.items()), key=lambda row: -row[2]
        )
        if len(rows) <= most:
            return rows
        others = rows[most:]
        return [*rows[:most], (REST, sum(row[1] for row in others), sum(row[2] for row in others))]


def survey(
    engine: Engine, *, budget: int | None = None, draw: int = 0, progress: Callable[[int], object] | None = None
) -> Survey:
    """Count entries and bytes. *budget*: LISTs at most, and estimate from what they show; ``None``: count all.

    draw: how many names to draw by chance. progress: is called with the entries so far. **Cost:** 1 LIST per 1,000
    objects, in parallel where there is no budget.
    """
    found = Survey()
    rows = _Rows(found, draw)
    if budget is None:
        for page in Listing(engine).pages():
            found.requests += 1
            rows.add(engine, page)
            if progress is not None:
                progress(found.entries)
    else:
        _sample(engine, rows, budget)
    found.by_beginning = {name: (rows.entries[name], rows.bytes[name]) for name in rows.entries}
    return found


class _Rows:
    """Adds rows of a listing to a survey."""

    def __init__(self, found: Survey, draw: int) -> None:
        self.found = found
        self._draw = draw
        self.entries: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()

    def add(self, engine: Engine, page: Iterable[Listed]) -> None:
        found, names = self.found, engine.names
        for row in page:
            is_ours, key = names.parsed(row.object_key)
            if not is_ours:
                continue
            found.entries += 1
            found.bytes += row.size
            found.oldest = min(row.modified, found.oldest or row.modified)
            found.newest = max(row.modified, found.newest or row.modified)
            name = LONG_KEYS if key is None else beginning(key)
            if name not in self.entries and len(self.entries) >= _MOST:
                name = REST
            self.entries[name] += 1
            self.bytes[name] += row.size
            self._lot(row.object_key)

    def _lot(self, object_key: str) -> None:
        """Draw so that each row has the same chance (reservoir sampling)."""
        drawn = self.found.drawn
        if len(drawn) < self._draw:
            drawn.append(object_key)
        elif self._draw and (place := random.randrange(self.found.entries)) < self._draw:  # noqa: S311 - a sample
            drawn[place] = object_key


def _sample(engine: Engine, rows: _Rows, budget: int) -> None:
    """List from the beginning until the budget is spent, and scale up what is in the shards that are whole."""
    found, root, listing = rows.found, engine.names.root, Listing(engine)
    after, more, seen = "", True, []
    while more and found.requests < budget:
        page, more = listing.page(root, after)
        found.requests += 1
        seen += page
        after = page[-1].object_key if page else after
    if not more:
        rows.add(engine, seen)
        return
    digits = after[len(root) :][:2]
    # What is sorted before or behind the shards is foreign, or a lock.
    whole = int(digits, 16) if re.fullmatch("[0-9a-f]{2}", digits) else 0 if digits < "00" else _SHARDS
    if whole:
        seen = [row for row in seen if row.object_key[len(root) :][:2] < digits]
    rows.add(engine, seen)
    found.known = whole > 0
    found.scale = _SHARDS / whole if whole else 1.0
    found.entries, found.bytes = round(found.entries * found.scale), round(found.bytes * found.scale)
    for counts in (rows.entries, rows.bytes):
        for name in counts:
            counts[name] = round(counts[name] * found.scale)


def outsides(engine: Engine, object_keys: Iterable[str]) -> tuple[Counter[str], Counter[str]]:
    """Return how many of these entries have which type, and how long they have to live. **Cost:** 1 HEAD each."""
    types: Counter[str] = Counter()
    spans: Counter[str] = Counter()
    now = engine.clock.time()
    for kind, expires in _described(engine, object_keys):
        types[kind] += 1
        if kind != "refused":
            spans[_span(expires, now)] += 1
    return types, spans


def _described(engine: Engine, object_keys: Iterable[str]) -> Iterator[tuple[str, int | None]]:
    """Yield type and deadline; none of what has gone since."""

    def look(object_key: str) -> Any:
        try:
            head = engine.requests.call(engine.budget(), "head", engine.store.head, object_key)
            meta = engine.codec.check(object_key, head.metadata, head.size)
        except NotFound:
            return None
        except EntryRefused:
            return "refused", None
        return meta.type, meta.expires_ms

    for _, described in fan_out(look, object_keys):
        if described is not None:
            yield described


def _span(expires_ms: int | None, now: float) -> str:
    if expires_ms is None:
        return "never"
    left = expires_ms / 1000 - now
    return next((name for bound, name in _SPANS if left <= bound), "later")
