"""What lifecycle rules require of entries: a tag for their class, and no life longer than a rule by age allows.

S3 removes everything that a rule selects, expired or not, so each entry must fit the rules when it is written. That
includes writes that only move the deadline.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .._types import Clock
from ..config import Config
from ..entry.expiry import DAY_SECONDS, class_of
from ..entry.keys import RESERVED
from ..errors import ConfigError

#: The tag's name; its value is the class in days.
TAG: Final = "cc-ttl"


class Lifetimes:
    """Chooses the tags of one cache's objects by the options ``expiry_tags`` and ``max_age_days``. Sends nothing."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self._clock = clock
        self._tagged = config.expiry_tags
        self._max_age_days = config.max_age_days
        self._prefix = config.prefix
        #: The names of locks and the like begin with this; no rule touches them.
        self._reserved = f"{config.prefix}/{RESERVED}/".lstrip("/")
        #: Whether either option is set; if not, ``tags`` always returns ``None``.
        self.active = config.expiry_tags or config.max_age_days is not None

    def tags(self, object_key: str, expires_ms: int | None) -> Mapping[str, str] | None:
        """Return the tags of an object written now; ``None`` for no tags.

        expires_ms: the entry's deadline in epoch milliseconds, ``None`` for never. Raises ``ConfigError`` for an entry
        that would live longer than ``max_age_days``. Reserved objects, such as locks, get no tags and may live for
        ever. **Cost:** no request.
        """
        if not self.active or object_key.startswith(self._reserved):
            return None
        now = self._clock.time()
        if self._max_age_days is not None:
            self._check(object_key, expires_ms, now, self._max_age_days)
        days = class_of(expires_ms, now) if self._tagged else None
        return None if days is None else {TAG: str(days)}

    def _check(self, object_key: str, expires_ms: int | None, now: float, limit: int) -> None:
        seconds = None if expires_ms is None else expires_ms / 1000 - now
        if seconds is not None and seconds <= limit * DAY_SECONDS:
            return
        life = "never expires" if seconds is None else f"expires in {seconds / DAY_SECONDS:,.1f} days"
        raise ConfigError(
            f"{object_key} {life}, and the bucket's lifecycle rule cloudcached:{self._prefix}:entries removes it {limit}"
            f" days after it was written (max_age_days={limit}): pass a time to expire of at most {limit * DAY_SECONDS:,} seconds, or"
            " apply a rule of more days by `cloudcached lifecycle apply --max-age DAYS` and raise max_age_days"
        )
