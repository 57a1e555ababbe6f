"""What lifecycle rules need of the entries: a tag that tells their class, and no life beyond a rule by age.

S3 removes what a rule names without asking when it expires, so what is written has to fit the rule. Every verb that
writes comes through the store's ``put``, those that only move the deadline too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

from .._types import Bytes, Clock
from ..config import Config
from ..errors import ConfigError
from ..expiry import DAY_SECONDS, class_of
from ..keys import RESERVED
from .base import ALWAYS, Store, When

S = TypeVar("S", bound=Store)

#: The tag's name; its value is the class in days.
TAG: Final = "cc-ttl"
_NEVER: Final = "never"


def dated_out(store: S, config: Config, clock: Clock) -> S:
    """Let *store* tag what it writes, or refuse what would live too long, as the options say, and return it.

    Only its ``put`` is replaced, and without these options not even that.
    """
    if config.expiry_tags or config.max_age_days is not None:
        store.put = _Lifetimes(store, config, clock).put  # type: ignore[method-assign]
    return store


class _Lifetimes:
    """Stands before the ``put`` of one store."""

    def __init__(self, store: Store, config: Config, clock: Clock) -> None:
        self._put = store.put
        self._clock = clock
        self._tags = config.expiry_tags
        self._max_age_days = config.max_age_days
        #: Locks and the like: no rule touches them.
        self._reserved = f"{config.prefix}/{RESERVED}/".lstrip("/")

    def put(
        self,
        object_key: str,
        body: Bytes,
        metadata: Mapping[str, str],
        *,
        when: When = ALWAYS,
        tags: Mapping[str, str] | None = None,
        timeout: float,
    ) -> str:
        """Write an object and return its ETag.

        Raises ``ConfigError``, and sends nothing, for an entry that would live longer than ``max_age_days``.
        **Atomicity:** the store's. **Cost:** 1 PUT.
        """
        expires = metadata.get("cc-expires")
        if expires is not None and not object_key.startswith(self._reserved):
            deadline_ms, now = None if expires == _NEVER else int(expires), self._clock.time()
            if self._max_age_days is not None:
                self._check(object_key, deadline_ms, now, self._max_age_days)
            days = class_of(deadline_ms, now) if self._tags else None
            if days is not None:
                tags = {**(tags or {}), TAG: str(days)}
        return self._put(object_key, body, metadata, when=when, tags=tags, timeout=timeout)

    def _check(self, object_key: str, deadline_ms: int | None, now: float, limit: int) -> None:
        seconds = None if deadline_ms is None else deadline_ms / 1000 - now
        if seconds is not None and seconds <= limit * DAY_SECONDS:
            return
        life = "never expires" if seconds is None else f"expires in {seconds / DAY_SECONDS:,.1f} days"
        raise ConfigError(
            f"{object_key} {life}, and the bucket's lifecycle rule removes entries {limit} days after they were"
            f" written (max_age_days={limit}): pass a time to expire of at most {limit * DAY_SECONDS:,} seconds, or"
            " apply a rule of more days by `cloudcached lifecycle apply --max-age DAYS` and raise max_age_days"
        )
