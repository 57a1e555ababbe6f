"""``cloudcached iam``."""

from __future__ import annotations

import click

from ..maintenance.iam import FEATURES, features_of, policy
from .output import show_json
from .target import Target, Verb


@click.command(cls=Verb)
@click.option(
    "--features",
    metavar="LIST",
    help=f"Some of {','.join(FEATURES)}.  [default: what the client's options use]",
)
@click.pass_obj
def iam(target: Target, /, *, features: str | None) -> None:
    """Print the least policy that the cache works with, as JSON. Sends nothing.

    For a user or role of AWS IAM; as a bucket policy it needs a Principal.
    """
    config = target.checked()
    wanted = features_of(config) if features is None else tuple(filter(None, features.replace(" ", "").split(",")))
    show_json(policy(config, wanted))
