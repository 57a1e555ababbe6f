"""The near tier: the entries that a process holds in memory, and the processes of a machine share on disk."""

from __future__ import annotations

from ..config import Config
from ..engine.engine import Engine
from ..engine.reader import Reader, StoreReader


def open_reader(config: Config, engine: Engine) -> Reader:
    """Return the reader that *config* asks for. Does no I/O. Raises ``ConfigError`` if an extra is missing."""
    # Imported here and below, since most clients have no near tier, and few have sliding expiry.
    if config.refresh_after and not config.read_only:
        from .sliding import Sliding  # noqa: PLC0415

        engine.watch(Sliding(engine, config.refresh_after))
    if config.near is None:
        return StoreReader(engine)
    from .reader import NearReader  # noqa: PLC0415

    if not config.near.disk:
        return NearReader(engine, config.near)
    from .copies import Copies  # noqa: PLC0415

    return NearReader(engine, config.near, Copies(engine, config.near, config))
