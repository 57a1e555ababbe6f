"""The base of every operation of the backend: the shared client, and Django's timeouts."""

from __future__ import annotations

import datetime as dt
import re
from functools import cached_property
from typing import Any, TypeAlias

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache

from cloudcached import Client

from .configuration import client_options, seconds_of, timeout_setting
from .signals import Sender

#: Seconds or a timedelta; ``None``: never, zero or negative: expired at once, ``DEFAULT_TIMEOUT``: ``TIMEOUT``.
Timeout: TypeAlias = "float | dt.timedelta | None"

#: Django warns of all other keys, since memcached would refuse them.
_PORTABLE = re.compile(r"[^\x00-\x20\x7f]{0,250}")


class ClientCache(BaseCache):
    """A Django cache with a client of the core, and no operations yet."""

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        self._location = location
        self._params = params
        # The setting itself: BaseCache turns anything that it cannot read into 300, and half a second into 0.
        self.default_timeout = timeout_setting(params)

    @cached_property
    def client(self) -> Client:
        """The shared client of this configuration; every operation uses it.

        Raises ``ConfigError`` for invalid settings.
        """
        client = Client.shared(self._location, **self.options)
        client.listen(Sender(client.url))
        return client

    @property
    def location(self) -> str:
        """The URL of the cache: ``LOCATION``."""
        return self._location

    @property
    def options(self) -> dict[str, Any]:
        """The options of the client, including its signing keys."""
        return client_options(self._params)

    def validate_key(self, key: str) -> None:
        """Warn of a key that memcached would refuse, as all of Django's backends do.

        Django checks each character by itself, which takes several times as long as a hit in the near tier. So it is
        called only for keys that it warns of.
        """
        if not _PORTABLE.fullmatch(key):
            super().validate_key(key)

    def time_to_expire(self, timeout: Timeout) -> Timeout:
        """Return Django's *timeout* as the core takes it: they differ only in the default."""
        return seconds_of(self.default_timeout) if timeout is DEFAULT_TIMEOUT else timeout
