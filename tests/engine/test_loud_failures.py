"""What somebody must mend is loud; a client that may only read asks for nothing else."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from crew import settings_for
from every_verb import VERBS, clients_of, failed_with, silent, timed
from fault_proxy import FaultProxy, answers, loses_answer

from cloudcached import AccessDenied, BucketMissing, Client, ReadOnlyError, StoreError
from cloudcached.testing import FakeClock


@pytest.fixture
def proxy(server: Any) -> Iterator[FaultProxy]:
    with FaultProxy(server.endpoint) as proxy:
        yield proxy


@pytest.fixture(params=["wire", "boto3"])
def open_client(
    request: pytest.FixtureRequest, s3_url: str, server: Any, proxy: FaultProxy
) -> Iterator[Callable[..., Client]]:
    """Give a function that opens a client of a cache with something in it, by way of the proxy."""
    with clients_of(s3_url, server, proxy, request.param) as open_client:
        yield open_client


class TestLoud:
    """What somebody must mend is an error in the log as long as it lasts."""

    @staticmethod
    def check(
        client: Client, clock: FakeClock, caplog: pytest.LogCaptureFixture, error: type[StoreError], verbs: list[str]
    ) -> None:
        for name in verbs:
            caplog.clear()
            clock.advance(30)
            for _ in range(3):
                answer = timed(VERBS[name][0], client)[1]
                assert silent(name, answer), name
            clock.advance(29)
            timed(VERBS[name][0], client)
            lines = [record for record in caplog.records if record.name == "cloudcached"]
            assert [record.levelno for record in lines] == [logging.ERROR], name
            assert error.__name__ in lines[0].getMessage()
            clock.advance(2)
            timed(VERBS[name][0], client)
            assert [record.levelno for record in caplog.records if record.name == "cloudcached"] == [logging.ERROR] * 2
        assert "outages" not in client.stats()

    VERBS = ("get", "get_many", "put", "put over", "update", "delete", "has", "incr", "keys", "clear", "delete_many")

    def test_denied_access(
        self, open_client: Callable[..., Client], proxy: FaultProxy, clock: FakeClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        proxy.fault = answers(403, "AccessDenied")
        client = open_client(fail_silently=True, clock=clock, timeout=10)
        self.check(client, clock, caplog, AccessDenied, list(self.VERBS))
        with pytest.raises(AccessDenied, match="credentials"):
            open_client().get("text")

    def test_a_missing_bucket(
        self, open_client: Callable[..., Client], server: Any, clock: FakeClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        transport = open_client()._config.transport
        options: dict[str, Any] = {"timeout": 10, "transport": transport, "s3": settings_for(server)}
        client = Client("s3://no-such-bucket-of-ours/x", clock=clock, fail_silently=True, **options)
        self.check(client, clock, caplog, BucketMissing, list(self.VERBS))
        client = Client("s3://no-such-bucket-of-ours/x", **options)
        for name in self.VERBS:
            answer = timed(VERBS[name][0], client)[1]
            assert failed_with(BucketMissing)(name, answer), name

    @pytest.mark.real
    def test_a_wrong_signature(
        self, open_client: Callable[..., Client], server: Any, clock: FakeClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        settings = {**settings_for(server), "aws_secret_access_key": "wrong"}
        client = open_client(fail_silently=True, clock=clock, s3=settings, timeout=10)
        self.check(client, clock, caplog, AccessDenied, list(self.VERBS))
        client = open_client(s3=settings, timeout=10)
        for name in self.VERBS:
            answer = timed(VERBS[name][0], client)[1]
            assert failed_with(AccessDenied)(name, answer), name

    def test_the_lines_show_no_secret(
        self, open_client: Callable[..., Client], proxy: FaultProxy, caplog: pytest.LogCaptureFixture, server: Any
    ) -> None:
        client = open_client(fail_silently=True, signing_key="a signing key")
        for fault in (answers(403, "SignatureDoesNotMatch"), answers(400, "ExpiredToken"), loses_answer):
            proxy.fault = fault
            client.get("text")
        for secret in (server.env["AWS_SECRET_ACCESS_KEY"], "a signing key", "AWS4-HMAC"):
            assert secret not in caplog.text


class TestReadOnly:
    WRITES = ("put", "put over", "put_many", "update", "delete", "delete_many", "touch", "persist", "expire_at")

    def test_refuses(self, open_client: Callable[..., Client], proxy: FaultProxy) -> None:
        client = open_client(read_only="refuse", timeout=5)
        for name in (*self.WRITES, "incr", "clear", "lock"):
            assert isinstance(timed(VERBS[name][0], client)[1], ReadOnlyError), name
        assert client.get("number") == 5
        assert set(proxy.counts) == {"GET"}

    def test_drops(self, open_client: Callable[..., Client], proxy: FaultProxy) -> None:
        client = open_client(read_only="drop", timeout=5)
        for name in (*self.WRITES, "incr", "clear"):
            assert not timed(VERBS[name][0], client)[1] or name == "incr", name
        assert client.get_or_put("fresh", lambda: 7) == 7
        assert client.get("number") == 5
        assert set(proxy.counts) == {"GET"}
