"""Counts the contents of a bucket by key prefix, from a listing, which costs requests and shows no metadata.

Entries are spread over 256 shards by a hash of their names, and a listing goes through the shards in order. So the
shards that fit into a request budget are a fair sample of all, and the rest is estimated from them.
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
from ..entry.format import OTHER_FORMAT
from ..errors import EntryRefused, NotFound
from ..runtime.pool import fan_out
from ..stores.port import Listed

#: A key up to its first separator. Django's ``KEY_PREFIX:VERSION:`` before the key is included.
_BEGINNING: Final = re.compile(r"(?:[^:]*:\d+:)?(?:[^:/|.]*[:/|.])?")
#: The most characters of a prefix, and the most different prefixes; entries of further ones are counted under "...".
_LONGEST: Final = 60
_MOST: Final = 1000
_SHARDS: Final = 256
#: Upper bounds of remaining lifetimes in seconds, and their names.
_SPANS: Final = ((0, "expired"), (3600, "within an hour"), (86400, "within a day"), (30 * 86400, "within 30 days"))

#: The type of what this key cannot verify. An entry of another version is ``OTHER_FORMAT``.
_REFUSED: Final = "refused"
#: Counts entries whose long key is stored inside them, since a listing does not show it; and those of further prefixes.
LONG_KEYS: Final = "(long keys)"
REST: Final = "..."


def beginning(key: str) -> str:
    """Return the first segment of *key* with its separator, one of ``: / | .``; "" if there is none."""
    match = _BEGINNING.match(key)
    return match.group()[:_LONGEST] if match else ""


@dataclass
class Survey:
    """The result of a listing; includes expired entries."""

    entries: int = 0
    bytes: int = 0
    #: When the oldest and the newest entry were written, in epoch seconds.
    oldest: float | None = None
    newest: float | None = None
    #: Entries and bytes by key prefix.
    by_beginning: dict[str, tuple[int, int]] = field(default_factory=dict)
    #: The factor by which counts of a sample were multiplied; 1.0 if all entries were counted.
    scale: float = 1.0
    #: False: the budget was too small even for an estimate, so there are at least this many.
    known: bool = True
    #: Requests that were sent.
    requests: int = 0
    #: A random sample of the entries' object names.
    drawn: list[str] = field(default_factory=list)

    def largest(self, most: int) -> list[tuple[str, int, int]]:
        """Return prefix, entries and bytes of the *most* largest prefixes by bytes, and one row for all the others."""
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
    """Count entries and bytes.

    budget: the most LISTs to send, from which the rest is estimated; ``None``: count all entries. draw: the size of the
    random sample of names. progress: called with the number of entries so far. **Cost:** 1 LIST per 1,000 objects, in
    parallel if there is no budget.
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
            self._draw_or_skip(row.object_key)

    def _draw_or_skip(self, object_key: str) -> None:
        """Draw a sample in which each row has the same chance (reservoir sampling)."""
        drawn = self.found.drawn
        if len(drawn) < self._draw:
            drawn.append(object_key)
        elif self._draw and (place := random.randrange(self.found.entries)) < self._draw:  # noqa: S311 - a sample
            drawn[place] = object_key


def _sample(engine: Engine, rows: _Rows, budget: int) -> None:
    """List from the beginning until the budget is spent, and scale up the counts of the shards that are complete."""
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
    # Names that sort before or after the shards are foreign objects or locks.
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


def types_and_lifetimes(engine: Engine, object_keys: Iterable[str]) -> tuple[Counter[str], Counter[str]]:
    """Count these entries by type and by remaining lifetime. **Cost:** 1 HEAD each."""
    types: Counter[str] = Counter()
    spans: Counter[str] = Counter()
    now = engine.clock.time()
    for kind, expires in _described(engine, object_keys):
        types[kind] += 1
        if kind not in (OTHER_FORMAT, _REFUSED):
            spans[_span(expires, now)] += 1
    return types, spans


def _described(engine: Engine, object_keys: Iterable[str]) -> Iterator[tuple[str, int | None]]:
    """Yield type and deadline of each entry that is still there."""

    def look(object_key: str) -> Any:
        try:
            head = engine.requests.call(engine.budget(), "head", engine.store.head, object_key)
            meta = engine.codec.check(object_key, head.metadata, head.size)
        except NotFound:
            return None
        except EntryRefused as refusal:
            return (OTHER_FORMAT if refusal.reason == OTHER_FORMAT else _REFUSED), None
        return meta.type, meta.expires_ms

    for _, described in fan_out(look, object_keys):
        if described is not None:
            yield described


def _span(expires_ms: int | None, now: float) -> str:
    if expires_ms is None:
        return "never"
    left = expires_ms / 1000 - now
    return next((name for bound, name in _SPANS if left <= bound), "later")
