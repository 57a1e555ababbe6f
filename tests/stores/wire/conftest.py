"""Fixtures for the wire: certificates, and a watchdog, since what hangs must not hang the suite."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from peer import Stage
from tls_proxy import Authority
from wire_scripts import Staged

from cloudcached.stores.wire.pool import POOL

#: Seconds: only what hangs for good takes as long.
PATIENCE = 120


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Give a certificate authority of this session's own."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(autouse=True)
def _watchdog() -> Iterator[None]:
    """Fail what hangs."""

    def bark(*_: object) -> None:
        raise AssertionError("still not over")

    assert threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGALRM, bark)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def open_files() -> set[str]:
    """Return what this process's descriptors lead to, sockets alone."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:  # that of the listing itself
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


@pytest.fixture
def no_leak() -> Iterator[None]:
    """Let no socket and no thread stay that was not there before. To be named first, so that it looks last."""
    before, threads = open_files(), threading.active_count()
    yield
    POOL.close()
    assert open_files() <= before
    assert threading.active_count() <= threads


@pytest.fixture(params=["", "1.2", "1.3"], ids=["http", "TLS 1.2", "TLS 1.3"])
def version(request: pytest.FixtureRequest) -> str:
    """Give a version of TLS, or none."""
    return request.param


@pytest.fixture
def staged(version: str, authority: Authority) -> Staged:
    """Return a function that makes a stage of this version."""
    return lambda play: Stage(play, authority.context(version) if version else None)


@pytest.fixture
def bundle(version: str, authority: Authority) -> str:
    """Give the certificates to trust."""
    return authority.bundle if version else ""
