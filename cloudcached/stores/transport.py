"""Which transport sends a request: the wire, or boto3 where the wire cannot."""

from __future__ import annotations

import logging
import sys
from os import getpid
from typing import Final
from urllib.parse import urlsplit

from ..config import Config
from ..errors import CloudCachedError, ConfigError
from .boto3.chain import Target, Unsupported, locate
from .boto3.session import Sessions
from .boto3.store import S3Store
from .port import Found, Store
from .wire.connection import Endpoint
from .wire.request import Place
from .wire.store import Line, WireStore
from .wrapper import Wrapper

log = logging.getLogger("cloudcached")

#: moto, which answers boto3's requests within a process: nobody listens on a socket.
_MOTO: Final = "moto.core.models"


class Transport(Wrapper):
    """A bucket over the wire; through boto3 inside ``mock_aws``, and for settings that the wire does not support.

    Looked at for each request, since ``mock_aws`` begins and ends while a program runs.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._boto3 = S3Store(config)
        self._wire = WireStore(config, self._line)
        #: Why the wire cannot serve this bucket, once that is known.
        self._unsupported = ""
        self._said: set[str] = set()
        #: The process in which the wire has found its bucket.
        self._home = 0
        super().__init__(self._wire)

    def get(self, object_key: str, *, unless: str | None = None, timeout: float) -> Found:
        """Request an object, unless its ETag is *unless*. Raises ``NotFound``, ``NotModified``. **Cost:** 1 GET."""
        # Mostly so, and two calls fewer than through ``inner``: a get runs cold, when each call costs microseconds.
        if self._home == getpid() and _MOTO not in sys.modules:
            return self._wire.get(object_key, unless=unless, timeout=timeout)
        return self.inner.get(object_key, unless=unless, timeout=timeout)

    @property
    def inner(self) -> Store:
        """The store that is asked now. Raises ``ConfigError`` if the wire was asked for by name and cannot."""
        reason = self._reason()
        if not reason:
            return self._wire
        if self.config.transport == "wire":
            raise ConfigError(f"transport='wire' is not possible: {reason}; use transport='auto'")
        if reason not in self._said:
            self._said.add(reason)
            log.info("%s is accessed through boto3: %s", self.config.url, reason)
        return self._boto3

    @property
    def sessions(self) -> Sessions:
        """The sessions of boto3, whose chain of settings decides for the wire too."""
        return self._boto3.sessions

    def missing(self, operation: str, object_key: str, timeout: float) -> CloudCachedError:
        """Return the error for a 404 that does not say what is missing. **Cost:** as that of ``WireStore.missing``."""
        store = self._wire if self.inner is self._wire else self._boto3
        return store.missing(operation, object_key, timeout)

    def chosen(self) -> tuple[str, str]:
        """Return the name of the transport that a client would use now, and why it is not the wire ("" if it is).

        Sends nothing. Raises ``ConfigError`` for settings that are wrong.
        """
        if self.config.transport == "boto3":
            return "boto3", "the option transport says so"
        reason = self._reason()
        return ("boto3", reason) if reason else ("wire", "")

    def target(self) -> Target:
        """Return where the bucket is. Raises ``Unsupported``, and ``ConfigError`` for settings that are wrong."""
        return locate(self.config, self._boto3.sessions)

    def _reason(self) -> str:
        """Return why boto3 has to be asked; "" for no reason."""
        moto = sys.modules.get(_MOTO)
        if moto is not None and moto.botocore_stubber.enabled:
            return "moto's mock_aws is active, which the wire would bypass"
        if not self._unsupported and self._home != getpid():
            try:
                self._wire.line()
            except Unsupported as error:
                self._unsupported = str(error)
            else:
                self._home = getpid()
        return self._unsupported

    def _line(self) -> Line:
        target = self.target()
        cert = target.client_cert
        proxy = None
        if target.proxy is not None:
            parts = urlsplit(target.proxy)
            proxy = (parts.hostname or "", parts.port or 80)
        endpoint = Endpoint(
            target.scheme == "https",
            target.host,
            target.port,
            target.ca_bundle or "",
            (cert, None) if isinstance(cert, str) else cert,
            target.verify,
            proxy,
        )
        place = Place(target.host_header, target.path, target.region, endpoint.is_tls)
        return Line(endpoint, place, target.keys, target.sse)

    def close(self) -> None:
        """Close the connections. The store can be used again afterwards."""
        self._wire.close()
        self._boto3.close()
