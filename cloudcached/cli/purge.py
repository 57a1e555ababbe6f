"""``cloudcached purge``."""

from __future__ import annotations

from typing import Any, Final

import click

from ..maintenance.purge import GRACE, GRACE_SECONDS, Counts, Purge, Report, Wanted
from .output import advancing, say, show_json, show_table
from .target import CacheCommand, Failure, Interrupted, Target, as_json_option, yes_option

_WORDS: Final = {
    "requests": "the request limit is reached",
    "seconds": "the time limit is reached",
    "interrupted": "interrupted",
    "failed": "the store is failing",
}


@click.command(cls=CacheCommand)
@click.option("--all", "everything", is_flag=True, help="Remove expired counters and sessions too.")
@click.option(
    "--refused",
    is_flag=True,
    help="Also remove damaged entries, unsigned ones, and those signed with another key or in another format.",
)
@click.option(
    "--grace",
    type=click.FloatRange(0),
    help="Seconds that an entry must have been expired for."
    f"  [default: 0, or {GRACE_SECONDS:.0f} on a store without conditional removal]",
)
@click.option("--max-requests", type=click.IntRange(1), help="Limit of requests to send, 15 or more.")
@click.option(
    "--max-seconds", type=click.FloatRange(0, min_open=True), help="Limit of seconds: send nothing new after them."
)
@click.option("--resume", default="", metavar="NAME", help="Resume an earlier run, at the name that it printed.")
@yes_option
@click.option("--dry-run", is_flag=True, help="Count the entries to remove, and remove nothing.")
@as_json_option
@click.pass_obj
def purge(target: Target, /, *, yes: bool, as_json: bool, **given: Any) -> None:
    """Remove expired entries.

    Costs one request for each entry of the cache, and one more for each that is removed. An entry that is rewritten in
    the meantime is kept, if the store can do that: see `cloudcached doctor`. Locks, counters and sessions stay.

    \b
    Exit codes:
      0    done, or a limit is reached
      2    the command line or the configuration is wrong
      3    some entries could not be examined or removed
      130  interrupted
    """  # noqa: D301 - click looks for this very character
    wanted = Wanted(**given)
    config = target.checked()
    run = Purge(config, wanted)
    if not yes and not wanted.dry_run:
        also = " and all entries that this key cannot verify" if wanted.refused else ""
        click.confirm(f"Remove expired entries{also} from {config.url}?", abort=True, err=True)
    with advancing("Purging...") as show:

        def progress(part: float, counts: Counts) -> None:
            show(part, f"{counts.listed:,} listed, {counts.removed:,} removed")

        report = run.run(progress)
    _show(report, wanted, as_json=as_json)


def _show(report: Report, wanted: Wanted, *, as_json: bool) -> None:
    counts = report.counts
    if as_json:
        show_json(report.as_dict())
    else:
        show_table(("entries", "count"), [(name, f"{count:,}") for name, count in vars(counts).items()])
    if report.by == GRACE and counts.removed:
        text = (
            "This store has no conditional removal: if an expired entry was rewritten between the look at it and its"
            " removal, the new entry is lost. Lifecycle rules avoid this: see `cloudcached lifecycle plan`."
        )
        click.echo(text, err=True)
    how_to_continue = f"; continue with --resume {report.resume}" if report.resume else ""
    if report.stopped == "interrupted":
        raise Interrupted(f"interrupted{how_to_continue}")
    if report.error is not None:
        text = f"{counts.failed:,} entries failed; the first error: {report.error}{how_to_continue}"
        raise _Unpurged(text)
    if report.stopped:
        click.echo(f"{_WORDS[report.stopped]}{how_to_continue}", err=True)
    elif wanted.dry_run:
        say("nothing was removed")


class _Unpurged(Failure):
    """Some entries could not be examined or removed."""

    exit_code = 3
