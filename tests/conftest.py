"""Fixtures that every test may use: a clock, S3 servers, and URLs on them.

Which servers: ``CLOUDCACHED_TEST_SERVERS`` is ``moto`` (the default), ``real`` or ``moto,real``. A real one is named by
``CLOUDCACHED_TEST_ENDPOINT`` and the usual ``AWS_*`` variables for its credentials; naming it adds it to the default.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from hypothesis import HealthCheck, settings

from cloudcached.stores.wire.pool import POOL
from cloudcached.testing import FakeClock
from cloudcached.testing.server import running

REAL_ENDPOINT = os.environ.get("CLOUDCACHED_TEST_ENDPOINT", "")
SERVERS = (os.environ.get("CLOUDCACHED_TEST_SERVERS") or ("moto,real" if REAL_ENDPOINT else "moto")).split(",")
CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION")
# Read here, before the session's environment is emptied of them.
REAL_ENV = {name: os.environ[name] for name in CREDENTIALS if name in os.environ}
MOTO_ENV = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "testsecret", "AWS_DEFAULT_REGION": "us-east-1"}
# No deadline, since a busy machine is no bug; and one sequence of examples where a red run must be seen again.
settings.register_profile(
    "cloudcached", deadline=None, derandomize="CI" in os.environ, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("cloudcached")
# Hosts that are reached without the proxy that does not exist; .invalid never resolves (RFC 6761).
OPEN_HOSTS = ",".join(["127.0.0.1", "localhost", "::1", ".invalid", urlsplit(REAL_ENDPOINT).hostname or "localhost"])


class S3Server:
    """An S3 server in use by this session."""

    def __init__(self, name: str, endpoint: str, credentials: dict[str, str]) -> None:
        self.name = name
        self.endpoint = endpoint
        #: What a client of this server needs in its environment.
        self.env = {"AWS_ENDPOINT_URL": endpoint, "AWS_DEFAULT_REGION": "us-east-1", **credentials}

    @property
    def is_real(self) -> bool:
        """Whether it is a store, and not a mock of one."""
        return self.name == "real"

    @cached_property
    def _client(self) -> Any:
        session = boto3.Session(
            aws_access_key_id=self.env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.env["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=self.env.get("AWS_SESSION_TOKEN"),
            region_name=self.env["AWS_DEFAULT_REGION"],
        )
        config = Config(
            s3={"addressing_style": "path"},
            connect_timeout=2,
            retries={"total_max_attempts": 2},
            max_pool_connections=64,
            request_checksum_calculation="when_required",
        )
        return session.client("s3", endpoint_url=self.endpoint, config=config)

    def client(self) -> Any:
        """Return this session's boto3 client of the server; it may be used by many threads."""
        return self._client

    @cached_property
    def bucket(self) -> str:
        """The name of this session's bucket, made on first use."""
        name = f"cloudcached-test-{uuid.uuid4().hex[:12]}"
        self._client.create_bucket(Bucket=name)
        return name

    def close(self) -> None:
        """Leave a real server as it was found."""
        if self.is_real and "bucket" in self.__dict__:
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
            for page in pages:
                names = [{"Key": item["Key"]} for item in page.get("Contents", ())]
                if names:
                    self._client.delete_objects(Bucket=self.bucket, Delete={"Objects": names, "Quiet": True})
            self._client.delete_bucket(Bucket=self.bucket)
        if "_client" in self.__dict__:
            self._client.close()


def _start(name: str, stack: ExitStack) -> S3Server:
    if name == "moto":
        server = S3Server(name, stack.enter_context(running()).endpoint, MOTO_ENV)
    elif name == "real" and REAL_ENDPOINT:
        server = S3Server(name, REAL_ENDPOINT, REAL_ENV)
    else:
        message = f"no S3 server {name!r}: CLOUDCACHED_TEST_SERVERS takes moto and real, and real needs an endpoint"
        raise pytest.UsageError(message)
    stack.callback(server.close)
    return server


@pytest.fixture(scope="session")
def servers(loopback_only: None) -> Iterator[Callable[[str], S3Server]]:
    """Give the server of a name, started when it is first asked for."""
    started: dict[str, S3Server] = {}
    with ExitStack() as stack:

        def server_named(name: str) -> S3Server:
            if name not in started:
                server = _start(name, stack)
                _must_answer(server)
                started[name] = server
            return started[name]

        yield server_named


def _must_answer(server: S3Server) -> None:
    """Skip where a real server is away; on CI that is a failure."""
    try:
        server.client().list_buckets()
    except (BotoCoreError, ClientError) as exc:
        (pytest.fail if "CI" in os.environ else pytest.skip)(f"{server.endpoint} does not answer: {exc}")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what names a server, or any URL, on every one in use; what is marked real, on the real one alone."""
    names = ["real"] if metafunc.definition.get_closest_marker("real") else SERVERS
    if "any_url" in metafunc.fixturenames:
        metafunc.parametrize("any_url", ["memory", *names], indirect=True)
    if "server" in metafunc.fixturenames:
        metafunc.parametrize("server", names, indirect=True, scope="session")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a real server when none is in use."""
    if item.get_closest_marker("real") and "real" not in SERVERS:
        pytest.skip("needs a real S3 server (CLOUDCACHED_TEST_ENDPOINT)")


@pytest.fixture
def clock() -> FakeClock:
    """Give a clock that stands still at 1,800,000,000 s."""
    return FakeClock()


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest, servers: Callable[[str], S3Server]) -> S3Server:
    """Give each S3 server in use; one that is asked for at run time gets the first."""
    return servers(getattr(request, "param", SERVERS[0]))


@pytest.fixture(scope="session")
def bucket(server: S3Server) -> str:
    """Give the name of the session's bucket on ``server``."""
    return server.bucket


def _url_on(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in server.env.items():
        monkeypatch.setenv(name, value)
    return f"s3://{server.bucket}/{uuid.uuid4().hex[:12]}"


@pytest.fixture
def s3_url(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give a URL with a prefix of its own, and set the environment that leads to ``server``."""
    return _url_on(server, monkeypatch)


@pytest.fixture
def any_url(request: pytest.FixtureRequest, servers: Callable[[str], S3Server], monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the URL of an empty cache, in memory and on every S3 server in use."""
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}"
    return _url_on(servers(request.param), monkeypatch)


@pytest.fixture(scope="session", autouse=True)
def loopback_only() -> Iterator[None]:
    """Cut the session off from AWS: nothing of the user's credentials and profiles, and no host but loopback.

    A proxy that does not exist stops boto3, the wire and child processes alike.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_CONFIG_FILE", "/nonexistent/config")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent/credentials")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
            patch.setenv(name, "http://127.0.0.1:9")
        for name in ("NO_PROXY", "no_proxy"):
            patch.setenv(name, OPEN_HOSTS)
        yield


@pytest.fixture(autouse=True)
def fresh_connections() -> Iterator[None]:
    """Close the connections that a test leaves.

    A test's own server ends with the test, but its threads serve the connections that they have. The next server on
    the same port would be asked over them.
    """
    yield
    POOL.close()
