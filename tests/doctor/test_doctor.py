"""The doctor: what it finds on stores that differ, what it makes of it, and that it leaves nothing behind."""

from __future__ import annotations

import json
import re
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import stub_store
from conftest import S3Server
from stub_store import Stub

from cloudcached import Client, ConditionsIgnored, ConfigError
from cloudcached.doctor import Report, examine, objects, races
from cloudcached.runtime.forks import PerProcess
from cloudcached.stores import conditions
from cloudcached.testing import FakeClock

CONDITIONAL = {"add", "update, touch", "incr", "lock"}


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """Give a store that ignores conditions, and a process that knows nothing of it."""
    monkeypatch.setattr(conditions, "_known", PerProcess(dict))
    with stub_store.running() as stub:
        for name, value in stub.env.items():
            monkeypatch.setenv(name, value)
        yield stub


def seen(report: Report) -> dict[str, str]:
    """Return the answer of each probe."""
    return {finding.name: finding.answer for finding in report.findings}


def states(report: Report) -> dict[str, str]:
    """Return the state of each promise."""
    return {promise.operation: promise.state for promise in report.promises}


def finding(report: Report, name: str) -> Any:
    return next(found for found in report.findings if found.name == name)


def test_a_store_without_conditions(stub: Stub) -> None:
    stub.objects["cache/kept"] = kept = stub_store.Stored(b"kept", {}, 0.0)
    report = examine("s3://stub/cache", conditional_writes="probe", rounds=2)
    assert (report.reached, report.holds, report.server.split()[0]) == (True, False, "stub")
    answers = seen(report)
    assert {name for name, answer in answers.items() if answer == "no"} == {
        "content-md5",
        "delete-if-match",
        "delete-if-unmodified-since",
        "delete-objects-etag",
        "if-match",
        "if-match-missing",
        "if-match-quoted",
        "put-if-absent",
        "race-if-absent",
        "race-if-match",
    }
    assert {name for name, answer in answers.items() if answer == "refused"} == {
        "versioning",
        "tags",
        "lifecycle",
        "encryption",
    }
    assert finding(report, "race-if-absent").seen == "up to 50 winners in 2 of 2 rounds"
    assert states(report) == {
        "get": "holds",
        "set": "holds",
        "add": "refused",
        "update, touch": "refused",
        "incr": "refused",
        "delete": "holds",
        "lock": "refused",
        "clear": "holds",
        "purge": "best effort",
    }
    assert stub.objects == {"cache/kept": kept}


@pytest.mark.parametrize("mode", ["probe", "best_effort", "auto"])
def test_the_verdict_is_what_the_client_does(stub: Stub, mode: str) -> None:
    verdict = states(examine("s3://stub/cache", conditional_writes=mode, rounds=1))
    cache = Client("s3://stub/cache", conditional_writes=mode)
    cache.put("k", 1, replace=True)
    verbs = {
        "get": lambda: cache.get("k"),
        "set": lambda: cache.put("k", 1, replace=True),
        "add": lambda: cache.put("new", 1),
        "update, touch": lambda: cache.update("k", 1),
        "incr": lambda: cache.incr("k"),
        "lock": lambda: cache.lock("name").acquire(),
        "delete": lambda: cache.delete("k"),
        "clear": lambda: cache.clear() + 1,
    }
    for operation, verb in verbs.items():
        if verdict[operation] == "refused":
            with pytest.raises(ConditionsIgnored):
                verb()
        else:
            assert verb()
    assert {state for operation, state in verdict.items() if operation in CONDITIONAL} == {
        "refused" if mode == "probe" else "best effort"
    }


def test_what_is_not_noticed_is_told(stub: Stub) -> None:
    promise = next(p for p in examine("s3://stub/cache", rounds=1).promises if p.operation == "add")
    assert 'set conditional_writes="probe"' in promise.why


@pytest.mark.parametrize("mode", ["trust", "probe"])
def test_a_store_that_refuses_conditions(stub: Stub, mode: str) -> None:
    stub.refuse_with = "501 NotImplemented"
    report = examine("s3://stub", conditional_writes=mode, rounds=1)
    assert {seen(report)[name] for name in ("put-if-absent", "if-match", "if-match-missing")} == {"refused"}
    assert {state for operation, state in states(report).items() if operation in CONDITIONAL} == {"refused"}
    assert stub.objects == {}


def test_the_usual_servers(server: S3Server, s3_url: str) -> None:
    report = examine(s3_url, rounds=3)
    assert report.reached, report.findings
    assert report.endpoint == server.endpoint
    for name in ("put-if-absent", "if-match", "if-match-missing", "metadata", "speed", "list", "etag", "tags", "clock"):
        assert seen(report)[name] == "yes", finding(report, name)
    verdict = states(report)
    assert {verdict[operation] for operation in ("get", "set", "delete", "clear")} == {"holds"}
    if server.is_real:  # a mock may let two writers win
        assert {verdict[operation] for operation in CONDITIONAL} == {"holds"}
    figures = finding(report, "speed").figures
    assert figures["get_ms"] > 0
    assert figures["put_ms"] > 0
    assert left_of(server, s3_url) == []


def left_of(server: S3Server, url: str, bucket: str = "") -> list[Any]:
    """Return what is in the bucket under the prefix of *url*, old versions included."""
    prefix = url.rpartition("/")[2] + "/"
    answer = server.client().list_object_versions(Bucket=bucket or server.bucket, Prefix=prefix)
    return [*answer.get("Versions", ()), *answer.get("DeleteMarkers", ())]


def test_versions_are_told_and_removed(server: S3Server, s3_url: str) -> None:
    client, bucket = server.client(), f"versioned-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=bucket)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    try:
        url = f"s3://{bucket}/p"
        report = examine(url, rounds=1)
        assert finding(report, "versioning").level == "warning"
        assert left_of(server, url, bucket) == []
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
        assert finding(examine(url, rounds=1), "versioning").level == "ok"
        assert left_of(server, url, bucket) == []
    finally:
        client.delete_bucket(Bucket=bucket)


def test_settings_of_the_bucket(servers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    moto = servers("moto")
    for name, value in moto.env.items():
        monkeypatch.setenv(name, value)
    client, bucket = moto.client(), f"settings-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=bucket)
    rule = {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}
    client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})
    kms = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}
    client.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [kms]})
    report = examine(f"s3://{bucket}", rounds=1)
    assert finding(report, "lifecycle").seen == "1 rules"
    assert finding(report, "encryption").level == "warning"


@pytest.mark.parametrize(
    ("options", "name", "reason"),
    [
        ({}, "wire", ""),
        ({"transport": "wire"}, "wire", ""),
        ({"transport": "boto3"}, "boto3", "the option transport says so"),
    ],
)
def test_the_transport_and_why(stub: Stub, options: dict[str, Any], name: str, reason: str) -> None:
    report = examine("s3://stub/p", rounds=1, **options)
    assert (report.transport, report.transport_reason) == (name, reason)
    assert report.as_dict()["transport"] == name


def test_the_transport_of_a_setting_that_the_wire_does_not_support(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", stub.endpoint)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    report = examine("s3://stub/p", timeout=1.0, s3={"endpoint_url": "http://away.test"})
    assert (report.transport, report.transport_reason) == ("boto3", "requests go through a proxy, without TLS")


# Buckets that cannot be asked, or not everything


@pytest.mark.parametrize(
    ("url", "denied", "text"),
    [
        ("s3://missing/p", set(), "BucketMissing: .*create the bucket"),
        ("s3://stub/p", {"PUT", "HEAD"}, "AccessDenied: .*check the credentials"),
    ],
)
def test_a_bucket_that_is_missing_or_closed(stub: Stub, url: str, denied: set[str], text: str) -> None:
    stub.denied = denied
    report = examine(url)
    assert (report.reached, report.holds, report.promises) == (False, False, ())
    (found,) = report.findings
    assert found.level == "problem"
    assert re.match(text, found.seen)


def test_an_endpoint_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    with stub_store.running() as stub:
        env = stub.env
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    report = examine("s3://stub/p", timeout=1.0)
    assert not report.reached
    assert report.findings[0].seen.startswith("StoreUnreachable: ")


def test_an_endpoint_that_is_no_s3_store(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stub_store.Handler, "do_PUT", lambda handler: handler.prepare() and handler.answer(200))
    report = examine("s3://stub/p")
    assert not report.reached
    assert "no S3 store" in report.findings[0].advice


def test_credentials_that_may_only_read(stub: Stub) -> None:
    stub.denied = {"PUT"}
    report = examine("s3://stub/p")
    assert (report.reached, report.holds) == (True, False)
    verdict = states(report)
    assert verdict.pop("get") == "holds"
    assert set(verdict.values()) == {"refused"}


def test_without_the_right_to_list_a_miss_is_a_denial(stub: Stub) -> None:
    stub.denied = {"HEAD"}
    report = examine("s3://stub/p", rounds=1)
    assert "allow s3:ListBucket" in finding(report, "missing-key").advice
    assert states(report)["get"] == "refused"


def test_without_the_right_to_remove(stub: Stub) -> None:
    stub.denied = {"DELETE", "POST"}
    report = examine("s3://stub/p", rounds=1)
    left = finding(report, "left")
    assert left.level == "warning"
    assert next(iter(stub.objects)).startswith("p/_cloudcached/doctor/")
    assert "p/_cloudcached/doctor/" in left.seen
    assert {operation for operation, state in states(report).items() if state == "refused"} == {"delete", "clear"}


def test_clocks_that_differ(stub: Stub) -> None:
    found = finding(examine("s3://stub/p", rounds=1, clock=FakeClock()), "clock")
    assert found.level == "warning"
    assert abs(found.figures["skew_s"]) > 1000
    assert "AWS refuses" in found.advice


# Cost and manners


def test_cost(stub: Stub) -> None:
    examine("s3://stub/p", rounds=2)
    kinds = Counter(request.partition(" ")[0] for request in stub.requests)
    assert kinds["PUT"] - 2 * 2 * races.WRITERS < 60
    assert sum(kinds.values()) - 2 * 2 * races.WRITERS < 150
    prefix = "p/_cloudcached/doctor/"
    names = {request.split(" ")[1] for request in stub.requests if not request.startswith("POST")} - {""}
    assert all(name.startswith(prefix) for name in names)
    assert len({name.removeprefix(prefix).partition("/")[0] for name in names}) == 1


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_stays_after_an_error(stub: Stub, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]) -> None:
    def fail(site: Any) -> Any:
        site.write("last", b"written")
        raise error

    monkeypatch.setattr(races, "race_if_match", lambda rounds: fail)
    with pytest.raises(error):
        examine("s3://stub/p", rounds=1)
    assert any("last" in request for request in stub.requests)
    assert stub.objects == {}


def test_a_probe_that_fails_is_a_finding(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stub_store.Handler, "list", lambda handler: handler.fail(503, "SlowDown"))
    monkeypatch.setattr(stub_store.Handler, "do_POST", lambda handler: handler.close_connection)
    report = examine("s3://stub/p", rounds=1, timeout=0.5)
    assert finding(report, "list").answer == "unknown"
    assert finding(report, "delete-objects").seen.startswith("could not be tried: ")
    assert states(report)["clear"] == "best effort"


def test_the_report_is_plain(stub: Stub) -> None:
    report = examine("s3://stub/p", rounds=1)
    plain = json.loads(json.dumps(report.as_dict()))
    assert plain["holds"] is False
    assert len(plain["findings"]) == len(report.findings)
    assert plain["promises"][0]["operation"] == "get"


@pytest.mark.parametrize(
    ("url", "options", "text"),
    [
        ("memory://", {}, "not a bucket"),
        ("s3://", {}, "names no bucket"),
        ("s3://stub", {"tiemout": 1}, "unknown option"),
        ("s3://stub", {"rounds": 0}, "rounds"),
    ],
)
def test_mistakes(url: str, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        examine(url, **options)


@pytest.mark.parametrize(
    ("rounds", "answer", "text"),
    [
        ([([3], 3), ([7], 7)], "yes", "one winner in 2 of 2 rounds; losers: 98 x 412"),
        ([([3], 3), ([], None)], "yes", "one winner in 1 of 2 rounds"),
        ([([3], 3), ([4, 9], 9)], "no", "up to 2 winners in 1 of 2 rounds"),
        ([([3], 3), ([4], 9)], "no", "are not those that are stored"),
        ([([3], None)], "no", "are not those that are stored"),
        ([([], 4), ([], None)], "unknown", "no winner in 2 rounds"),
    ],
)
def test_what_races_mean(rounds: list[tuple[list[int], int | None]], answer: str, text: str) -> None:
    found = races._judged([races._Round(won, kept, Counter({"412": 50 - len(won)})) for won, kept in rounds])
    assert found.answer == answer
    assert text in found.text


def test_every_probe_is_asked(stub: Stub) -> None:
    report = examine("s3://stub/p", rounds=1)
    names = [found.name for found in report.findings]
    assert len(names) == len(set(names)) == 23
    assert names[0] == objects.contact.name
