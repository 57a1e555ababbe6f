"""A store that is away, slow, overloaded or broken: bounded time, the library's own errors, or the documented silence."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from crew import at_once, together
from every_verb import VERBS, check_all, clients_of, failed_with, silent, soon, timed
from fault_proxy import (
    FaultProxy,
    answers,
    delays,
    first,
    loses_answer,
    never_answers,
    only,
    resets_in_body,
    sends_half,
    stalls_in_body,
)

from cloudcached import (
    AccessDenied,
    CircuitOpen,
    Client,
    CloudCachedError,
    OutcomeUnknown,
    StoreBusy,
    StoreError,
    StoreTimeout,
    StoreUnreachable,
)
from cloudcached.testing import FakeClock

#: Seconds that the circuit breaker lets the store rest.
REST = 5.0

#: What the server does to every request, and how a verb fails then; ``None``: some may not notice.
FAULTS: dict[str, tuple[Any, type[StoreError] | None]] = {
    "never answers": (never_answers, StoreTimeout),
    "answers 500": (answers(500, "InternalError"), StoreBusy),
    "answers 503": (answers(503, "SlowDown"), StoreBusy),
    "answers 503 late": (delays(0.2, answers(503, "SlowDown")), StoreError),
    "loses its answers": (loses_answer, StoreUnreachable),
    "resets in the middle of a body": (resets_in_body, None),
    "sends half of a body": (sends_half, None),
    "stalls in the middle of a body": (stalls_in_body, None),
    "takes the clock for skewed": (answers(403, "RequestTimeTooSkewed"), AccessDenied),
    "denies access": (answers(403, "AccessDenied"), AccessDenied),
}


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


@pytest.mark.slow
class TestErrors:
    """Without ``fail_silently`` every verb raises in time, and works again by itself."""

    @pytest.mark.parametrize("fault", FAULTS)
    def test_every_verb_is_bounded(self, fault: str, open_client: Callable[..., Client], proxy: FaultProxy) -> None:
        client = open_client()
        proxy.fault, error = FAULTS[fault]
        if error is None:
            check_all(client, lambda name, answer: not isinstance(answer, CloudCachedError) or bool(answer.args))
        else:
            check_all(client, failed_with(error))
        proxy.fault = None
        assert len(soon(client, "big")) == 300_000

    def test_every_verb_is_bounded_while_nobody_listens(
        self, open_client: Callable[..., Client], proxy: FaultProxy
    ) -> None:
        client = open_client()
        proxy.refuse()
        check_all(client, failed_with(StoreUnreachable))
        proxy.listen()
        assert soon(client, "number") == 5

    def test_200_ms_more_are_no_failure(self, open_client: Callable[..., Client], proxy: FaultProxy) -> None:
        client = open_client(timeout=10)
        proxy.fault = delays(0.2)
        check_all(client, lambda name, answer: not isinstance(answer, StoreError), bound=10)

    @pytest.mark.parametrize("fault", [answers(500, "InternalError"), answers(503, "SlowDown"), loses_answer])
    def test_a_short_one_is_not_noticed(
        self, fault: Any, open_client: Callable[..., Client], proxy: FaultProxy
    ) -> None:
        client = open_client(timeout=5)
        for verb in ("get", "put over", "incr", "has", "delete", "keys"):
            proxy.fault = first(2, fault)
            _, answer = timed(VERBS[verb][0], client)
            assert not isinstance(answer, CloudCachedError), verb
        stats = client.stats()
        assert stats["retries"] + stats.get("reconnects", 0) >= 12

    def test_a_body_that_breaks_off_is_read_again(self, open_client: Callable[..., Client], proxy: FaultProxy) -> None:
        client = open_client(timeout=5)
        big = client.get("big")
        for fault in (resets_in_body, sends_half):
            proxy.fault = only("GET", first(2, fault))
            assert client.get("big") == big
        assert not [name for name in client.stats() if name.startswith("refused")]

    def test_nobody_waits_for_a_stalled_one_but_its_caller(
        self, open_client: Callable[..., Client], proxy: FaultProxy
    ) -> None:
        client = open_client(timeout=2)
        proxy.fault = only("", never_answers, part="/text")
        number = partial(timed, lambda c: c.get("number"), client)
        slow, *fast = at_once(partial(timed, VERBS["get"][0], client), *[number] * 8)
        assert isinstance(slow[1], StoreTimeout)
        assert [answer for _, answer in fast] == [5] * 8
        assert max(seconds for seconds, _ in fast) < slow[0]


@pytest.mark.slow
class TestSilence:
    """With ``fail_silently`` verbs answer as if the cache were empty."""

    @pytest.mark.parametrize("fault", ["answers 503", "loses its answers", "denies access"])
    def test_what_each_verb_answers(self, fault: str, open_client: Callable[..., Client], proxy: FaultProxy) -> None:
        client = open_client(fail_silently=True)
        proxy.fault = FAULTS[fault][0]
        check_all(client, silent)

    def test_what_each_verb_answers_while_nobody_listens(
        self, open_client: Callable[..., Client], proxy: FaultProxy
    ) -> None:
        client = open_client(fail_silently=True)
        proxy.refuse()
        check_all(client, silent)
        assert client.get_or_put("fresh", lambda: "computed") == "computed"
        assert client.get_or_put("fresh", lambda: "computed", lock=True) == "computed"
        assert client.stats()["outages"] == 1

    def test_one_line_an_outage_and_one_at_its_end(
        self, open_client: Callable[..., Client], proxy: FaultProxy, clock: FakeClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        client = open_client(fail_silently=True, clock=clock)
        for _ in range(2):
            proxy.refuse()
            check_all(client, silent)
            for _ in range(3):
                clock.advance(REST)
                check_all(client, silent)
            proxy.listen()
            clock.advance(REST)
            assert client.get("number") == 5
            lines = [record.getMessage() for record in caplog.records if record.name == "cloudcached"]
            assert [line.partition(" (")[0] for line in lines] == [
                "the store cannot be reached",
                "the store answers again",
            ]
            caplog.clear()
        assert client.stats()["outages"] == 2

    def test_requests_stop(self, open_client: Callable[..., Client], proxy: FaultProxy, clock: FakeClock) -> None:
        client = open_client(fail_silently=True, clock=clock)
        assert client.get("number") == 5
        proxy.fault = never_answers
        proxy.forget()
        assert client.get("number") is None
        assert len(proxy.seen) == 1  # one timeout opens it: it has cost a page all its patience
        for _ in range(10):
            check_all(client, silent, [name for name in VERBS if name != "cas"])
        assert len(proxy.seen) == 1

        clock.advance(REST)  # one is let through, whoever else comes meanwhile
        assert together(16, client.get, "number") == [None] * 16
        assert len(proxy.seen) == 2
        assert client.stats()["not_asked"] >= 10 * (len(VERBS) - 1) + 15

        proxy.fault = None
        assert client.get("number") is None
        assert len(proxy.seen) == 2
        clock.advance(REST)
        assert client.get("number") == 5
        assert together(16, client.get, "number") == [5] * 16

    def test_three_broken_connections_open_it(
        self, open_client: Callable[..., Client], proxy: FaultProxy, clock: FakeClock
    ) -> None:
        client = open_client(fail_silently=True, clock=clock)
        proxy.fault = first(2, loses_answer)
        assert client.get("number") == 5
        assert "outages" not in client.stats()
        proxy.fault = loses_answer
        proxy.forget()
        before = client.stats().get("reconnects", 0)
        assert client.get("number") is None
        assert len(proxy.seen) == 3 + client.stats().get("reconnects", 0) - before
        assert client.stats()["outages"] == 1

    def test_a_hot_key_does_not_open_it(
        self, open_client: Callable[..., Client], proxy: FaultProxy, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Also where its 503s take so long that the last try meets the end of the operation's time."""
        client = open_client(fail_silently=True)
        proxy.fault = only("", delays(0.2, answers(503, "SlowDown")), part="/text")
        for _ in range(2):
            assert client.get("text") is None
            assert soon(client, "number") == 5
        assert client.update("text", 1) is False
        assert "outages" not in client.stats()
        lines = [record for record in caplog.records if record.name == "cloudcached"]
        assert 1 <= len(lines) <= 2  # one for each kind of failure
        assert {record.levelno for record in lines} == {logging.WARNING}

    def test_is_not_for_what_coordinates(self, open_client: Callable[..., Client], proxy: FaultProxy) -> None:
        client = open_client(fail_silently=True, timeout=10)
        lock = client.lock("name")
        lock.acquire()
        proxy.refuse()
        for use in (lock.locked, lock.owned, partial(lock.extend, 1), lock.release, client.lock("other").acquire):
            with pytest.raises(StoreError):
                use()

    def test_a_count_that_may_have_counted_is_told(self, open_client: Callable[..., Client], proxy: FaultProxy) -> None:
        client = open_client(fail_silently=True, timeout=5)
        rival = open_client()

        def fault(exchange: Any) -> None:
            proxy.fault = None
            exchange.ask()
            rival.put("number", 0, replace=True)
            exchange.close(reset=True)

        proxy.fault = only("PUT", fault)
        with pytest.raises(OutcomeUnknown):
            client.incr("number")


def test_an_open_circuit_is_no_retry(open_client: Callable[..., Client], proxy: FaultProxy) -> None:
    """What is not asked costs no time."""
    client = open_client(fail_silently=True, timeout=5)
    proxy.refuse()
    client.get("text")
    began = time.monotonic()
    for _ in range(100):
        assert client.get("text") is None
    with pytest.raises(CircuitOpen):
        client.gets("text")
    assert time.monotonic() - began < 2
