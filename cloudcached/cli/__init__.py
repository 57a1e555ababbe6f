"""The command line ``cloudcached``: its commands are defined once, for the shell and for Django's and Flask's commands.

A framework already knows which cache is meant: it calls ``main`` with the URL and the options of that cache, and the
commands then take no URL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import click

from .. import __version__
from .bench import bench
from .cost import cost
from .doctor import doctor
from .entries import COMMANDS
from .iam import iam
from .lifecycle import lifecycle
from .purge import purge
from .serve import completion, serve
from .stats import stats
from .target import Target


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="cloudcached")
@click.pass_context
def command_line(ctx: click.Context) -> None:
    """Inspect and maintain a cache whose entries live in S3.

    Each command works on one cache, named by a URL such as s3://bucket/prefix: the first argument, or the environment
    variable CLOUDCACHED_URL. Entries are signed and verified with CLOUDCACHED_SIGNING_KEY. Endpoint, region, profile
    and credentials are found the way boto3 finds them.

    \b
    Exit codes:
      0    success, or the answer is yes
      1    the answer is no: no such entry, or a promise does not hold
      2    the command line or the configuration is wrong
      3    the store is unavailable: unreachable, no such bucket, or access denied
      130  interrupted
    """  # noqa: D301 - click looks for this very character
    ctx.obj = ctx.obj or Target.of_environment()


for command in (*COMMANDS, stats, purge, lifecycle, iam, doctor, bench, cost, serve, completion):
    command_line.add_command(command)


def summary() -> str:
    """Return one line per command, its name and its purpose, for the help of Django's and Flask's commands."""
    width = max(map(len, command_line.commands))
    return "\n".join(
        f"  {name:{width}}  {command.get_short_help_str(80)}" for name, command in command_line.commands.items()
    )


def main(
    arguments: Sequence[str] | None = None,
    *,
    url: str = "",
    options: Mapping[str, Any] | None = None,
    prog_name: str = "cloudcached",
) -> NoReturn:
    """Run one command line, and exit with its exit code.

    url, options: the cache to work on, as ``Client`` takes them. Without a URL, the command line or the environment
    names the cache.
    """
    target = Target(url, dict(options or {}), fixed=True) if url else None
    command_line.main(args=arguments, prog_name=prog_name, obj=target)
