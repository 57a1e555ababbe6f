"""The cache that a command works on, and the errors that commands end with."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import click

from ..client import Client
from ..config import Config
from ..errors import CloudCachedError, ConfigError, OutcomeUnknown, PartialFailure, StoreError

URL_VARIABLE: Final = "CLOUDCACHED_URL"
KEY_VARIABLE: Final = "CLOUDCACHED_SIGNING_KEY"

#: Options that several commands have.
as_json_option: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
yes_option: Final = click.option("--yes", is_flag=True, help="Do not ask.")

_URL: Final = re.compile(r"(s3|memory)://")


@dataclass
class Target:
    """The cache that a command works on."""

    url: str
    options: Mapping[str, Any] = field(repr=False)
    #: Whether the caller has chosen the cache, so that the command line does not take a URL.
    fixed: bool = False

    @classmethod
    def of_environment(cls) -> Target:
        """Return the cache that the environment names."""
        key = os.environ.get(KEY_VARIABLE)
        return cls(os.environ.get(URL_VARIABLE, ""), {"signing_key": key} if key else {})

    def checked(self) -> Config:
        """Return the cache's configuration. Raises ``ConfigError``."""
        if not self.url:
            raise ConfigError(f"no cache was named; give its URL (s3://bucket/prefix) first, or set {URL_VARIABLE}")
        return Config.parse(self.url, self.options)

    def client(self) -> Client:
        """Return a client of the cache. It reports every error, even if the site's own client fails silently.

        Raises ``ConfigError``.
        """
        self.checked()
        return Client.shared(self.url, **{**self.options, "fail_silently": False})


class Failure(click.ClickException):
    """The command line or the configuration is wrong; the message is one line."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class Unasked(Failure):
    """The store is unavailable."""

    exit_code = 3


class Interrupted(Failure):
    """The user pressed Ctrl-C."""

    exit_code = 130


class CacheCommand(click.Command):
    """A command on one cache: takes the cache's URL as its first argument, and reports errors on one line."""

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return the parts of the usage line."""
        pieces = super().collect_usage_pieces(ctx)
        return pieces if _target(ctx).fixed else [*pieces[:1], "[URL]", *pieces[1:]]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the URL out of the arguments: the first one, if it is a URL or if the command takes no other."""
        if not _target(ctx).fixed:
            at = self._first_argument(args)
            alone = not any(isinstance(parameter, click.Argument) for parameter in self.params)
            if at < len(args) and args[at] != "--" and (alone or _URL.match(args[at])):
                ctx.obj = Target(args[at], _target(ctx).options)
                args = [*args[:at], *args[at + 1 :]]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except CloudCachedError as error:
            unasked = isinstance(error, (StoreError, PartialFailure, OutcomeUnknown))
            raise (Unasked if unasked else Failure)(str(error)) from error
        except KeyboardInterrupt:
            raise Interrupted("interrupted") from None

    def _first_argument(self, args: list[str]) -> int:
        """Return the index of the first argument that is neither an option nor an option's value."""
        valued = {
            name
            for option in self.params
            if isinstance(option, click.Option) and not option.is_flag and not option.count
            for name in option.opts
        }
        at = 0
        while at < len(args) and args[at].startswith("-") and args[at] not in ("-", "--"):
            at += 2 if args[at] in valued else 1
        return at


def _target(ctx: click.Context) -> Target:
    return ctx.find_object(Target) or Target.of_environment()
