"""``cloudcached stats``."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable
from typing import Any

import click

from ..engine.engine import Engine
from ..maintenance.survey import Survey, survey, types_and_lifetimes
from ..runtime.clock import SystemClock
from ..runtime.counters import Counters
from ..stores import open_store
from .output import counting, show_json, show_table
from .target import CacheCommand, Target, as_json_option


@click.command(cls=CacheCommand)
@click.option("--top", default=20, show_default=True, type=click.IntRange(1), help="Number of key prefixes to show.")
@click.option(
    "--sample",
    default=100,
    show_default=True,
    type=click.IntRange(0),
    help="Number of entries to sample, one HEAD each.",
)
@as_json_option
@click.pass_obj
def stats(target: Target, /, *, top: int, sample: int, as_json: bool) -> None:
    """Count entries and bytes by key prefix, including expired entries.

    A key's prefix is its first segment, which ends at : / | or a dot. Types and remaining lifetimes come from a random
    sample. Costs one request per 1,000 entries, and one for each entry in the sample.
    """
    config = target.checked()
    clock = SystemClock()
    engine = Engine(config, open_store(config, clock), clock, Counters())
    try:
        with counting("Counting...", "entries") as progress:
            found = survey(engine, draw=sample, progress=progress)
            types, spans = types_and_lifetimes(engine, found.drawn)
    finally:
        engine.store.close()
    figures: dict[str, Any] = {
        "entries": found.entries,
        "bytes": found.bytes,
        "oldest": _date(found.oldest),
        "newest": _date(found.newest),
    }
    if as_json:
        prefixes = [{"prefix": name, "entries": entries, "bytes": size} for name, entries, size in found.largest(top)]
        drawn = {
            "entries": sum(types.values()),
            "types": dict(types.most_common()),
            "expire": dict(spans.most_common()),
        }
        show_json({**figures, "prefixes": prefixes, "sample": drawn})
        return
    show_table(
        ("cache", config.url),
        [(name, f"{value:,}" if isinstance(value, int) else str(value or "-")) for name, value in figures.items()],
    )
    if found.entries:
        _show(found, top, types, spans)


def _show(found: Survey, top: int, types: Counter[str], spans: Counter[str]) -> None:
    rows = [(name or "(no segment)", f"{entries:,}", f"{size:,}") for name, entries, size in found.largest(top)]
    click.echo()
    show_table(("keys that begin with", "entries", "bytes"), rows)
    drawn = sum(types.values())
    if drawn:
        click.echo()
        title = f"sample of {drawn:,}"
        show_table((title, "entries"), [*_counted("type", types), *_counted("expires", spans)])


def _counted(what: str, counts: Counter[str]) -> Iterable[tuple[str, str]]:
    return ((f"{what}: {name}", f"{count:,}") for name, count in counts.most_common())


def _date(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return dt.datetime.fromtimestamp(seconds, dt.timezone.utc).isoformat(timespec="seconds")
