"""``cloudcached doctor``."""

from __future__ import annotations

from typing import Any, Final

import click

from ..config import CONDITIONAL_WRITES
from ..doctor import Report, examine
from .output import busy, show_json, show_table
from .target import CacheCommand, Target, Unasked

_COLOURS: Final = {
    "ok": "green",
    "holds": "green",
    "note": "cyan",
    "best effort": "yellow",
    "warning": "yellow",
    "unknown": "yellow",
    "problem": "red",
    "refused": "red",
}


@click.command(cls=CacheCommand)
@click.option("--json", "as_json", is_flag=True, help="Print the complete report as JSON.")
@click.option("--rounds", default=5, show_default=True, help="Races between 50 writers, for each of two kinds.")
@click.option("--timeout", type=float, help="Time limit of one request, in seconds.  [default: 5]")
@click.option(
    "--conditional-writes",
    type=click.Choice(CONDITIONAL_WRITES),
    help="The client option to base the verdict on.  [default: auto]",
)
@click.pass_context
def doctor(ctx: click.Context, /, *, as_json: bool, rounds: int, **given: Any) -> None:
    """Test how a bucket really behaves, and which promises hold there.

    Tries everything that the cache relies on, with 50 concurrent writers where that matters. Takes a few seconds and
    several hundred requests. Writes only under PREFIX/_cloudcached/doctor/, and removes what it wrote.

    \b
    Exit codes:
      0  all promises hold
      1  some promises do not hold: see the table
      2  the command line or the configuration is wrong
      3  the store cannot be reached, has no such bucket, or denies access
    """  # noqa: D301 - click looks for this very character
    target: Target = ctx.obj
    target.checked()
    options = {**target.options, **{name: value for name, value in given.items() if value is not None}}
    with busy("Asking the bucket..."):
        report = examine(target.url, rounds=rounds, **options)
    if as_json:
        show_json(report.as_dict())
    if not report.reached:
        (finding,) = report.findings
        raise Unasked("; ".join(filter(None, (f"{report.url}: {finding.seen}", finding.advice))))
    if not as_json:
        _show(report)
    ctx.exit(0 if report.holds else 1)


def _show(report: Report) -> None:
    server = f" ({report.server})" if report.server else ""
    click.echo(f"{report.url} at {report.endpoint}{server}")
    reason = f" ({report.transport_reason})" if report.transport_reason else ""
    click.echo(f"transport: {report.transport}{reason}\n")
    found = [(finding.level, finding.title, finding.seen) for finding in report.findings]
    show_table(("level", "probe", "result"), found, title="What the store does", styles=_COLOURS)
    click.echo()
    verdict = [(promise.state, promise.operation, promise.why) for promise in report.promises]
    show_table(("promise", "operation", "why"), verdict, title="What holds there", styles=_COLOURS)
    advice = {finding.advice: finding for finding in reversed(report.findings) if finding.advice}
    if advice:
        rows = [(finding.level, finding.title, finding.advice) for finding in reversed(advice.values())]
        click.echo()
        show_table(("level", "finding", "advice"), rows, title="What to do", styles=_COLOURS)
