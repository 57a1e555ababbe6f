"""Keys of containers on ECS and EKS, by a small request of our own."""

from __future__ import annotations

import datetime as dt
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chains import eventually, target
from scripted_server import (
    Request,
    ScriptedServer,
    Step,
    answer,
    half,
    hang_up,
    head,
    in_turn,
    nonsense,
    reset,
    silence,
    trickle,
)

from cloudcached import AccessDenied
from cloudcached.errors import StoreError, StoreTimeout, StoreUnreachable
from cloudcached.stores.boto3 import keys as keys_module
from cloudcached.stores.boto3.container import Container
from cloudcached.stores.boto3.keys import Renewed
from cloudcached.stores.wire.request import Keys


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))


GOOD = {"AccessKeyId": "of-container", "SecretAccessKey": "hidden", "Token": "token"}


def credentials(expires: str | float = 3600.0, **changes: Any) -> bytes:
    if not isinstance(expires, str):
        moment = dt.datetime.now(dt.timezone.utc) + dt.timedelta(seconds=expires)
        expires = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    return json.dumps({**GOOD, "Expiration": expires, **changes}).encode()


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        running.step = answer(200, credentials())
        yield running


def container(server: ScriptedServer, **variables: str) -> Container:
    found = Container.in_environment(
        {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{server.endpoint}/credentials?id=1", **variables}
    )
    assert found is not None
    return found


def test_a_container(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{scripted.endpoint}/credentials?id=1")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "let-me-in")
    made = target()
    assert scripted.requests == []  # finding the bucket sends nothing
    assert [made.keys(5.0) for _ in range(3)] == [Keys("of-container", "hidden", "token")] * 3
    (request,) = scripted.requests
    assert (request.method, request.path) == ("GET", "/credentials?id=1")
    assert request.headers["authorization"] == "let-me-in"
    assert f"http://{request.headers['host']}" == scripted.endpoint


def test_an_empty_session_token_is_none(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """As to botocore, which sends no header for it."""
    scripted.step = answer(200, credentials(Token=""))
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{scripted.endpoint}/credentials")
    assert not target().keys(5.0).token


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"RELATIVE_URI": "/v2/id"}, ("169.254.170.2", 80, "/v2/id")),
        ({"RELATIVE_URI": "/v2/id", "FULL_URI": "http://127.0.0.1/x"}, ("169.254.170.2", 80, "/v2/id")),
        ({"FULL_URI": "http://169.254.170.23/v1/credentials"}, ("169.254.170.23", 80, "/v1/credentials")),
        ({"FULL_URI": "http://[fd00:ec2::23]:81/v1"}, ("fd00:ec2::23", 81, "/v1")),
        ({"FULL_URI": "http://localhost"}, ("localhost", 80, "/")),
        ({"FULL_URI": "https://localhost/"}, None),
        ({"FULL_URI": "http://example.com/"}, None),
        ({"FULL_URI": "http://127.0.0.1.example.com/"}, None),
        ({"FULL_URI": "http://localhost@example.com/"}, None),
        ({"FULL_URI": "http://localhost/\r\nX: y"}, None),
        ({"RELATIVE_URI": "@example.com/"}, None),
        ({"RELATIVE_URI": ".example.com/"}, None),
        ({"RELATIVE_URI": ""}, ("169.254.170.2", 80, "/")),
        ({}, None),
    ],
)
def test_endpoints_of_containers(variables: dict[str, str], expected: tuple[str, int, str] | None) -> None:
    found = Container.in_environment({f"AWS_CONTAINER_CREDENTIALS_{name}": uri for name, uri in variables.items()})
    assert (found and (found.host, found.port, found.path)) == expected


def test_a_host_that_must_not_have_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://example.com/")
    with pytest.raises(AccessDenied, match="Unsupported host"):
        target().keys(5.0)


def test_a_token_in_a_file_is_read_each_time(scripted: ScriptedServer, tmp_path: Path) -> None:
    file = tmp_path / "token"
    source = container(
        scripted, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=str(file), AWS_CONTAINER_AUTHORIZATION_TOKEN="other"
    )
    with pytest.raises(AccessDenied, match="cannot be read"):
        source(5.0)
    for token in ("one", "two"):
        file.write_text(token)
        source(5.0)
    assert [request.headers["authorization"] for request in scripted.requests] == ["one", "two"]
    file.write_text("three\n")
    with pytest.raises(AccessDenied, match="newline"):
        source(5.0)
    assert len(scripted.requests) == 2


def chunked(request: Request, connection: socket.socket) -> None:
    body = credentials()
    pieces = [body[:7], body[7:], b""]
    connection.sendall(head(200, None, {"Transfer-Encoding": "chunked"}))
    for piece in pieces:
        connection.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")


def unframed(request: Request, connection: socket.socket) -> None:
    connection.sendall(head(200, None) + credentials())


@pytest.mark.parametrize(
    "bad",
    [
        answer(500),
        answer(404, b"no"),
        answer(429),
        reset,
        hang_up,
        nonsense,
        half(),
        answer(200, b"<html>"),
        answer(200, b"[]"),
    ],
)
def test_a_container_that_fails_once(scripted: ScriptedServer, bad: Step) -> None:
    scripted.step = in_turn(bad, answer(200, credentials()))
    assert Renewed(container(scripted))(5.0).access_key == "of-container"
    assert len(scripted.requests) == 2


@pytest.mark.parametrize("good", [chunked, unframed])
def test_answers_of_other_forms(scripted: ScriptedServer, good: Step) -> None:
    scripted.step = good
    assert container(scripted)(5.0).keys.access_key == "of-container"


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (answer(500, b"inside"), StoreUnreachable),
        (answer(403, b"not you"), AccessDenied),
        (hang_up, StoreUnreachable),
        (nonsense, StoreUnreachable),
        (answer(200, b"<html>"), AccessDenied),
        (answer(200, credentials(SecretAccessKey=None)), AccessDenied),
        (answer(200, credentials(AccessKeyId="key\n")), AccessDenied),
        (answer(200, credentials(AccessKeyId=5)), AccessDenied),
        (answer(200, credentials("tomorrow")), AccessDenied),
        (answer(200, b"x" * (1 << 17)), StoreUnreachable),
    ],
)
def test_a_container_that_goes_on_failing(scripted: ScriptedServer, bad: Step, kind: type[StoreError]) -> None:
    scripted.step = bad
    renewed = Renewed(container(scripted))
    with pytest.raises(kind, match=r"the credentials of the container, from 127\.0\.0\.1") as caught:
        renewed(5.0)
    assert type(caught.value) is kind
    assert len(scripted.requests) == 3
    assert "hidden" not in str(caught.value)
    scripted.step = answer(200, credentials())
    assert renewed(5.0).access_key == "of-container"


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("way", [silence, trickle])
def test_a_slow_container(
    scripted: ScriptedServer, way: Callable[[ScriptedServer], Step], inline: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted.step = way(scripted)
    if inline:
        monkeypatch.setattr(keys_module, "_start", lambda *_: False)
    renewed = Renewed(container(scripted))
    began = time.monotonic()
    with pytest.raises(StoreTimeout):
        renewed(0.5)
    assert time.monotonic() - began < 1.5
    scripted.step = answer(200, credentials())
    eventually(lambda: renewed(5.0).access_key == "of-container")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-11-22T19:52:28Z", 1795377148.0),
        ("2026-11-22T19:52:28.123456789Z", 1795377148.0),
        ("2026-11-22T19:52:28+00:00", 1795377148.0),
        ("2026-11-22T21:52:28+0200", 1795377148.0),
    ],
)
def test_times_of_expiry(scripted: ScriptedServer, text: str, seconds: float) -> None:
    scripted.step = answer(200, credentials(text))
    assert container(scripted)(5.0).expires == seconds


def test_keys_of_a_container_rotate(scripted: ScriptedServer) -> None:
    scripted.step = in_turn(
        answer(200, credentials(12.5, AccessKeyId="first")), answer(200, credentials(3600, AccessKeyId="second"))
    )
    renewed = Renewed(container(scripted))
    assert renewed(5.0).access_key == "first"
    eventually(lambda: renewed(0.0).access_key == "second")


def test_botocore_agrees(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{scripted.endpoint}/credentials")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "let-me-in")
    ours = target().keys(5.0)
    monkeypatch.setenv("AWS_UNHEARD_OF", "1")
    assert target().keys(5.0) == ours
    first, second = scripted.requests
    same = ("accept", "authorization", "host")
    assert (first.method, first.path) == (second.method, second.path)
    assert [first.headers[name] for name in same] == [second.headers[name] for name in same]
