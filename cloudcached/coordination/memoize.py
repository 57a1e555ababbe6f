"""Functions whose results are cached: made by ``Client.memoize``."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable, Iterable
from functools import partial, update_wrapper
from types import MethodType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

from ..errors import ConfigError, KeyRejected
from ..runtime.effects import ado, do
from .call_key import digest
from .get_or_put import Call, Fills, Policy

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")


class Memoized(Generic[P, R]):
    """A function with a cache in front of it, called (or awaited) as the function itself.

    The key of a call consists of ``memoize:``, the function's module and qualified name, the version, and a hash of the
    arguments, or the result of ``key=`` for them.
    """

    __wrapped__: Callable[P, R]
    __name__: str
    __qualname__: str

    def __init__(
        self,
        function: Callable[P, R],
        fills: Fills,
        delete: tuple[Callable[[str], bool], Callable[[str], Awaitable[bool]]],
        policy: Policy,
        *,
        key: Callable[..., str] | None,
        ignore: Iterable[str],
        version: int | str,
    ) -> None:
        signature = _checked(function, named=key is not None)
        update_wrapper(self, function)
        self._delete, self._adelete = delete
        self._fills = fills
        self._policy = policy
        self._key = key
        self._signature = signature
        self._others = next((name for name, one in signature.parameters.items() if one.kind is one.VAR_KEYWORD), "")
        self._ignore = (ignore,) if isinstance(ignore, str) else tuple(ignore)
        for name in self._ignore:
            if name not in signature.parameters and not self._others:
                raise ConfigError(f"ignore names {name!r}; {function.__qualname__}{signature} has no such argument")
        self._prefix = f"memoize:{function.__module__}.{function.__qualname__}:{version}:"
        #: The object that a method is bound to.
        self._first: tuple[Any, ...] = ()
        self._is_async = inspect.iscoroutinefunction(function)
        if self._is_async:
            _mark_async(self)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the cached result, or call the function."""
        if self._is_async:
            return cast("R", self._awaited(args, kwargs))
        compute = partial(self.__wrapped__, *args, **kwargs)
        call = Call(self._fills.place(self.key_for(*args, **kwargs)), compute, self._policy, awaited=False)
        return cast("R", do(self._fills.computed(call)))

    async def _awaited(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        async def compute() -> Any:
            return await cast("Any", self.__wrapped__)(*args, **kwargs)

        place = self._fills.place(self.key_for(*args, **kwargs))
        return await ado(self._fills.computed(Call(place, compute, self._policy, awaited=True)))

    @property
    def uncached(self) -> Callable[P, R]:
        """The plain function; calling it neither reads nor writes the cache."""
        return self.__wrapped__

    def key_for(self, *args: Any, **kwargs: Any) -> str:
        """Return the key of a call with these arguments, for ``ttl``, ``touch`` and so on. **Cost:** no request.

        Raises ``TypeError`` for arguments that the function does not take, ``KeyRejected`` for arguments that no stable
        key can be made of.
        """
        args = self._first + args
        try:
            own = digest(self._named(args, kwargs)) if self._key is None else self._key(*args, **kwargs)
        except KeyRejected as error:
            raise KeyRejected(f"{self.__qualname__}: {error}") from None
        if not isinstance(own, str):
            raise KeyRejected(f"{self.__qualname__}: key= returned a {type(own).__name__}, not a str")
        return self._prefix + own

    def invalidate(self, *args: Any, **kwargs: Any) -> bool:
        """Remove the cached result of a call with these arguments; return whether there was one.

        To remove all results of the function, call ``client.clear(prefix=...)`` with the beginning of their keys; after a
        change of its *version* they are left unused.

        **Atomicity** and **Cost:** as ``Client.delete``.
        """
        return self._delete(self.key_for(*args, **kwargs))

    async def ainvalidate(self, *args: Any, **kwargs: Any) -> bool:
        """Async version of ``invalidate``, run on the shared pool."""
        return await self._adelete(self.key_for(*args, **kwargs))

    def _named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments by name, defaults included, in the order of the parameters, without the ignored ones."""
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        named = dict(bound.arguments)
        if self._others:
            named[self._others] = {
                name: kwargs for name, kwargs in named[self._others].items() if name not in self._ignore
            }
        return {name: value for name, value in named.items() if name not in self._ignore}

    @overload
    def __get__(self, instance: None, owner: type) -> Memoized[P, R]: ...
    @overload
    def __get__(self: Memoized[Concatenate[S, Q], R], instance: S, owner: type | None = None) -> Memoized[Q, R]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """Bind to *instance*, as functions do."""
        if instance is None:
            return self
        bound = object.__new__(type(self))
        bound.__dict__.update(self.__dict__, _first=(instance,), __wrapped__=MethodType(self.__wrapped__, instance))
        return bound

    def __reduce__(self) -> str | tuple[Any, ...]:
        # Pickled by name, as functions are.
        return (getattr, (*self._first, self.__name__)) if self._first else self.__qualname__

    def __repr__(self) -> str:
        return f"<memoized {self.__module__}.{self.__qualname__}>"


def _checked(function: Callable[..., Any], *, named: bool) -> inspect.Signature:
    """Return the signature of a function that can be memoized. Raises ``ConfigError``."""
    name = getattr(function, "__qualname__", None)
    if not callable(function) or isinstance(function, (staticmethod, classmethod)) or name is None:
        raise ConfigError(f"memoize takes a function, not {function!r}; apply it below @staticmethod or @classmethod")
    if name.endswith("<lambda>") and not named:
        raise ConfigError("all lambdas of a module have the same name and would share results; pass key=, or use def")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigError(f"{name} is a generator function, and a generator cannot be stored; return a list")
    try:
        return inspect.signature(function)
    except ValueError as error:
        raise ConfigError(f"{name} has no signature that can be read: {error}") from error


def _mark_async(memoized: Memoized[..., Any]) -> None:
    """Let frameworks see that it must be awaited."""
    if sys.version_info >= (3, 12):
        inspect.markcoroutinefunction(memoized)
    else:
        import asyncio  # noqa: PLC0415 - only async functions need it

        memoized.__dict__["_is_coroutine"] = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]  # noqa: SLF001
