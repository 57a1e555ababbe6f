"""What lifecycle rules need of the entries: a tag that tells their class, and no life beyond a rule by age.

S3 removes what a rule names without asking when it expires, so what is written has to fit the rule. Every verb that
writes comes through the store's ``put``, those that only move the deadline too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, TypeVar

from .._types import Clock
from ..config import Config
from ..entry.expiry import DAY_SECONDS, class_of
from ..entry.keys import RESERVED
from ..errors import ConfigError
from .port import Store, Write

S = TypeVar("S", bound=Store)

#: The tag's name; its value is the class in days.
TAG: Final = "cc-ttl"
_NEVER: Final = "never"


def with_lifetimes(store: S, config: Config, clock: Clock) -> S:
    """Let *store* tag what it writes, or refuse what would live too long, as the options say, and return it.

    Only its ``put`` and ``create_upload`` are replaced, and without these options not even they.
    """
    if config.expiry_tags or config.max_age_days is not None:
        lifetimes = _Lifetimes(store, config, clock)
        store.put = lifetimes.put  # type: ignore[method-assign]
        store.create_upload = lifetimes.create_upload  # type: ignore[method-assign]
    return store


class _Lifetimes:
    """Stands before what writes to one store."""

    def __init__(self, store: Store, config: Config, clock: Clock) -> None:
        self._put = store.put
        self._create_upload = store.create_upload
        self._clock = clock
        self._tags = config.expiry_tags
        self._max_age_days = config.max_age_days
        self._prefix = config.prefix
        #: Locks and the like: no rule touches them.
        self._reserved = f"{config.prefix}/{RESERVED}/".lstrip("/")

    def put(self, write: Write, *, timeout: float) -> str:
        """Write an object and return its ETag.

        Raises ``ConfigError``, and sends nothing, for an entry that would live longer than ``max_age_days``.
        **Atomicity:** the store's. **Cost:** 1 PUT.
        """
        tags = self._tagged(write.object_key, write.metadata, write.tags)
        return self._put(replace(write, tags=tags), timeout=timeout)

    def create_upload(
        self, object_key: str, metadata: Mapping[str, str], *, tags: Mapping[str, str] | None = None, timeout: float
    ) -> str:
        """Begin to write an object in parts; as ``put``. **Cost:** 1 POST."""
        tags = self._tagged(object_key, metadata, tags)
        return self._create_upload(object_key, metadata, tags=tags, timeout=timeout)

    def _tagged(
        self, object_key: str, metadata: Mapping[str, str], tags: Mapping[str, str] | None
    ) -> Mapping[str, str] | None:
        """Return the tags of an object with its class among them. Raises ``ConfigError``."""
        expires = metadata.get("cc-expires")
        if expires is None or object_key.startswith(self._reserved):
            return tags
        deadline_ms, now = None if expires == _NEVER else int(expires), self._clock.time()
        if self._max_age_days is not None:
            self._check(object_key, deadline_ms, now, self._max_age_days)
        days = class_of(deadline_ms, now) if self._tags else None
        return tags if days is None else {**(tags or {}), TAG: str(days)}

    def _check(self, object_key: str, deadline_ms: int | None, now: float, limit: int) -> None:
        seconds = None if deadline_ms is None else deadline_ms / 1000 - now
        if seconds is not None and seconds <= limit * DAY_SECONDS:
            return
        life = "never expires" if seconds is None else f"expires in {seconds / DAY_SECONDS:,.1f} days"
        raise ConfigError(
            f"{object_key} {life}, and the bucket's lifecycle rule cloudcached:{self._prefix}:entries removes it {limit}"
            f" days after it was written (max_age_days={limit}): pass a time to expire of at most {limit * DAY_SECONDS:,} seconds, or"
            " apply a rule of more days by `cloudcached lifecycle apply --max-age DAYS` and raise max_age_days"
        )
