"""The commands that need no cache: serve and completion."""

from __future__ import annotations

import signal
import threading
from contextlib import suppress
from typing import Final

import click
from click.shell_completion import get_completion_class

from ..errors import ConfigError
from ..testing.server import listen, serving
from .target import URL_VARIABLE, Failure

_SHELLS: Final = ("bash", "zsh", "fish")


@click.command()
@click.option(
    "--port",
    default=9000,
    show_default=True,
    type=click.IntRange(1, 65535),
    help="Where to listen, on 127.0.0.1; where that is in use, the next one.",
)
@click.option("--bucket", default="cloudcached", show_default=True, help="The bucket to make.")
def serve(*, port: int, bucket: str) -> None:
    """Run an S3 server on this machine, for development.

    Prints what to put into the environment of the programs that use it, and serves until Ctrl-C. It is moto's server:
    what is stored is in its memory and goes with it, and whoever asks is let in. Needs the extra "testing".

    \b
    Exit codes:
      0  it was ended, by Ctrl-C or SIGTERM
      2  it could not begin: the extra is missing, no port is free, the bucket has no such name
    """  # noqa: D301 - click looks for this very character
    try:
        with serving(listen(port)) as server:
            server.make_bucket(bucket)
            for name, value in {**server.env, URL_VARIABLE: f"s3://{bucket}"}.items():
                click.echo(f"export {name}={value}")
            for number in (
                signal.SIGINT,
                signal.SIGTERM,
            ):  # also where a shell has them ignored, as for what it puts behind
                signal.signal(number, signal.default_int_handler)
            click.echo(f"Serving S3 at {server.endpoint}; Ctrl-C ends it.", err=True)
            with suppress(KeyboardInterrupt):
                threading.Event().wait()
    except ConfigError as error:
        raise Failure(str(error)) from error


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(ctx: click.Context, /, *, shell: str) -> None:
    """Print what lets SHELL complete the verbs and options of cloudcached.

    \b
    bash, in ~/.bashrc:                   eval "$(cloudcached completion bash)"
    zsh, in ~/.zshrc:                     eval "$(cloudcached completion zsh)"
    fish, in ~/.config/fish/config.fish:  cloudcached completion fish | source
    """  # noqa: D301
    made = get_completion_class(shell)
    assert made is not None  # noqa: S101 - click knows all of the choices
    click.echo(made(ctx.find_root().command, {}, "cloudcached", "_CLOUDCACHED_COMPLETE").source())
