"""The option ``conditional_writes``: what is refused, what it costs, and which stores are probed."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import stub_store
from stub_store import Stub

from cloudcached import AccessDenied, Client, ConditionsIgnored, ConfigError, StoreRefused, StoreUnreachable
from cloudcached.runtime.forks import PerProcess
from cloudcached.stores import conditions
from cloudcached.stores.conditions import Conditions
from cloudcached.stores.port import ABSENT, Write

#: All that rests on conditional writes.
CONDITIONAL: dict[str, Callable[[Client], Any]] = {
    "put": lambda cache: cache.put("k", 2),
    "put of a new key": lambda cache: cache.put("new", 2),
    "update": lambda cache: cache.update("k", 2),
    "touch": lambda cache: cache.touch("k"),
    "incr": lambda cache: cache.incr("k"),
    "incr of a new key": lambda cache: cache.incr("new", initial=1),
    "cas": lambda cache: cache.cas("k", 2, cache.gets("k")[1]),
    "lock": lambda cache: cache.lock("name").acquire(),
    "get_or_put": lambda cache: cache.get_or_put("new", 2),
}


@pytest.fixture(params=["auto", "boto3"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def serving(monkeypatch: pytest.MonkeyPatch, refuse_with: str = "") -> Iterator[Stub]:
    with stub_store.running(refuse_with) as stub:
        for name, value in stub.env.items():
            monkeypatch.setenv(name, value)
        yield stub


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """Give a store that ignores conditions, and a process that knows nothing of it."""
    monkeypatch.setattr(conditions, "_known", PerProcess(dict))
    yield from serving(monkeypatch)


@pytest.fixture(params=["501 NotImplemented", "501", "400 InvalidArgument", "400"])
def refusing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """Give a store that refuses conditions."""
    monkeypatch.setattr(conditions, "_known", PerProcess(dict))
    yield from serving(monkeypatch, request.param)


def sent(stub: Stub) -> Counter[str]:
    """Return how often each kind of request was sent, and forget them."""
    kinds = Counter(
        f"{method} if" if name.endswith(" if") else method
        for method, _, name in (request.partition(" ") for request in stub.requests)
    )
    stub.requests.clear()
    return kinds


@pytest.mark.parametrize("verb", CONDITIONAL)
def test_a_store_that_ignores_conditions_is_refused(stub: Stub, transport: str, verb: str) -> None:
    cache = Client("s3://stub/p", transport=transport, conditional_writes="probe")
    assert cache.put("k", 1, replace=True)
    before = dict(stub.objects)
    with pytest.raises(ConditionsIgnored, match=r"cloudcached doctor s3://stub/p.*best_effort"):
        CONDITIONAL[verb](cache)
    assert stub.objects == before


@pytest.mark.parametrize("mode", ["probe", "trust"])
@pytest.mark.parametrize("verb", ["put", "incr"])
def test_a_store_that_refuses_conditions_is_refused(refusing: Stub, transport: str, verb: str, mode: str) -> None:
    cache = Client("s3://stub/p", transport=transport, conditional_writes=mode)
    assert cache.put("k", 1, replace=True)
    before = dict(refusing.objects)
    with pytest.raises(ConditionsIgnored, match="refuses the conditions"):
        CONDITIONAL[verb](cache)
    assert refusing.objects == before


def test_what_needs_no_condition_works_and_is_not_preceded_by_a_probe(stub: Stub, transport: str) -> None:
    cache = Client("s3://stub/p", transport=transport, conditional_writes="probe")
    assert cache.put("k", 1, replace=True)
    assert cache.get("k") == 1
    assert cache.has("k")
    assert sent(stub) == {"PUT": 1, "GET": 1, "HEAD": 1}
    assert cache.delete("k")
    assert cache.clear() == 0


def test_a_process_probes_once_and_removes_what_it_wrote(stub: Stub) -> None:
    refused = []

    def add(cache: Client) -> None:
        try:
            cache.put("k", 1)
        except ConditionsIgnored:
            refused.append(cache)

    caches = [Client("s3://stub/p", conditional_writes="probe", timeout=4 + number) for number in range(4)]
    threads = [threading.Thread(target=add, args=(cache,)) for cache in caches * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 16
    assert sent(stub) == {"PUT if": 1, "DELETE": 1}
    assert stub.objects == {}


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_asks_for_itself(stub: Stub) -> None:
    cache = Client("s3://stub/p", transport="boto3", conditional_writes="probe")
    with pytest.raises(ConditionsIgnored):
        cache.put("k", 1)
    sent(stub)
    child = os.fork()
    if not child:
        try:
            cache.put("k", 1)
        except ConditionsIgnored:
            os._exit(7)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert sent(stub) == {"PUT if": 1, "DELETE": 1}


def test_an_error_of_the_probe_decides_nothing(stub: Stub) -> None:
    cache = Client("s3://stub/p", conditional_writes="probe")
    stub.denied.add("PUT")
    with pytest.raises(AccessDenied):
        cache.put("k", 1)
    stub.denied.clear()
    with pytest.raises(ConditionsIgnored):
        cache.put("k", 1)


def test_a_probe_whose_object_stays_is_told(stub: Stub, caplog: pytest.LogCaptureFixture) -> None:
    stub.denied.add("DELETE")
    with pytest.raises(ConditionsIgnored):
        Client("s3://stub/p", conditional_writes="probe").put("k", 1)
    assert "was not removed" in caplog.text
    assert [name.rpartition("/")[0] for name in stub.objects] == ["p/_cloudcached/conditions"]


@pytest.mark.parametrize("verb", CONDITIONAL)
def test_best_effort_checks_by_head(stub: Stub, transport: str, verb: str) -> None:
    cache = Client("s3://stub/p", transport=transport, conditional_writes="best_effort")
    assert cache.put("k", 1, replace=True)
    answer = CONDITIONAL[verb](cache)
    assert answer == {"put": False, "incr": 2, "incr of a new key": 2, "get_or_put": 2}.get(verb, True)
    assert sent(stub)["PUT if"] == 0


def test_best_effort_sees_the_writes_of_others(stub: Stub) -> None:
    cache = Client("s3://stub/p", conditional_writes="best_effort")
    assert cache.put("k", 1)
    assert not cache.put("k", 2)
    _, token = cache.gets("k")
    assert cache.update("k", 3)
    assert not cache.cas("k", 4, token)
    assert cache.get("k") == 3


def test_best_effort_costs_a_head(stub: Stub) -> None:
    cache = Client("s3://stub/p", conditional_writes="best_effort")
    assert cache.put("first", 1)
    sent(stub)
    assert cache.put("k", 1)
    assert sent(stub) == {"HEAD": 1, "PUT": 1}
    assert cache.touch("k")
    assert sent(stub) == {"GET": 1, "HEAD": 1, "PUT": 1}


def test_a_400_for_another_reason_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for stub in serving(monkeypatch, "400 EntityTooLarge"):
        with pytest.raises(StoreRefused, match="EntityTooLarge") as caught:
            Client("s3://stub/p").put("k", 1)
        assert type(caught.value) is StoreRefused
        assert sent(stub) == {"PUT if": 1}


def test_by_default_development_servers_are_believed(stub: Stub) -> None:
    cache = Client("s3://stub/p")
    assert cache.put("k", 1)
    assert sent(stub) == {"PUT if": 1}


def test_a_store_that_honours_conditions_costs_one_more_put_per_process(
    s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conditions, "_known", PerProcess(dict))
    probes = []
    probe = Conditions._probe

    def counted(guard: Conditions, timeout: float) -> str:
        probes.append(guard)
        return probe(guard, timeout)

    monkeypatch.setattr(Conditions, "_probe", counted)
    for _ in range(2):
        cache = Client(s3_url, conditional_writes="probe")
        assert cache.put("k", 1)
        assert not cache.put("k", 2)
        assert cache.incr("k") == 2
        assert cache.delete("k")
        assert cache.engine.store.list(cache.engine.names.root, timeout=5) == ([], False)
    assert len(probes) == 1


@pytest.mark.parametrize(
    ("endpoint", "trusted"),
    [
        ("https://s3.eu-central-1.amazonaws.com", True),
        ("https://bucket.s3.eu-central-1.amazonaws.com", True),
        ("https://s3.cn-north-1.amazonaws.com.cn", True),
        ("http://127.0.0.1:9000", True),
        ("http://127.8.0.1", True),
        ("http://[::1]:9000", True),
        ("http://localhost:9000", True),
        ("http://bucket.localhost:9000", True),
        ("http://minio:9000", False),
        ("https://s3.example.com", False),
        ("https://amazonaws.com.example.com", False),
        ("https://notamazonaws.com", False),
        ("https://notlocalhost", False),
        ("http://10.0.0.1:9000", False),
    ],
)
def test_auto_trusts_aws_and_loopback(endpoint: str, trusted: bool) -> None:
    assert conditions.is_trusted("auto", endpoint) is trusted
    assert conditions.is_trusted("trust", endpoint)
    assert not conditions.is_trusted("probe", endpoint)


def test_auto_probes_other_endpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://s3.invalid")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    store = Client("s3://stub/p", transport="boto3").engine.store
    with pytest.raises(StoreUnreachable, match="p/_cloudcached/conditions/"):
        store.put(Write("k", b"", {}, when=ABSENT), timeout=1)


def test_unknown_mode_is_refused() -> None:
    with pytest.raises(ConfigError, match="conditional_writes is one of auto, trust, probe, best_effort, not 'yes'"):
        Client("memory://", conditional_writes="yes")
