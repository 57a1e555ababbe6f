"""``flask cloudcached COMMAND ...``: CloudCached's command line for a cache of the app."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from flask import Flask, current_app
from flask.cli import with_appcontext

from cloudcached.__main__ import main, summary


class _Command(click.Command):
    """Passes everything from the command's name on unchanged, and lists the commands in its help."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands."""
        formatter.write(
            f"\nCommands:\n{summary()}\n\n"
            f"'{ctx.command_path} COMMAND --help' describes each command and its exit codes.\n"
            "Keys are written as they are stored, with the CACHE_KEY_PREFIX (by default flask_cache_).\n"
        )


@click.command(
    "cloudcached",
    cls=_Command,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.option("--cache", "url", default="", metavar="URL", help="Which cache, if the app has several.")
@click.argument("arguments", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND ...")
@click.pass_context
@with_appcontext
def cloudcached(ctx: click.Context, /, *, url: str, arguments: tuple[str, ...]) -> None:
    """Look after a cache whose entries live in S3, signed with the app's keys."""
    caches: Mapping[str, Mapping[str, Any]] = {cache.url: cache.options for cache in current_app.extensions[_CACHES]}
    if url not in caches and (url or len(caches) > 1):
        raise click.UsageError(f"--cache takes one of {', '.join(caches)}")
    url = url or next(iter(caches))
    main(arguments, url=url, options=caches[url], prog_name=ctx.command_path)


#: The key in ``app.extensions`` under which an app's CloudCached caches are kept.
_CACHES = "cloudcached"


def register(app: Flask, cache: Any) -> None:
    """Make *cache* known to the command, and add the command to *app*, unless it has one of that name."""
    app.extensions.setdefault(_CACHES, []).append(cache)
    app.cli.commands.setdefault("cloudcached", cloudcached)
