"""Keys from the sources that botocore knows: programs, machines, roles, and whatever it renews."""

from __future__ import annotations

import datetime as dt
import json
import socket
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.credentials
import pytest
from chains import eventually, run, target
from scripted_server import (
    Request,
    ScriptedServer,
    answer,
    hang_up,
    in_turn,
    silence,
)

from cloudcached import AccessDenied
from cloudcached.errors import StoreTimeout, StoreUnreachable
from cloudcached.stores.boto3.keys import Keys


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


def test_a_profile_s_process_fails_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "program"
    expires = (dt.datetime.now(dt.timezone.utc) + dt.timedelta(hours=1)).isoformat()
    found = {"Version": 1, "AccessKeyId": "of-process", "SecretAccessKey": "secret", "Expiration": expires}
    program.write_text(
        f"#!{sys.executable}\nimport pathlib, sys\nflag = pathlib.Path({str(tmp_path / 'flag')!r})\n"
        f"if flag.exists(): print({json.dumps(json.dumps(found))})\nelse: flag.touch(); sys.exit(3)\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "config").write_text(f"[default]\ncredential_process = {program}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    made = target()
    with pytest.raises(AccessDenied, match="no credentials: CredentialRetrievalError"):
        made.keys(30.0)
    assert made.keys(30.0) == Keys("of-process", "secret", None)


def test_a_program_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(f"[default]\ncredential_process = {tmp_path / 'nothing'}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    with pytest.raises(AccessDenied, match="FileNotFoundError"):
        target().keys(30.0)


def test_a_machine_s_role_fails_once(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    state = {"away": True}

    def step(request: Request, connection: socket.socket) -> None:
        found = {**json.loads(credentials(AccessKeyId="of-machine")), "Code": "Success"}
        if state["away"]:
            hang_up(request, connection)
        elif request.method == "PUT":
            answer(200, b"token")(request, connection)
        elif request.path.endswith("/security-credentials/"):
            answer(200, b"role")(request, connection)
        else:
            answer(200, json.dumps(found).encode())(request, connection)

    scripted.step = step
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", scripted.endpoint)
    made = target()
    with pytest.raises(AccessDenied, match="no credentials"):
        made.keys(30.0)
    state["away"] = False
    assert made.keys(30.0) == Keys("of-machine", "hidden", "token")


def test_a_machine_that_is_slow(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted.step = silence(scripted)
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", scripted.endpoint)
    monkeypatch.setenv("AWS_METADATA_SERVICE_TIMEOUT", "3")
    made = target()
    began = time.monotonic()
    with pytest.raises(StoreTimeout):
        made.keys(0.3)
    assert time.monotonic() - began < 1.5


TOKEN_ANSWER = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>of-role</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>
<SessionToken>token</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration></Credentials>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""
REFUSAL = b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>not you</Message></Error></ErrorResponse>"


def test_a_role_by_web_identity_fails_once(
    scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scripted.step = in_turn(answer(403, REFUSAL), answer(200, TOKEN_ANSWER.encode()))
    (tmp_path / "token").write_text("identity")
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/mine")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", scripted.endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    made = target()
    assert scripted.requests == []
    with pytest.raises(AccessDenied, match="not you"):
        made.keys(30.0)
    assert made.keys(30.0) == Keys("of-role", "secret", "token")
    assert made.host == "bucket.s3.eu-west-1.amazonaws.com"  # the endpoint of the other service is not S3's


class Refreshable:
    """botocore's credentials, from a source of which every answer lasts for the next of *seconds*."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *seconds: float) -> None:
        self.seconds = list(seconds)
        self.fails = False
        self.given = 0
        self.credentials = botocore.credentials.RefreshableCredentials.create_from_metadata(
            self.fetch(), self.fetch, "test"
        )
        monkeypatch.setattr("botocore.session.Session.get_credentials", lambda _: self.credentials)
        monkeypatch.setenv("AWS_UNHEARD_OF", "1")

    def fetch(self) -> dict[str, str]:
        if self.fails:
            raise OSError("the source is away")
        expiry = dt.datetime.now(dt.timezone.utc) + dt.timedelta(seconds=self.seconds.pop(0))
        self.given += 1
        return {
            "access_key": f"key-{self.given}",
            "secret_key": "secret",
            "token": "token",
            "expiry_time": expiry.isoformat(),
        }


def test_botocore_s_keys_are_renewed_beside_the_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Refreshable(monkeypatch, 1000.0, 3600.0)
    made = target()
    assert made.keys(30.0).access_key == "key-1"
    lease = made.keys._lease  # type: ignore[attr-defined]
    assert 90 < lease.renew_at - time.time() < 501
    source.credentials._advisory_refresh_timeout = 1100
    made.keys._lease = lease._replace(renew_at=0.0)  # type: ignore[attr-defined]
    assert made.keys(0.0).access_key == "key-1"
    eventually(lambda: made.keys(0.0).access_key == "key-2")


def test_botocore_s_keys_are_used_while_they_are_valid(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """botocore itself refuses them for the last ten minutes."""
    source = Refreshable(monkeypatch, 120.0, 3600.0)
    source.credentials._advisory_refresh_timeout = 0
    source.credentials._mandatory_refresh_timeout = 0
    made = target()
    assert made.keys(30.0).access_key == "key-1"
    source.credentials._advisory_refresh_timeout = 900
    source.credentials._mandatory_refresh_timeout = 600
    source.fails = True
    lease = made.keys._lease  # type: ignore[attr-defined]
    made.keys._lease = lease._replace(renew_at=0.0)  # type: ignore[attr-defined]
    assert made.keys(0.0).access_key == "key-1"
    eventually(lambda: "the credentials could not be renewed yet" in caplog.text)
    assert made.keys(0.0).access_key == "key-1"
    source.fails = False
    eventually(lambda: made.keys(0.0).access_key == "key-2")


def test_botocore_s_keys_that_have_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Refreshable(monkeypatch, 1.0, 3600.0)
    source.fails = True
    made = target()
    time.sleep(1.1)
    for _ in range(2):
        with pytest.raises(StoreUnreachable, match="the source is away"):
            made.keys(30.0)
    source.fails = False
    assert made.keys(30.0).access_key == "key-2"


def test_a_child_finds_botocore_s_keys_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text("[default]\naws_access_key_id = of-file\naws_secret_access_key = secret\n")
    script = (
        "import os, time\nfrom cloudcached.config import Config\n"
        "from cloudcached.stores.boto3.chain import locate\nfrom cloudcached.stores.boto3.session import Sessions\n"
        "made = locate(Config.parse('s3://bucket', {}), Sessions({}, 5.0))\n"
        "if os.fork() == 0:\n    print(made.keys(20.0).access_key, flush=True)\n    os._exit(0)\n"
        "os.wait()\nprint(made.keys(20.0).access_key)\n"
    )
    assert run(script, AWS_SHARED_CREDENTIALS_FILE=str(tmp_path / "credentials")) == "of-file\nof-file\n"
