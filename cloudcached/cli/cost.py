"""``cloudcached cost``."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import click

from ..prices import (
    ENTRY_OVERHEAD_BYTES,
    OPERATIONS,
    PREFIX_READS_S,
    PREFIX_WRITES_S,
    PREFIXES,
    PRICES,
    PRICES_DATE,
    Node,
    ObjectStore,
    Serverless,
    Workload,
    break_even_gb,
    break_even_gets_s,
    everything,
    millions,
    month,
    per_million,
)
from .output import show_json, show_table


@click.command()
@click.option("--entries", default=1_000_000, show_default=True, type=click.IntRange(0), help="Live entries.")
@click.option("--size", default=10_240, show_default=True, type=click.IntRange(0), help="Bytes per value.")
@click.option("--gets", default=20.0, show_default=True, type=click.FloatRange(0), help="Gets a second, on average.")
@click.option("--puts", default=1.0, show_default=True, type=click.FloatRange(0), help="Puts a second, on average.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def cost(*, entries: int, size: int, gets: float, puts: float, as_json: bool) -> None:
    """Compare the monthly cost of a cache on S3 and on ElastiCache.

    Also prints the cost of a million of each operation, the rates and sizes at which S3 is cheaper, and the requests
    and cost of going over all entries. Needs no bucket. Uses AWS on-demand prices for US East (N. Virginia).
    """
    figures = _figures(Workload(entries, size, gets, puts))
    if as_json:
        show_json(figures)
        return
    _show(figures, Workload(entries, size, gets, puts))


def _figures(load: Workload) -> dict[str, Any]:
    stores = [service for service in PRICES if isinstance(service, ObjectStore)]
    others = [service for service in PRICES if isinstance(service, (Node, Serverless))]
    whole = everything(load.entries)
    return {
        "prices": PRICES_DATE,
        "month": {service.name: month(service, load) for service in PRICES},
        "per_million": {service.name: _finite(per_million(service, load)) for service in PRICES},
        "requests": {operation.name: Counter(operation.requests) for operation in OPERATIONS},
        "million": {store.name: millions(store, load.size_bytes) for store in stores},
        "break_even_gets_s": {
            store.name: {other.name: break_even_gets_s(store, other, load) for other in others} for store in stores
        },
        "break_even_gb": {
            store.name: {other.name: _finite(break_even_gb(store, other, load)) for other in others} for store in stores
        },
        "all_entries": {
            verb: {
                "requests": requests,
                **{store.name: sum(store.requests([name]) * n for name, n in requests.items()) for store in stores},
            }
            for verb, requests in whole.items()
        },
    }


def _finite(figure: float) -> float | None:
    return figure if math.isfinite(figure) else None


def _show(figures: Mapping[str, Any], load: Workload) -> None:
    title = (
        f"{load.entries:,} entries of {load.size_bytes:,} bytes ({load.gb:,.1f} GB), {load.gets_s:g} gets and"
        f" {load.puts_s:g} puts a second"
    )
    months, each = figures["month"], figures["per_million"]
    rows = [(name, *_dollars((months[name], each[name]))) for name in months]
    show_table(("service", "a month", "a million gets and puts"), rows, title=f"{title}; prices of {figures['prices']}")
    click.echo()
    million, stores = figures["million"], tuple(figures["million"])
    show_table(
        ("a million of", "requests of each", *stores),
        [
            (name, _requests(requests), *_dollars(million[store][name] for store in stores))
            for name, requests in figures["requests"].items()
        ],
    )
    click.echo()
    rates, sizes = figures["break_even_gets_s"], figures["break_even_gb"]
    show_table(
        ("service", "cheaper than", "at this size, up to", "at this rate, from a size of"),
        [
            (store, other, f"{rate:,.1f} gets/s", _size(sizes[store][other], load.size_bytes))
            for store, row in rates.items()
            for other, rate in row.items()
        ],
    )
    click.echo()
    show_table(
        ("all entries", "requests", *stores),
        [
            (verb, _requests(row["requests"]), *_dollars(row[store] for store in stores))
            for verb, row in figures["all_entries"].items()
        ],
    )
    click.echo()
    click.echo(
        f"{stores[0]} sustains at least {PREFIX_READS_S:,} reads and {PREFIX_WRITES_S:,} writes a second for each of"
        f" {PREFIXES} object name prefixes:\n{PREFIXES * PREFIX_READS_S:,} reads and {PREFIXES * PREFIX_WRITES_S:,} writes in all."
    )


def _dollars(figures: Iterable[float | None]) -> list[str]:
    return ["-" if figure is None else f"${figure:,.2f}" for figure in figures]


def _requests(requests: Mapping[str, int]) -> str:
    return " + ".join(f"{count:,} {name}" for name, count in requests.items())


def _size(gb: float | None, size_bytes: int) -> str:
    if gb is None:
        return "no size"
    entries = gb * 2**30 / (size_bytes + ENTRY_OVERHEAD_BYTES)
    return f"{gb:,.1f} GB ({entries:,.0f} entries)" if gb else "any size"
