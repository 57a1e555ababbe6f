"""Names, addresses and proxies: those that hang, refuse or are wrong cost as little as can be."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from peer import Peer, Stage, echo
from wire_stores import wire_store

from cloudcached import StoreTimeout
from cloudcached.stores.port import Store
from cloudcached.stores.wire import connection, resolver
from cloudcached.stores.wire.answer import Bad
from cloudcached.stores.wire.connection import NotSent
from cloudcached.stores.wire.pool import POOL
from cloudcached.stores.wire.resolver import RESOLVER

SHORT, LONG = 0.4, 60.0
Answer = Callable[[str], list[str]]


def has_ipv6() -> bool:
    with suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """Let no test begin with what another has looked up."""
    RESOLVER._state().known.clear()
    RESOLVER._state().running.clear()
    yield
    RESOLVER._state().known.clear()
    RESOLVER._state().running.clear()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], list[str]]]:
    """Give what hosts are looked up by: functions that return addresses, by name."""
    by_name: dict[str, Callable[[], list[str]]] = {}
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, **options: Any) -> list[Any]:
        if host not in by_name:
            return real(host, port, **options)
        return [row for address in by_name[host]() for row in real(address, port, **options)]

    monkeypatch.setattr(resolver.socket, "getaddrinfo", getaddrinfo)
    return by_name


def body_of(store: Store, name: str) -> bytes:
    return bytes(store.get(name, timeout=LONG).read())


def named(stage: Stage, host: str) -> str:
    return stage.endpoint.replace("127.0.0.1", host)


def expire() -> None:
    """Let all addresses be old, and no connection be kept."""
    known = RESOLVER._state().known
    for place, each in known.items():
        known[place] = each._replace(until=0.0)
    POOL.close()


# Names


def fails() -> list[str]:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 70 + ".invalid", "a..b", "\xe9" * 70])
def test_a_name_that_is_not_known(host: str, names: Any) -> None:
    names["nowhere.invalid"] = fails
    with pytest.raises(NotSent, match="check the endpoint") as caught:
        wire_store(f"http://{host}:80").get("a", timeout=LONG)
    assert caught.value.retryable
    assert caught.value.object_key == "a"


def test_a_name_without_an_address(names: Any) -> None:
    names["empty.invalid"] = list
    with pytest.raises(NotSent):
        wire_store("http://empty.invalid:80").get("a", timeout=LONG)


def test_a_look_up_that_hangs(names: Any) -> None:
    """It takes the timeout and one thread, however many wait; once it is over, all is well."""
    answers = threading.Event()
    asked: list[int] = []

    def hangs() -> list[str]:
        asked.append(1)
        assert answers.wait(LONG)
        return ["127.0.0.1"]

    names["slow.invalid"] = hangs
    with Stage(echo) as stage, ThreadPoolExecutor(10) as threads:
        store = wire_store(named(stage, "slow.invalid"))

        def get(_: int) -> None:
            with pytest.raises(StoreTimeout, match="address"):
                store.get("a", timeout=SHORT)

        list(threads.map(get, range(20)))
        assert asked == [1]
        assert [thread.name for thread in threading.enumerate()].count("cloudcached-dns") == 1
        answers.set()
        assert body_of(store, "a") == b"/bucket/a"
        assert asked == [1]


def test_addresses_are_kept_for_a_while(names: Any) -> None:
    asked: list[int] = []
    names["host.invalid"] = lambda: asked.append(1) or ["127.0.0.1"]  # type: ignore[func-returns-value]
    with Stage(echo) as stage:
        store = wire_store(named(stage, "host.invalid"))
        for _ in range(3):
            assert body_of(store, "a") == b"/bucket/a"
            store.close()
        assert asked == [1]
        expire()
        assert body_of(store, "a") == b"/bucket/a"
        assert asked == [1, 1]


def test_old_addresses_are_used_while_the_resolver_is_late(names: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And there is time left for the request."""
    monkeypatch.setattr(resolver, "_LATE_SECONDS", 0.05)
    over = threading.Event()
    names["host.invalid"] = lambda: ["127.0.0.1"]
    with Stage(echo) as stage:
        store = wire_store(named(stage, "host.invalid"))
        assert body_of(store, "a") == b"/bucket/a"
        names["host.invalid"] = lambda: over.wait(LONG) and []  # type: ignore[return-value]
        for name in ("b", "c"):
            expire()
            assert bytes(store.get(name, timeout=5).read()) == f"/bucket/{name}".encode()
        over.set()


def test_old_addresses_are_used_while_the_resolver_fails(names: Any) -> None:
    names["host.invalid"] = lambda: ["127.0.0.1"]
    with Stage(echo) as stage:
        store = wire_store(named(stage, "host.invalid"))
        assert body_of(store, "a") == b"/bucket/a"
        names["host.invalid"] = fails
        expire()
        assert body_of(store, "b") == b"/bucket/b"


def test_a_host_that_has_moved_is_followed(names: Any) -> None:
    names["host.invalid"] = lambda: ["127.0.0.1"]
    with Stage(echo) as first, socket.create_server(("127.0.0.2", first.port)) as second:
        store = wire_store(named(first, "host.invalid"))
        assert body_of(store, "a") == b"/bucket/a"
        names["host.invalid"] = lambda: ["127.0.0.2"]
        expire()
        with pytest.raises(StoreTimeout):
            store.get("b", timeout=SHORT)
        second.accept()[0].close()


def test_where_no_thread_can_be_started(names: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As at the end of a process: it is looked up in place."""

    def start(_: object) -> None:
        raise RuntimeError("can't start new thread")

    names["host.invalid"] = lambda: ["127.0.0.1"]
    with Stage(echo) as stage:
        monkeypatch.setattr(resolver._Lookup, "start", start)
        assert body_of(wire_store(named(stage, "host.invalid")), "a") == b"/bucket/a"
        names["other.invalid"] = fails
        with pytest.raises(NotSent):
            wire_store(named(stage, "other.invalid")).get("a", timeout=LONG)


# Addresses


def test_an_address_that_refuses_is_passed_over(names: Any) -> None:
    """And the one that worked is tried first from then on."""
    names["host.invalid"] = lambda: ["127.0.0.2", "127.0.0.3", "127.0.0.1"]
    with Stage(echo) as stage:
        store = wire_store(named(stage, "host.invalid"))
        for name in ("a", "b"):
            assert body_of(store, name) == f"/bucket/{name}".encode()
            assert RESOLVER.addresses("host.invalid", stage.port, LONG)[0][1][0] == "127.0.0.1"
            expire()


def test_all_addresses_refuse(names: Any) -> None:
    names["host.invalid"] = lambda: ["127.0.0.2", "127.0.0.3"]
    with Stage(echo) as stage, pytest.raises(NotSent, match="refused"):
        wire_store(named(stage, "host.invalid")).get("a", timeout=LONG)


@pytest.fixture
def deaf() -> Iterator[Callable[[str, int], None]]:
    """Return a function that makes an address accept no more connections, and not refuse them either."""
    sockets: list[socket.socket] = []

    def deafen(host: str, port: int) -> None:
        sockets.append(socket.create_server((host, port), backlog=0))
        for _ in range(4):
            sockets.append(socket.socket())
            sockets[-1].setblocking(False)
            sockets[-1].connect_ex((host, port))

    yield deafen
    for each in sockets:
        each.close()


def test_an_address_that_hangs_is_passed_over(names: Any, deaf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_CONNECT_SECONDS", 0.1)
    names["host.invalid"] = lambda: ["127.0.0.2", "127.0.0.1"]
    with Stage(echo) as stage:
        deaf("127.0.0.2", stage.port)
        store = wire_store(named(stage, "host.invalid"))
        assert body_of(store, "a") == b"/bucket/a"
        assert RESOLVER.addresses("host.invalid", stage.port, LONG)[0][1][0] == "127.0.0.1"


def test_a_short_timeout_is_shared_by_the_addresses(names: Any, deaf: Any) -> None:
    """One that hangs takes half of it, whatever a connection may take."""
    names["host.invalid"] = lambda: ["127.0.0.2", "127.0.0.1"]
    with Stage(echo) as stage:
        deaf("127.0.0.2", stage.port)
        assert bytes(wire_store(named(stage, "host.invalid")).get("a", timeout=3).read()) == b"/bucket/a"


def test_all_addresses_hang(names: Any, deaf: Any) -> None:
    names["host.invalid"] = lambda: ["127.0.0.2", "127.0.0.3"]
    with Stage(echo) as stage:
        deaf("127.0.0.2", stage.port)
        deaf("127.0.0.3", stage.port)
        with pytest.raises(StoreTimeout):
            wire_store(named(stage, "host.invalid")).get("a", timeout=SHORT)


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("version", ["", "1.3"], ids=["http", "TLS 1.3"])
def test_ipv6(version: str, authority: Any) -> None:
    bundle = authority.bundle if version else ""
    with Stage(echo, authority.context(version) if version else None, host="::1") as stage:
        store = wire_store(stage.endpoint, ca_bundle=bundle)
        assert body_of(store, "a") == b"/bucket/a"
        assert stage.asked[0].headers["host"] == f"[::1]:{stage.port}"
        assert str(store.line().endpoint) == stage.endpoint


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_a_name_with_an_address_of_ipv6_where_nobody_listens(names: Any) -> None:
    names["host.invalid"] = lambda: ["::1", "127.0.0.1"]
    with Stage(echo) as stage:
        assert body_of(wire_store(named(stage, "host.invalid")), "a") == b"/bucket/a"


# Proxies


def relay(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def connecting(peer: Peer) -> None:
    """Do what a proxy does with CONNECT."""
    asked = peer.head()
    assert asked is not None
    assert asked.method == "CONNECT"
    assert asked.headers["host"] == asked.target
    host, _, port = asked.target.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port))) as target:
        peer.send(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 test\r\n\r\n")
        back = threading.Thread(target=relay, args=(target, peer.sock))
        back.start()
        relay(peer.sock, target)
        back.join()


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_proxy_that_connects(version: str, host: str, authority: Any) -> None:
    """TLS goes through it as it is, so it sees names and no contents; and the server's certificate is verified."""
    with Stage(echo, authority.context(version)) as stage, Stage(connecting) as proxy:
        options = {"ca_bundle": authority.bundle, "proxy": ("127.0.0.1", proxy.port)}
        store = wire_store(named(stage, host), **options)
        for name in ("a", "b"):
            assert body_of(store, name) == f"/bucket/{name}".encode()
        assert [asked.target for asked in proxy.asked] == [f"{host}:{stage.port}"]
        assert not set(proxy.asked[0].headers) & {"authorization", "x-amz-date", "x-amz-security-token"}
        # A connection without the proxy is another one.
        assert body_of(wire_store(named(stage, host), ca_bundle=authority.bundle), "c") == b"/bucket/c"
        assert proxy.connections == 1
        store.close()
        with pytest.raises(NotSent, match="AWS_CA_BUNDLE"):
            wire_store(named(stage, host), proxy=("127.0.0.1", proxy.port)).get("d", timeout=LONG)
        POOL.close()


def test_the_proxy_finds_the_server_s_address(names: Any, authority: Any) -> None:
    """Not this machine, which may know no outer names."""
    asked: list[str] = []
    names["localhost"] = lambda: asked.append("localhost") or []  # type: ignore[func-returns-value]
    with Stage(echo, authority.context()) as stage, Stage(connecting) as proxy:
        options = {"ca_bundle": authority.bundle, "proxy": ("127.0.0.1", proxy.port)}
        monkey = pytest.MonkeyPatch()
        with monkey.context() as patch:
            patch.setattr(socket, "create_connection", lambda address: _connected(stage.port))
            assert body_of(wire_store(named(stage, "localhost"), **options), "a") == b"/bucket/a"
        POOL.close()
    assert asked == []


def _connected(port: int) -> socket.socket:
    sock = socket.socket()
    sock.connect(("127.0.0.1", port))
    return sock


@pytest.mark.parametrize(
    ("says", "kind", "words"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", NotSent, "407"),
        (b"HTTP/1.0 502 Bad Gateway\r\n\r\n", NotSent, "502"),
        (b"", NotSent, "closed"),
        (b"HTTP/1.1 200", NotSent, "closed"),
        (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n", NotSent, "200"),
        (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", Bad, "HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", Bad, "damaged"),
        (b"x" * 100_000, Bad, "head"),
    ],
)
def test_a_proxy_that_does_not_connect(says: bytes, kind: type[Exception], words: str, authority: Any) -> None:
    def play(peer: Peer) -> None:
        peer.head()
        peer.send(says)

    with Stage(play) as proxy:
        store = wire_store("https://127.0.0.1:9", ca_bundle=authority.bundle, proxy=("127.0.0.1", proxy.port))
        with pytest.raises(kind, match=re.escape(words)):
            store.get("a", timeout=LONG)


def test_a_proxy_that_is_silent(authority: Any) -> None:
    with Stage(lambda peer: bool(peer.stage.over.wait()) and None) as proxy:
        store = wire_store("https://127.0.0.1:9", ca_bundle=authority.bundle, proxy=("127.0.0.1", proxy.port))
        with pytest.raises(StoreTimeout):
            store.get("a", timeout=SHORT)
