"""The near tier: what a process holds of its cache in memory, and the processes of a machine on disk."""

from __future__ import annotations

from .._types import Clock
from ..config import Config
from ..engine.engine import Engine
from ..runtime.counters import Counters
from ..stores.port import Store


def open_engine(config: Config, store: Store, clock: Clock, counters: Counters) -> Engine:
    """Return the engine that *config* asks for. Does no I/O. Raises ``ConfigError`` where an extra is missing."""
    if config.refresh_after and not config.read_only:
        from .sliding import open_refreshing  # noqa: PLC0415 - few clients ask for it

        return open_refreshing(config, store, clock, counters)
    if config.near is None:
        return Engine(config, store, clock, counters)
    # Imported here: most clients have no near tier.
    if config.near.disk:
        from .disk_engine import NearDiskEngine  # noqa: PLC0415

        return NearDiskEngine(config, config.near, store, clock, counters)
    from .memory_engine import NearEngine  # noqa: PLC0415

    return NearEngine(config, config.near, store, clock, counters)
