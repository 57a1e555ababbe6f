"""Fixtures for pytest, which finds this module by itself; ``-p no:cloudcached`` disables it.

======================== ======================================================================================
``cloudcached_url``      the URL of an empty cache in memory
``cloudcached``          a ``Client`` on it
``cloudcached_s3_url``   the URL of an empty cache on a local S3 server, to which the environment leads
``cloudcached_s3``       a ``Client`` on it
``cloudcached_server``   that server, one for the session (extra ``testing``)
``cloudcached_clock``    the clock of all caches, which stands still until the test advances it
``cloudcached_requests`` the requests of all caches: ``assert cloudcached_requests == {"get": 1}``
``cloudcached_faults``   makes the next requests of all caches fail, be slow, or lose their answers
======================== ======================================================================================

The setting ``cloudcached_hosts`` keeps the session off buckets on other hosts: ``docs/testing.md``.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:  # at run time each fixture imports what it needs: most projects with this plugin use none
    from ..client import Client
    from . import FakeClock, Faults, LocalServer, Requests, Watch

_BUCKET: Final = "cloudcached-test"
#: Environment variables that would override the local server's endpoint, credentials or region.
_OVERRULING: Final = (
    *("AWS_ENDPOINT_URL_S3", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "AWS_PROFILE", "AWS_DEFAULT_PROFILE"),
    *("AWS_SESSION_TOKEN", "AWS_REGION", "AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"),
)

_guard: Final = pytest.StashKey[ExitStack]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the setting ``cloudcached_hosts``."""
    parser.addini(
        "cloudcached_hosts",
        "the only hosts whose buckets CloudCached may use: host names, or loopback for this machine",
        type="args",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Guard the session if ``cloudcached_hosts`` is set."""
    hosts = config.getini("cloudcached_hosts")
    if hosts:
        from .guard import only_on  # noqa: PLC0415

        stack = config.stash[_guard] = ExitStack()
        stack.enter_context(only_on(hosts, _fail))


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the guard."""
    if _guard in config.stash:
        config.stash[_guard].close()


def _fail(message: str) -> None:
    # pytest's failure is not an Exception, so a site that goes on without its cache does not swallow it.
    pytest.fail(message, pytrace=False)


def _clock_first(request: pytest.FixtureRequest) -> None:
    """Set up the clock of a test that uses it before its caches, which keep the clock that they find."""
    if "cloudcached_clock" in request.fixturenames:
        request.getfixturevalue("cloudcached_clock")


@pytest.fixture
def cloudcached_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Provide the URL of an empty cache in memory: for ``LOCATION`` in Django, ``CACHE_S3_URL`` in Flask."""
    from ..stores.memory import forget  # noqa: PLC0415

    _clock_first(request)
    name = uuid.uuid4().hex
    yield f"memory://{name}"
    forget(name)


@pytest.fixture
def cloudcached(cloudcached_url: str) -> Client:
    """Provide a ``Client`` for an empty cache in memory."""
    from ..client import Client  # noqa: PLC0415

    return Client(cloudcached_url)


@pytest.fixture(scope="session")
def cloudcached_server() -> Iterator[LocalServer]:
    """Provide an S3 server on this machine, with one bucket; it ends with the session."""
    from ..errors import ConfigError  # noqa: PLC0415
    from .server import check_installed, running  # noqa: PLC0415

    try:
        check_installed()
    except ConfigError as error:
        pytest.fail(str(error), pytrace=False)
    with running() as server:
        server.make_bucket(_BUCKET)
        yield server


@pytest.fixture
def cloudcached_s3_url(
    request: pytest.FixtureRequest, cloudcached_server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Provide the URL of an empty cache on the local S3 server, and set the environment that leads there."""
    _clock_first(request)
    for name in _OVERRULING:
        monkeypatch.delenv(name, raising=False)
    for name, value in cloudcached_server.env.items():
        monkeypatch.setenv(name, value)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, ",".join(filter(None, (os.environ.get(name), "127.0.0.1"))))
    return f"s3://{_BUCKET}/{uuid.uuid4().hex}"


@pytest.fixture
def cloudcached_s3(cloudcached_s3_url: str) -> Iterator[Client]:
    """Provide a ``Client`` for an empty cache on the local S3 server."""
    from ..client import Client  # noqa: PLC0415

    with Client(cloudcached_s3_url) as client:
        yield client


@pytest.fixture
def cloudcached_clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """Provide the clock of all caches: it stands still until it is advanced, and waiting on it takes no real time."""
    from ..runtime.clock import SystemClock  # noqa: PLC0415
    from .clock import FakeClock  # noqa: PLC0415

    # Near the real one: objects made earlier may have kept that, and must not wait for the difference.
    clock = FakeClock(monotonic=float(int(SystemClock.monotonic())))
    for name in ("time", "monotonic", "sleep"):
        monkeypatch.setattr(SystemClock, name, staticmethod(getattr(clock, name)))
    return clock


@pytest.fixture
def _cloudcached_watch() -> Iterator[Watch]:
    from ..runtime.clock import SystemClock  # noqa: PLC0415
    from .watch import Watch  # noqa: PLC0415

    with Watch(SystemClock()).running() as watch:
        yield watch


@pytest.fixture
def cloudcached_requests(_cloudcached_watch: Watch) -> Requests:
    """Provide the number of requests of all caches from here on, by kind: ``{"get": 1}``."""
    return _cloudcached_watch.requests


@pytest.fixture
def cloudcached_faults(_cloudcached_watch: Watch, cloudcached_clock: FakeClock) -> Faults:  # noqa: ARG001 - it replaces the clocks
    """Provide faults for the next requests of all caches; waits between retries pass on ``cloudcached_clock``."""
    return _cloudcached_watch.faults
