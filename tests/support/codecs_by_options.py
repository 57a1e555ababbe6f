"""A codec made of a client's options."""

from __future__ import annotations

from cloudcached.config import Config
from cloudcached.entry.format import Codec


def codec_of(config: Config) -> Codec:
    """Return the codec that a client of this configuration uses."""
    return Codec(
        signing_key=config.signing_key,
        encryption_key=config.encryption_key,
        compress_min_bytes=config.compress_min_bytes,
        max_value_bytes=config.max_value_bytes,
    )
