"""``cloudcached cost``."""

from __future__ import annotations

import click

from ..cost import PRICES, PRICES_DATE, Node, ObjectStore, Serverless, Workload, break_even_gets_s, million, month
from .output import show_json, show_table


@click.command()
@click.option("--entries", default=1_000_000, show_default=True, type=click.IntRange(0), help="Live entries.")
@click.option("--size", default=10_240, show_default=True, type=click.IntRange(0), help="Bytes of each.")
@click.option("--gets", default=20.0, show_default=True, type=click.FloatRange(0), help="Gets a second, on average.")
@click.option("--puts", default=1.0, show_default=True, type=click.FloatRange(0), help="Puts a second, on average.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def cost(*, entries: int, size: int, gets: float, puts: float, as_json: bool) -> None:
    """Tell what a cache costs a month, on S3 and elsewhere.

    Needs no bucket. Prices of AWS, US East (N. Virginia), on demand.
    """
    load = Workload(entries, size, gets, puts)
    months = {service.name: month(service, load) for service in PRICES}
    stores = [service for service in PRICES if isinstance(service, ObjectStore)]
    others = [service for service in PRICES if isinstance(service, (Node, Serverless))]
    even = {store.name: {other.name: break_even_gets_s(store, other, load) for other in others} for store in stores}
    if as_json:
        figures = {store.name: dict(zip(("gets", "puts"), million(store, size), strict=True)) for store in stores}
        show_json({"prices": PRICES_DATE, "month": months, "million": figures, "break_even_gets_s": even})
        return
    title = f"{entries:,} entries of {size:,} bytes ({load.gb:,.1f} GB), {gets:g} gets and {puts:g} puts a second"
    rows = [(name, f"${dollars:,.2f}") for name, dollars in months.items()]
    show_table(("service", "a month"), rows, title=f"{title}; prices of {PRICES_DATE}")
    click.echo()
    prices = [(store.name, *(f"${dollars:,.2f}" for dollars in million(store, size))) for store in stores]
    show_table(("a million of", "gets", "puts"), prices)
    click.echo()
    rates = [(store, other, f"{rate:,.1f} gets/s") for store, row in even.items() for other, rate in row.items()]
    show_table(("costs as much as", "the other", "at"), rates)
