"""The twins that are awaited, written by tests/support/generate_async.py from client.py and files.py: do not edit."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from ._types import FileSource, FileTarget, Progress, TimeToExpire
from .runtime.pool import run

if TYPE_CHECKING:
    from .client import Client
    from .engine.snapshot import Token
    from .entry.format import EntryInfo


class AsyncTwins:
    """Each verb of ``Client`` with an ``a`` before its name, run on the shared thread pool."""

    async def aget(self, key: str, default: Any = None) -> Any:
        """Await ``get`` on the shared pool."""
        self_ = cast("Client", self)
        return await run(self_.get, key, default)

    async def aput(self, key: str, value: Any, time_to_expire: TimeToExpire = 3600, replace: bool = False) -> bool:
        """Await ``put`` on the shared pool."""
        self_ = cast("Client", self)
        return await run(self_.put, key, value, time_to_expire, replace)

    async def aupdate(self, key: str, value: Any, time_to_expire: TimeToExpire = 3600) -> bool:
        """Await ``update`` on the shared pool."""
        self_ = cast("Client", self)
        return await run(self_.update, key, value, time_to_expire)

    async def adelete(self, key: str) -> bool:
        """Await ``delete`` on the shared pool."""
        self_ = cast("Client", self)
        return await run(self_.delete, key)

    async def ahas(self, key: str) -> bool:
        """Await ``has`` on the shared pool."""
        self_ = cast("Client", self)
        return await run(self_.has, key)

    async def atouch(self, key: str, time_to_expire: TimeToExpire = 3600) -> bool:
        """Await ``touch`` on the shared pool."""
        self_ = cast("Client", self)
        return await run(self_.touch, key, time_to_expire)

    async def apersist(self, key: str) -> bool:
        """Await ``persist`` on the shared pool."""
        self_ = cast("Client", self)
        return await run(self_.persist, key)

    async def aexpire_at(self, key: str, when: dt.datetime | float) -> bool:
        """Await ``expire_at`` on the shared pool."""
        self_ = cast("Client", self)
        return await run(self_.expire_at, key, when)

    async def attl(self, key: str) -> float | None:
        """Await ``ttl`` on the shared pool."""
        self_ = cast("Client", self)
        return await run(self_.ttl, key)

    async def ainfo(self, key: str) -> EntryInfo | None:
        """Await ``info`` on the shared pool."""
        self_ = cast("Client", self)
        return await run(self_.info, key)

    async def aincr(
        self, key: str, delta: int = 1, *, initial: int | None = None, time_to_expire: TimeToExpire = 3600
    ) -> int:
        """Await ``incr`` on the shared pool."""
        self_ = cast("Client", self)
        return await run(self_.incr, key, delta, initial=initial, time_to_expire=time_to_expire)

    async def adecr(
        self, key: str, delta: int = 1, *, initial: int | None = None, time_to_expire: TimeToExpire = 3600
    ) -> int:
        """Await ``decr`` on the shared pool."""
        self_ = cast("Client", self)
        return await run(self_.decr, key, delta, initial=initial, time_to_expire=time_to_expire)

    async def aget_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Await ``get_many`` on the shared pool."""
        self_ = cast("Client", self)
        return await run(self_.get_many, keys)

    async def aput_many(
        self, mapping: Mapping[str, Any], time_to_expire: TimeToExpire = 3600, replace: bool = False
    ) -> dict[str, bool]:
        """Await ``put_many`` on the shared pool."""
        self_ = cast("Client", self)
        return await run(self_.put_many, mapping, time_to_expire, replace)

    async def adelete_many(self, keys: Iterable[str]) -> bool:
        """Await ``delete_many`` on the shared pool."""
        self_ = cast("Client", self)
        return await run(self_.delete_many, keys)

    async def akeys(self, prefix: str = "") -> list[str]:
        """Await ``keys`` on the shared pool."""
        self_ = cast("Client", self)
        return await run(lambda: list(self_.keys(prefix)))

    async def aclear(self, prefix: str = "", *, progress: Callable[[int], None] | None = None) -> int | None:
        """Await ``clear`` on the shared pool."""
        self_ = cast("Client", self)
        return await run(self_.clear, prefix, progress=progress)

    async def agets(self, key: str, default: Any = None) -> tuple[Any, Token]:
        """Await ``gets`` on the shared pool."""
        self_ = cast("Client", self)
        return await run(self_.gets, key, default)

    async def acas(self, key: str, value: Any, token: Token, time_to_expire: TimeToExpire = 3600) -> bool:
        """Await ``cas`` on the shared pool."""
        self_ = cast("Client", self)
        return await run(self_.cas, key, value, token, time_to_expire)

    async def aclose(self) -> None:
        """Await ``close`` on the shared pool."""
        self_ = cast("Client", self)
        return await run(self_.close)

    async def aput_file(
        self,
        key: str,
        source: FileSource,
        time_to_expire: TimeToExpire = 3600,
        replace: bool = False,
        *,
        progress: Progress | None = None,
    ) -> bool:
        """Await ``put_file`` on the shared pool."""
        self_ = cast("Client", self)
        return await run(self_.put_file, key, source, time_to_expire, replace, progress=progress)

    async def aget_file(self, key: str, target: FileTarget, *, progress: Progress | None = None) -> bool:
        """Await ``get_file`` on the shared pool."""
        self_ = cast("Client", self)
        return await run(self_.get_file, key, target, progress=progress)
