"""``cloudcached purge``."""

from __future__ import annotations

from typing import Any, Final

import click

from ..maintenance.purge import GRACE, GRACE_SECONDS, Counts, Purge, Report, Wanted
from .output import advancing, say, show_json, show_table
from .target import Failure, Interrupted, Target, Verb, as_json_option, yes_option

_WORDS: Final = {
    "requests": "the limit of requests is reached",
    "seconds": "the time is over",
    "interrupted": "interrupted",
    "failed": "the store fails",
}


@click.command(cls=Verb)
@click.option("--all", "everything", is_flag=True, help="Counters and sessions too.")
@click.option("--refused", is_flag=True, help="Also what is damaged, unsigned, or signed with another key.")
@click.option(
    "--grace",
    type=click.FloatRange(0),
    help=f"Seconds that an entry has to be expired for.  [default: 0; {GRACE_SECONDS:.0f} where nothing better helps]",
)
@click.option("--max-requests", type=click.IntRange(1), help="Send no more than these, from 15 on.")
@click.option("--max-seconds", type=click.FloatRange(0, min_open=True), help="Begin nothing after these.")
@click.option("--resume", default="", metavar="NAME", help="Go on where a run ended, as it has said.")
@yes_option
@click.option("--dry-run", is_flag=True, help="Count what would be removed, and remove nothing.")
@as_json_option
@click.pass_obj
def purge(target: Target, /, *, yes: bool, as_json: bool, **given: Any) -> None:
    """Remove the entries that have expired.

    Asks for each entry of the cache: one request each, and one more for each that is removed. What is written anew
    meanwhile is spared, where the store can do that: `doctor` tells. Locks, counters and sessions stay.

    \b
    Exit codes:
      0    done, or a limit is reached
      2    the command line or the configuration is wrong
      3    some entries could not be asked for or removed
      130  interrupted
    """  # noqa: D301 - click looks for this very character
    wanted = Wanted(**given)
    config = target.checked()
    run = Purge(config, wanted)
    if not yes and not wanted.dry_run:
        also = " and all that cannot be verified with this key" if wanted.refused else ""
        click.confirm(f"Remove the expired entries{also} from {config.url}?", abort=True, err=True)
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
            "This store ties no removal to what was seen: what was written between the look at an expired entry and its"
            " removal is lost. `cloudcached lifecycle plan` shows rules that do without."
        )
        click.echo(text, err=True)
    go_on = f"; go on with --resume {report.resume}" if report.resume else ""
    if report.stopped == "interrupted":
        raise Interrupted(f"interrupted{go_on}")
    if report.error is not None:
        text = f"{counts.failed:,} entries failed; the first: {report.error}{go_on}"
        raise _Unpurged(text)
    if report.stopped:
        click.echo(f"{_WORDS[report.stopped]}{go_on}", err=True)
    elif wanted.dry_run:
        say("nothing was removed")


class _Unpurged(Failure):
    """Some entries could not be asked for."""

    exit_code = 3
