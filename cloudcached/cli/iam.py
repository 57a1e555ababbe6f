"""``cloudcached iam``."""

from __future__ import annotations

import click

from ..maintenance.iam import FEATURES, features_of, policy
from .output import show_json
from .target import CacheCommand, Target


@click.command(cls=CacheCommand)
@click.option(
    "--features",
    metavar="LIST",
    help=f"Comma-separated, some of {','.join(FEATURES)}.  [default: those that the client's options use]",
)
@click.pass_obj
def iam(target: Target, /, *, features: str | None) -> None:
    """Print the minimal IAM policy that the cache needs, as JSON. Sends no requests.

    It is a policy for an IAM user or role; to use it as a bucket policy, add a Principal.
    """
    config = target.checked()
    wanted = features_of(config) if features is None else tuple(filter(None, features.replace(" ", "").split(",")))
    show_json(policy(config, wanted))
