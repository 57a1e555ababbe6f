"""How connections begin: nobody there, TLS that is none, certificates on both sides."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from peer import Peer, Stage, echo
from scripted_server import refusing
from wire_stores import wire_store

from cloudcached import (
    ConfigError,
    StoreTimeout,
    StoreUnreachable,
)
from cloudcached.stores.port import Closed, Store, Write
from cloudcached.stores.wire.connection import NotSent

SHORT, LONG = 0.4, 60.0


def body_of(store: Store, name: str) -> bytes:
    """Return an object; like the engine, ask again at once if the server closes a kept connection at that moment."""
    try:
        return bytes(store.get(name, timeout=LONG).read())
    except Closed:
        return bytes(store.get(name, timeout=LONG).read())


def test_nobody_listens() -> None:
    with refusing() as endpoint:
        store = wire_store(endpoint)
        with pytest.raises(NotSent) as caught:
            store.put(Write("a", b"x", {}), timeout=LONG)
    assert caught.value.object_key == "a"
    assert caught.value.retryable


def test_a_connection_that_is_never_accepted() -> None:
    """The backlog is full: nothing comes back."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        try:
            for each in waiting:
                each.setblocking(False)
                each.connect_ex(address)
            with pytest.raises(StoreTimeout):
                wire_store(f"http://127.0.0.1:{address[1]}").get("a", timeout=SHORT)
        finally:
            for each in waiting:
                each.close()


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x01\x00\x02\x02\x28"])
def test_a_server_that_does_not_speak_tls(says: bytes, authority: Any) -> None:
    def play(peer: Peer) -> None:
        peer.sock.recv(1)
        peer.send(says)

    with Stage(play) as stage:
        store = wire_store(stage.endpoint.replace("http:", "https:"), ca_bundle=authority.bundle)
        with pytest.raises(NotSent, match="no TLS connection"):
            store.get("a", timeout=LONG)


def test_a_server_that_is_silent_at_the_handshake(authority: Any) -> None:
    with Stage(lambda peer: peer.stage.over.wait() and None) as stage:  # type: ignore[func-returns-value]
        store = wire_store(stage.endpoint.replace("http:", "https:"), ca_bundle=authority.bundle)
        with pytest.raises(StoreTimeout):
            store.get("a", timeout=SHORT)


# Certificates


def test_whom_to_trust(authority: Any, tmp_path: Any) -> None:
    from tls_proxy import Authority

    stranger = Authority(tmp_path)
    with Stage(echo, authority.context()) as stage:
        with pytest.raises(NotSent, match="AWS_CA_BUNDLE"):
            wire_store(stage.endpoint, ca_bundle=stranger.bundle).get("a", timeout=LONG)
        with pytest.raises(NotSent, match="AWS_CA_BUNDLE"):
            wire_store(stage.endpoint).get("a", timeout=LONG)
        assert body_of(wire_store(stage.endpoint, verifies=False), "a") == b"/bucket/a"
        assert body_of(wire_store(stage.endpoint.replace("127.0.0.1", "localhost"), ca_bundle=authority.bundle), "a")
        for missing in (str(tmp_path / "none"), str(tmp_path / "stranger.pem")):
            with pytest.raises((ConfigError, NotSent)):
                wire_store(stage.endpoint, ca_bundle=missing).get("a", timeout=LONG)
        (tmp_path / "rubbish").write_text("hello")
        with pytest.raises(ConfigError, match="rubbish"):
            wire_store(stage.endpoint, ca_bundle=str(tmp_path / "rubbish")).get("a", timeout=LONG)


def test_the_name_is_verified(authority: Any) -> None:
    context = authority.context("1.3", authority.certified("elsewhere.example", name="elsewhere"))
    with Stage(echo, context) as stage, pytest.raises(NotSent, match="127\\.0\\.0\\.1"):
        wire_store(stage.endpoint, ca_bundle=authority.bundle).get("a", timeout=LONG)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_client_certificates(authority: Any, version: str, tmp_path: Any) -> None:
    import ssl

    context = authority.context(version)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.bundle)
    certified = str(authority.certified(name="client"))
    with Stage(echo, context) as stage:
        options = {"ca_bundle": authority.bundle}
        for cert in ((certified, None), (certified, certified)):
            assert body_of(wire_store(stage.endpoint, client_cert=cert, **options), "a") == b"/bucket/a"
        with pytest.raises(StoreUnreachable):
            wire_store(stage.endpoint, **options).get("a", timeout=LONG)
        with pytest.raises(ConfigError, match="none"):
            wire_store(stage.endpoint, client_cert=(str(tmp_path / "none.pem"), None), **options).get("a", timeout=LONG)
