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
    help="Port to listen on, on 127.0.0.1; if it is in use, the next free one.",
)
@click.option("--bucket", default="cloudcached", show_default=True, help="Bucket to create.")
def serve(*, port: int, bucket: str) -> None:
    """Run an S3 server on this machine, for development.

    Prints the environment variables that programs need to use it, and serves until Ctrl-C. The server is moto's: it
    keeps everything in memory, loses it when it ends, and accepts any credentials. Needs the extra "testing".

    \b
    Exit codes:
      0  stopped by Ctrl-C or SIGTERM
      2  could not start: the extra is missing, no port is free, or the bucket name is not valid
    """  # noqa: D301 - click looks for this very character
    try:
        with serving(listen(port)) as server:
            server.make_bucket(bucket)
            for name, value in {**server.env, URL_VARIABLE: f"s3://{bucket}"}.items():
                click.echo(f"export {name}={value}")
            # SIGINT too: a shell makes the processes that it starts in the background ignore it.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.default_int_handler)
            click.echo(f"Serving S3 at {server.endpoint}; press Ctrl-C to stop.", err=True)
            with suppress(KeyboardInterrupt):
                threading.Event().wait()
    except ConfigError as error:
        raise Failure(str(error)) from error


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(ctx: click.Context, /, *, shell: str) -> None:
    """Print a script that lets SHELL complete the commands and options of cloudcached.

    \b
    bash, in ~/.bashrc:                   eval "$(cloudcached completion bash)"
    zsh, in ~/.zshrc:                     eval "$(cloudcached completion zsh)"
    fish, in ~/.config/fish/config.fish:  cloudcached completion fish | source
    """  # noqa: D301
    made = get_completion_class(shell)
    assert made is not None  # noqa: S101 - click knows all of the choices
    click.echo(made(ctx.find_root().command, {}, "cloudcached", "_CLOUDCACHED_COMPLETE").source())
