"""The verbs of ``Client`` for values that are computed when they are missing."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from ._types import TimeToExpire
from .coordination.effects import ado, do
from .coordination.get_or_put import Call, Fills, Policy
from .coordination.memoize import Memoized
from .runtime import pool

if TYPE_CHECKING:
    from .client import Client

P = ParamSpec("P")
R = TypeVar("R")


class ComputedVerbs:
    """The part of ``Client`` that calls its callers back."""

    _fills: Fills

    def get_or_put(
        self,
        key: str,
        default: Any,
        time_to_expire: TimeToExpire = 3600,
        *,
        lock: bool | float = False,
        early: float = 0.0,
        stale: float | dt.timedelta = 0.0,
        jitter: float = 0.0,
    ) -> Any:
        """Return the live value of *key*, or store *default*, or what it returns if it can be called, and return that.

        Of the threads of this process that miss a key at once, one calls *default*; the others wait and get what it
        returned, each its own copy, or what it raised. If another process stored a value meanwhile, all get that one.
        After 60 seconds, or the lease if that is longer, one of those who wait calls it too.

        lock: True, or the seconds of a lease (60 for True): of all callers in the world one computes, while the
        others look for its value, for as long as the lease; then they compute it themselves. early: above 0, usually
        1: compute anew before the deadline, with a probability that grows towards it (XFetch), the sooner the longer
        it took. stale: serve the value for so many seconds, or a ``timedelta``, beyond its time to expire, while one
        caller of this process computes it anew in the background, and also when that fails; ``get`` and ``ttl`` know
        only this later deadline. jitter: up to this part of the time to expire is cut off at random. Each has an
        effect for a function only, but jitter.

        **Atomicity:** all concurrent callers return the one value that was stored; what is computed anew replaces
        only the entry that was seen, and revives none that was removed meanwhile. **Cost:** 1 GET; for a miss + 1 PUT,
        + 1 GET if another was faster; with *lock* + 2 GET + 2 conditional PUT, or polling while another computes.
        """
        policy = Policy.parse(time_to_expire, lock, early, stale, jitter)
        place = self._fills.place(key)
        if not callable(default):
            return self._fills.given(place, default, policy)
        return do(self._fills.computed(Call(place, default, policy, awaited=False)))

    async def aget_or_put(
        self,
        key: str,
        default: Any,
        time_to_expire: TimeToExpire = 3600,
        *,
        lock: bool | float = False,
        early: float = 0.0,
        stale: float | dt.timedelta = 0.0,
        jitter: float = 0.0,
    ) -> Any:
        """Await what ``get_or_put`` does; *default* may be async, and is called on the shared pool if it is not.

        Not a twin run on the pool as the others are: whoever waits holds none of its threads. A caller that is
        cancelled does not end the computation that others wait for.
        """
        policy = Policy.parse(time_to_expire, lock, early, stale, jitter)
        place = self._fills.place(key)
        if not callable(default):
            return await pool.run(self._fills.given, place, default, policy)
        return await ado(self._fills.computed(Call(place, default, policy, awaited=True)))

    def memoize(
        self,
        time_to_expire: TimeToExpire = 3600,
        *,
        key: Callable[..., str] | None = None,
        ignore: Iterable[str] = (),
        version: int | str = 1,
        lock: bool | float = False,
        early: float = 0.0,
        stale: float | dt.timedelta = 0.0,
        jitter: float = 0.0,
    ) -> Callable[[Callable[P, R]], Memoized[P, R]]:
        """Decorate a function, or an async one: keep its results, by its arguments, with the options of ``get_or_put``.

        The key holds the function's module and qualified name, *version*, and a hash of the arguments: by name, with
        defaults applied, of exact types (1 and 1.0 differ). Arguments may be of the base types, dates, ``Decimal``,
        ``UUID``, members of enums, and lists, tuples, dicts and sets of these; any other raises ``KeyRejected`` when
        the function is called, unless it is left out by *ignore*, a list of names (``["self"]`` for a method that
        needs nothing of its object), or *key* makes a str of the call's arguments itself. ``None`` is a result,
        exceptions are none. Raise *version* when the function's meaning changes: its code is not looked at, nor are
        the free variables of a nested function.

        The decorated function has ``invalidate(...)`` (and ``ainvalidate``), ``key_for(...)`` and ``uncached``; on
        an object they are bound to it, as the method is.

        **Atomicity** and **Cost:** those of ``get_or_put``.
        """
        policy = Policy.parse(time_to_expire, lock, early, stale, jitter)
        client = cast("Client", self)

        def decorate(function: Callable[P, R]) -> Memoized[P, R]:
            return Memoized(function, client, self._fills, policy, key=key, ignore=ignore, version=version)

        return decorate
