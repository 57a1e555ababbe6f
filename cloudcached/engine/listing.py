"""All objects of a cache, in pages.

A listing shows names and sizes but no metadata, so it does not show which entries have expired.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from typing import Final, TypeVar

from ..errors import CloudCachedError, EntryRefused, KeyRejected, NotFound
from ..runtime.pool import fan_out
from ..stores.port import Listed
from .engine import Engine
from .multipart import PART_BYTES

T = TypeVar("T")
R = TypeVar("R")

#: The first characters of entries' names after the root: caches of more than one page are listed under each in parallel.
_DIGITS: Final = string.hexdigits[:16]


class Listing:
    """Lists the objects of one cache. Thread-safe; does no I/O when made."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def entries(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Yield the object's name and the key of every entry whose key begins with *prefix*, in no particular order."""
        check_prefix(prefix)
        for page in self.pages():
            yield from self.matching(page, prefix)

    def matching(self, page: Iterable[Listed], prefix: str) -> Iterator[tuple[str, str]]:
        """Yield the object's name and the key of each row that is an entry whose key begins with *prefix*."""
        names = self._engine.names
        for row in page:
            is_ours, key = names.parsed(row.object_key)
            if not is_ours:
                continue
            if key is None:  # a hashed name: the key is inside the object
                key = self._inner_key(row.object_key)
            if key is not None and key.startswith(prefix):
                yield row.object_key, key

    def pages(self, failures: dict[str, CloudCachedError] | None = None) -> Iterator[list[Listed]]:
        """Yield all objects of the cache, including foreign ones, in pages and in no particular order.

        A cache of more than one page is listed under 16 name prefixes in parallel; at most one page of each is held in
        memory. If the listing of a prefix fails, its error goes into *failures* and the others go on; without
        *failures* it is raised. Cost: 1 LIST for up to 1,000 objects; for more, about 1 per 1,000 and 16 more.
        """
        root = self._engine.names.root
        page, more = self.page(root)
        yield page
        last = page[-1].object_key if page else ""
        cursors = [(root + digit, last) for digit in _DIGITS if root + digit >= last[: len(root) + 1]] if more else []
        while cursors:
            turns = list(cursors)
            cursors = []
            for (under, _), answer in fan_out(caught(lambda cursor: self.page(*cursor)), turns):
                if not isinstance(answer, CloudCachedError):
                    page, more = answer
                    yield page
                    if more:
                        cursors.append((under, page[-1].object_key))
                elif failures is None:
                    raise answer
                else:
                    failures[under] = answer

    def page(self, root: str, after: str = "") -> tuple[list[Listed], bool]:
        """Return one page, and whether there may be more; it has a budget of its own. Cost: 1 LIST."""
        engine = self._engine
        page, more = engine.requests.call(engine.budget(), "list", partial(engine.store.list, root, after=after))
        return page, more and bool(page)

    def _inner_key(self, object_key: str) -> str | None:
        """Return the key inside an entry with a hashed name; ``None`` if there is none, or it is refused. Cost: 1 GET."""
        engine = self._engine
        try:
            return engine.requests.call(engine.budget(), "get", self._inner_key_once, object_key)
        except NotFound:
            return None
        except EntryRefused as refusal:
            engine.refuse(object_key, refusal)
            return None

    def _inner_key_once(self, object_key: str, *, timeout: float) -> str:
        engine = self._engine
        found = engine.store.get_first(object_key, PART_BYTES, timeout=timeout)
        with closing(found):
            meta = engine.codec.check(object_key, found.head.metadata, found.head.size)
            # The beginning of a large entry is enough: the key's hash is compared with the object's name below.
            key = engine.codec.inner_key(meta, found.read(), whole=found.head.size <= PART_BYTES)
        if not engine.names.is_hash_of(object_key, key):
            raise EntryRefused("key", "the entry belongs to another key")
        return key


def check_prefix(prefix: object) -> None:
    """Refuse anything but a ``str``: a ``None`` that slipped in must not empty the cache."""
    if not isinstance(prefix, str):
        raise KeyRejected(f"a prefix must be a str, not {type(prefix).__name__}")


def caught(function: Callable[[T], R]) -> Callable[[T], R | CloudCachedError]:
    """Return *function* with its errors as results, so that one bad key does not stop the others."""

    def call(item: T) -> R | CloudCachedError:
        try:
            return function(item)
        except CloudCachedError as error:
            return error

    return call
