"""Keeps test runs away from buckets that are not their own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

from ..engine.seam import EVERY_STORE
from ..stores import wrapper
from ..stores.boto3.store import S3Store
from ..stores.conditions import endpoint_of, is_aws, is_loopback
from ..stores.port import Store
from ..stores.transport import Transport
from .stores import Request, Wrapper

#: The name of this machine in a list of hosts.
LOOPBACK: Final = "loopback"
#: moto's own variable: endpoints besides AWS's for which it answers.
_CUSTOM: Final = "MOTO_S3_CUSTOM_ENDPOINTS"


@contextmanager
def only_on(hosts: Sequence[str], fail: Callable[[str], None]) -> Iterator[None]:
    """Call *fail* with a message before a client of this process sends a request to a bucket on any other host.

    hosts: names of hosts; ``loopback`` is this machine. Caches in memory, and AWS inside ``mock_aws``, are allowed.
    Only this process is guarded, not processes that it starts.
    """
    with EVERY_STORE.wrapped(lambda store: _Guarded(store, hosts, fail), outermost=True):
        yield


class _Guarded(Wrapper):
    """A store that calls *fail* unless its bucket is on one of the hosts; checked per request, since settings change."""

    def __init__(self, inner: Store, hosts: Sequence[str], fail: Callable[[str], None]) -> None:
        super().__init__(inner)
        self._hosts = hosts
        self._fail = fail

    def _pass(self, request: Request, forward: Callable[[], Any]) -> Any:  # noqa: ARG002 - whichever it is
        bucket = self.inner
        while isinstance(bucket, wrapper.Wrapper) and not isinstance(bucket, Transport):
            bucket = bucket.inner
        if isinstance(bucket, (S3Store, Transport)):
            endpoint = endpoint_of(bucket.config, bucket.sessions)
            if not _is_among(endpoint, self._hosts) and not _is_mocked(endpoint):
                self._fail(
                    f"this test would use {bucket.config.url} at {endpoint}, which is not one of cloudcached_hosts"
                    f" ({', '.join(self._hosts)}): give it a cache of its own (by the fixtures cloudcached_url and"
                    " cloudcached_s3_url), or add the host to that setting"
                )
        return forward()


def _is_among(endpoint: str, hosts: Sequence[str]) -> bool:
    host = urlsplit(endpoint).hostname or ""
    return host in hosts or (LOOPBACK in hosts and is_loopback(host))


def _is_mocked(endpoint: str) -> bool:
    """Return whether ``mock_aws`` is active and answers for *endpoint*: it lets requests to hosts other than AWS pass."""
    moto = sys.modules.get("moto.core.models")
    if moto is None or not moto.botocore_stubber.enabled:
        return False
    return is_aws(urlsplit(endpoint).hostname or "") or endpoint in os.environ.get(_CUSTOM, "").split(",")
