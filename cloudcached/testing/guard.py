"""Keeps a test run off buckets that are not its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

from ..stores.boto3.store import S3Store
from ..stores.conditions import endpoint_of, is_aws, is_loopback
from ..stores.port import Store
from .watch import around_every_store

#: What stands for this machine among the hosts.
LOOPBACK: Final = "loopback"
#: moto's own: the endpoints that it answers for beside AWS.
_CUSTOM: Final = "MOTO_S3_CUSTOM_ENDPOINTS"


@contextmanager
def only_on(hosts: Sequence[str], fail: Callable[[str], None]) -> Iterator[None]:
    """Call *fail* with a message before a client of this process asks a bucket on another host than these.

    hosts: names of hosts; ``loopback`` is this machine. Caches in memory, and AWS inside ``mock_aws``, are let
    through. Only this process is guarded, not those that it starts.
    """

    def around(store: Store) -> Store:
        bucket = store.dated
        if isinstance(bucket, S3Store):
            endpoint = endpoint_of(bucket.config, bucket.sessions)
            if not _is_among(endpoint, hosts) and not _is_mocked(endpoint):
                fail(
                    f"this test would use {bucket.config.url} at {endpoint}, which is none of cloudcached_hosts"
                    f" ({', '.join(hosts)}): give it a cache of its own (the fixtures cloudcached_url and"
                    " cloudcached_s3_url), or name the host there"
                )
        return store

    with around_every_store(around):
        yield


def _is_among(endpoint: str, hosts: Sequence[str]) -> bool:
    host = urlsplit(endpoint).hostname or ""
    return host in hosts or (LOOPBACK in hosts and is_loopback(host))


def _is_mocked(endpoint: str) -> bool:
    """Tell whether ``mock_aws`` is active, and answers for *endpoint*: it lets requests to others than AWS pass."""
    moto = sys.modules.get("moto.core.models")
    if moto is None or not moto.botocore_stubber.enabled:
        return False
    return is_aws(urlsplit(endpoint).hostname or "") or endpoint in os.environ.get(_CUSTOM, "").split(",")
