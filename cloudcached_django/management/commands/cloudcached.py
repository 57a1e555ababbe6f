"""``manage.py cloudcached --cache ALIAS COMMAND ...``: CloudCached's command line for one of ``CACHES``."""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from typing import Any, Final

from django.conf import settings
from django.core.cache import caches
from django.core.management.base import BaseCommand, CommandError, CommandParser, DjangoHelpFormatter

from cloudcached.__main__ import main, summary

from ...backend import S3Cache

_DESCRIPTION: Final = """\
Look after a cache whose entries live in S3: one of CACHES, signed with the site's keys.

commands:
{commands}

'{program} COMMAND --help' describes each command and its exit codes. Keys are written as they are
stored, KEY_PREFIX:VERSION:key, such as ':1:greeting' for cache.get('greeting')."""


class _Lines(DjangoHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks of the description."""


class Command(BaseCommand):
    """The command."""

    help = "Look after a cache whose entries live in S3."
    # It is there to find out what is wrong with a cache; its commands report mistakes themselves.
    requires_system_checks = ()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Return the parser, with the list of commands in its help."""
        parser = super().create_parser(prog_name, subcommand, **{"formatter_class": _Lines, **kwargs})
        parser.usage = "%(prog)s [options] [--cache ALIAS] COMMAND ..."
        parser.description = _DESCRIPTION.format(commands=summary(), program=parser.prog)
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        """Add ``--cache``; all arguments after it are left to CloudCached's command line."""
        parser.add_argument("--cache", default="default", metavar="ALIAS", help="Which of CACHES.  [default: default]")
        parser.add_argument(
            "arguments", nargs=argparse.REMAINDER, metavar="COMMAND ...", help="The command and its arguments."
        )

    def handle(self, *_: Any, cache: str, arguments: list[str], **__: Any) -> None:
        """Run the command and exit with its code; for ``call_command``, return or raise ``CommandError`` instead."""
        if cache not in settings.CACHES:
            raise CommandError(
                f"there is no cache {cache!r} in CACHES, only {', '.join(settings.CACHES)}", returncode=2
            )
        backend = caches[cache]
        if not isinstance(backend, S3Cache):
            raise CommandError(
                f"the cache {cache!r} is a {type(backend).__name__}; this command is for cloudcached_django.S3Cache",
                returncode=2,
            )
        code = self._run(backend, arguments)
        if code and not getattr(self, "_called_from_command_line", False):
            raise CommandError(f"cloudcached {' '.join(arguments[:1])} ended with exit code {code}", returncode=code)
        if code:
            sys.exit(code)

    def _run(self, backend: S3Cache, arguments: list[str]) -> int:
        """Run the command line on *backend*, and return its exit code."""
        with contextlib.ExitStack() as stack:
            out: Any = self.stdout._out  # noqa: SLF001 - the caller's stream, or this process's own
            if out is not sys.stdout:
                # Commands also write bytes, which a StringIO does not accept.
                written = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
                stack.callback(lambda: out.write(written.buffer.getvalue().decode("utf-8", "replace")))
                stack.callback(written.flush)
                stack.enter_context(contextlib.redirect_stdout(written))
            try:
                main(arguments, url=backend.location, options=backend.options, prog_name="manage.py cloudcached")
            except SystemExit as end:
                return end.code if isinstance(end.code, int) else int(end.code is not None)
