"""``cloudcached bench``: the requests it promises, what it leaves behind, and what it prints."""

from __future__ import annotations

import json
import sys
import uuid
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fault_proxy import FaultProxy

from cloudcached import Client
from cloudcached.cli import command_line
from cloudcached.errors import StoreError
from cloudcached.maintenance.bench import MANY, SMALL_BYTES, Plan, measure
from cloudcached.prices import PRICES, ObjectStore

FEW = Plan(sizes=(SMALL_BYTES, 5000), runs=2, threads=(1, 3))
ARGUMENTS = ("--size=32", "--size=5000", "--runs=2", "--threads=1", "--threads=3")


@pytest.fixture
def url() -> str:
    return f"memory://{uuid.uuid4().hex}"


def run(*arguments: str, **options: Any) -> Result:
    return CliRunner().invoke(command_line, ["bench", *arguments], prog_name="cloudcached", **options)


def nothing(part: float, word: str) -> None:
    """Show no progress."""


def test_it_sends_the_requests_that_it_promised(server: Any) -> None:
    with FaultProxy(server.endpoint) as proxy:
        keys = {"aws_access_key_id": server.env["AWS_ACCESS_KEY_ID"]}
        keys["aws_secret_access_key"] = server.env["AWS_SECRET_ACCESS_KEY"]
        url = f"s3://{server.bucket}/{uuid.uuid4().hex}"
        with Client(url, s3={"endpoint_url": proxy.endpoint, **keys}) as client:
            figures = measure(client, FEW, nothing)
            sent = proxy.counts
            assert list(client.keys()) == []
            repeated = client.stats().get("retries", 0)
    counted, promised = figures["requests"], FEW.requests()
    assert {"GET": sent["GET"], "PUT": sent["PUT"], "DeleteObjects": sent["POST"]} == counted
    assert sum(counted.values()) == sum(promised.values()) + repeated


def test_the_requests_of_a_plan() -> None:
    """3 puts and gets of each size, the many entries both ways, and 2 gets of each of 4 threads."""
    assert FEW.requests() == {"PUT": 6 + MANY, "GET": 6 + MANY + 8, "DeleteObjects": 1}
    assert FEW.bytes_sent() == 3 * (32 + 5000) + MANY * 32


def test_what_a_plan_costs() -> None:
    (standard, *_) = (store for store in PRICES if isinstance(store, ObjectStore))
    dollars = FEW.dollars()
    assert dollars[standard.name] == pytest.approx((106 * standard.put_1000 + 114 * standard.get_1000) / 1000)
    assert len(dollars) == sum(isinstance(store, ObjectStore) for store in PRICES)


def test_what_is_repeated_is_paid_again() -> None:
    (standard, *_) = (store.name for store in PRICES if isinstance(store, ObjectStore))
    twice = {method: 2 * count for method, count in FEW.requests().items()}
    assert FEW.dollars(twice)[standard] == pytest.approx(2 * FEW.dollars()[standard])


def test_it_measures_what_was_asked_for_and_shows_how_far_it_is(url: str) -> None:
    parts = []
    figures = measure(Client(url), FEW, lambda part, _: parts.append(part))
    assert list(figures["values"]) == ["32", "5000"]
    assert list(figures["threads"]) == ["1", "3"]
    assert parts == sorted(parts)
    assert parts[-1] == 1.0


def test_only_what_it_wrote_is_removed(url: str) -> None:
    client = Client(url)
    client.put("other", 1)
    measure(client, FEW, nothing)
    assert list(client.keys()) == ["other"]


def test_what_was_written_is_removed_after_an_interruption(url: str) -> None:
    client = Client(url)

    def interrupt(part: float, word: str) -> None:
        if word == "get_many":
            assert len(list(client.keys())) == MANY + 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(client, FEW, interrupt)
    assert list(client.keys()) == []


@pytest.mark.parametrize("when", ["get of 32 bytes", "get_many", "threads"])
def test_entries_that_vanish_are_told(url: str, when: str) -> None:
    client = Client(url)

    def vanish(part: float, word: str) -> None:
        if word == when:
            client.clear()

    with pytest.raises(StoreError, match="is somebody else clearing this cache"):
        measure(client, FEW, vanish)


def test_tables(url: str) -> None:
    result = run(url, "--yes", *ARGUMENTS)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["one", "at", "a", "time", "median", "95", "%", "average"]
    assert [line.partition("  ")[0] for line in lines[1:5]] == [
        f"{verb} of {size} bytes" for size in ("32", "5,000") for verb in ("put", "get")
    ]
    assert any(line.startswith("get, 1 thread ") for line in lines)
    assert any(line.startswith("get, 3 threads ") for line in lines)
    assert lines[-1].startswith("221 requests (106 PUT, 114 GET, 1 DeleteObjects): $0.0006 on S3 Standard, ")


def test_json(url: str) -> None:
    report = json.loads(run(url, "--yes", "--json", *ARGUMENTS).stdout)
    assert set(report) == {"url", "values", "many", "threads", "requests", "dollars", "prices"}
    assert report["url"] == url
    assert set(report["values"]["32"]["put"]) == {"p50_ms", "p95_ms", "average_ms"}


def test_it_asks_before_it_writes(url: str) -> None:
    client = Client(url)
    client.put("other", 1)
    result = run(url, *ARGUMENTS, input="n\n")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "221 requests" in result.stderr
    assert f"to {url}, and remove them?" in result.stderr
    assert run(url, *ARGUMENTS, input="y\n").exit_code == 0
    assert list(client.keys()) == ["other"]


def test_a_dry_run_sends_nothing() -> None:
    result = run("s3://no-such-bucket", "--dry-run", *ARGUMENTS)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("would send 221 requests")
    report = json.loads(run("s3://no-such-bucket", "--dry-run", "--json", *ARGUMENTS).stdout)
    assert report["would_send"] == FEW.requests()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--runs", "0"], "0 is not in the range"),
        (["--size", "-1"], "-1 is not in the range"),
        (["--threads", "1000"], "1000 is not in the range"),
    ],
)
def test_wrong_options(url: str, arguments: list[str], message: str) -> None:
    result = run(url, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_the_near_tier_of_a_site_is_not_what_is_measured(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    from cloudcached.cli.target import Target

    seen: dict[str, Any] = {}

    class Spy(Client):
        def __init__(self, url: str, **options: Any) -> None:
            seen.update(options)
            super().__init__(url, **options)

    monkeypatch.setattr(sys.modules["cloudcached.cli.bench"], "Client", Spy)
    target = Target(url, {"near": {"max_bytes": 10**6, "max_age": 60}, "fail_silently": True}, fixed=True)
    result = CliRunner().invoke(command_line, ["bench", "--yes", *ARGUMENTS], obj=target)
    assert (result.exit_code, seen) == (0, {"fail_silently": False})
