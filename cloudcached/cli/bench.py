"""``cloudcached bench``."""

from __future__ import annotations

from typing import Any

import click

from ..client import Client
from ..maintenance.bench import MANY, SMALL_BYTES, Plan, measure
from ..prices import PRICES_DATE
from .output import advancing, show_json, show_table
from .target import CacheCommand, Target, yes_option

_DEFAULT = Plan()


@click.command(cls=CacheCommand)
@click.option(
    "--size",
    "sizes",
    multiple=True,
    type=click.IntRange(1),
    default=_DEFAULT.sizes,
    show_default=True,
    help="Size of a value in bytes; may be repeated.",
)
@click.option(
    "--runs", default=_DEFAULT.runs, show_default=True, type=click.IntRange(1), help="Puts and gets of each size."
)
@click.option(
    "--threads",
    multiple=True,
    type=click.IntRange(1, 256),
    default=_DEFAULT.threads,
    show_default=True,
    help="Number of threads that get concurrently; may be repeated.",
)
@yes_option
@click.option("--dry-run", is_flag=True, help="Print the requests and their cost, and send none.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.pass_obj
def bench(
    target: Target,
    /,
    *,
    sizes: tuple[int, ...],
    runs: int,
    threads: tuple[int, ...],
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Measure how fast a bucket is from this machine.

    Writes values of random bytes, reads them one at a time and from many threads, and removes them. It touches nothing
    else in the cache. First it prints the number of requests and their cost, and asks for confirmation unless --yes is
    given.
    """
    config = target.checked()
    plan = Plan(tuple(dict.fromkeys(sizes)), runs, tuple(dict.fromkeys(threads)))
    if dry_run:
        _show_plan(plan, as_json)
        return
    if not yes:
        click.echo(_costs(plan.requests(), plan), err=True)
        click.confirm(f"Write {plan.bytes_sent():,} bytes to {config.url}, and remove them?", abort=True, err=True)
    options = {name: option for name, option in target.options.items() if name != "near"}
    with advancing("measuring") as progress, Client(target.url, **{**options, "fail_silently": False}) as client:
        figures = measure(client, plan, progress)
    if as_json:
        dollars = plan.dollars(figures["requests"])
        show_json({"url": config.url, **figures, "dollars": dollars, "prices": PRICES_DATE})
    else:
        _show(figures, plan)


def _show_plan(plan: Plan, as_json: bool) -> None:
    if as_json:
        show_json({"would_send": plan.requests(), "bytes": plan.bytes_sent(), "dollars": plan.dollars()})
    else:
        click.echo(f"would send {_costs(plan.requests(), plan)}")


def _show(figures: dict[str, Any], plan: Plan) -> None:
    columns = ("median", "p50_ms"), ("95 %", "p95_ms"), ("average", "average_ms")
    rows = [
        (f"{verb} of {int(size):,} bytes", *(f"{row[verb][name]:,.2f} ms" for _, name in columns))
        for size, row in figures["values"].items()
        for verb in ("put", "get")
    ]
    show_table(("one at a time", *(title for title, _ in columns)), rows)
    click.echo()
    rates = [(f"get, {count} thread{'s' * (count != '1')}", rate) for count, rate in figures["threads"].items()]
    rates += [(f"{verb} of {MANY}", figures["many"][f"{verb}_per_s"]) for verb in ("get_many", "put_many")]
    show_table((f"{SMALL_BYTES} bytes each", "entries a second"), [(name, f"{rate:,.0f}") for name, rate in rates])
    click.echo()
    click.echo(_costs(figures["requests"], plan))


def _costs(requests: dict[str, int], plan: Plan) -> str:
    """Return the requests and their price, on one line."""
    each = ", ".join(f"{count:,} {method}" for method, count in requests.items())
    price = ", ".join(f"${dollars:.4f} on {name}" for name, dollars in plan.dollars(requests).items())
    return f"{sum(requests.values()):,} requests ({each}): {price}, at the prices of {PRICES_DATE}"
