"""What every operation of the backend stands on: the shared client, and Django's timeouts."""

from __future__ import annotations

import datetime as dt
import re
from functools import cached_property
from typing import Any, TypeAlias

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache

from cloudcached import Client

from .configuration import client_options, seconds_of, timeout_setting
from .signals import Sender

#: Seconds or a timedelta; ``None`` for never, zero or negative for gone at once, ``DEFAULT_TIMEOUT`` for ``TIMEOUT``.
Timeout: TypeAlias = "float | dt.timedelta | None"

#: The keys of which Django warns for memcached's sake are all others.
_PORTABLE = re.compile(r"[^\x00-\x20\x7f]{0,250}")


class ClientCache(BaseCache):
    """A Django cache with a client of the core, and no operations yet."""

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        self._location = location
        self._params = params
        # As it was given: BaseCache makes 300 of whatever it cannot read, and 0 of half a second.
        self.default_timeout = timeout_setting(params)

    @cached_property
    def client(self) -> Client:
        """The shared client of this configuration. Every operation passes through here.

        Raises ``ConfigError`` for settings that cannot work.
        """
        client = Client.shared(self._location, **self.options)
        client.listen(Sender(client.url))
        return client

    @property
    def location(self) -> str:
        """The URL of the cache, as ``LOCATION`` gives it."""
        return self._location

    @property
    def options(self) -> dict[str, Any]:
        """The options of the client, its signing keys among them."""
        return client_options(self._params)

    def validate_key(self, key: str) -> None:
        """Warn of a key that memcached would refuse, as all of Django's backends do.

        Django looks at each character by itself, which takes several times as long as a hit in the near tier.
        """
        if not _PORTABLE.fullmatch(key):
            super().validate_key(key)

    def time_to_expire(self, timeout: Timeout) -> Timeout:
        """Return Django's *timeout* as the core takes it: the two differ in the default only."""
        return seconds_of(self.default_timeout) if timeout is DEFAULT_TIMEOUT else timeout
