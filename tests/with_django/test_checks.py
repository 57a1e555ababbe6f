"""System checks: what each finds, that it says what to do, and that none asks the network."""

from __future__ import annotations

import socket
import sys
from typing import Any

import pytest
from django.core import checks
from django.core.cache import caches
from django.core.management import call_command
from django.core.management.base import SystemCheckError

LOCAL = {"s3": {"endpoint_url": "http://127.0.0.1:9000"}}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*args: Any) -> None:
        raise AssertionError("a check asked the network")

    monkeypatch.setattr(socket.socket, "connect", connect)


def found(settings: Any, location: Any = "memory://checks", **params: Any) -> list[checks.CheckMessage]:
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
        "pages": {"BACKEND": "cloudcached_django.S3Cache", "LOCATION": location, **params},
    }
    return [message for message in checks.run_checks() if str(message.id).startswith("cloudcached.")]


def ids(*args: Any, **params: Any) -> list[str | None]:
    messages = found(*args, **params)
    assert all(message.hint for message in messages)
    return [message.id for message in messages]


def test_good_settings_pass(settings: Any) -> None:
    assert ids(settings) == []
    assert ids(settings, "s3://bucket/prefix", OPTIONS={"MAX_ENTRIES": 5, "CULL_FREQUENCY": 2, **LOCAL}) == []


@pytest.mark.parametrize("location", ["", "s3://", "bucket/prefix", "https://bucket", "s3://key:secret@bucket", None])
def test_a_bad_location(settings: Any, location: Any) -> None:
    assert ids(settings, location) == ["cloudcached.E001"]


def test_a_missing_location(settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": "cloudcached_django.S3Cache"}}
    (message,) = [message for message in checks.run_checks() if message.id == "cloudcached.E001"]
    assert "'default'" in message.msg
    assert "s3://bucket/prefix" in message.hint


def test_a_secret_in_the_location_is_not_printed(settings: Any) -> None:
    (message,) = found(settings, "s3://key:secret@bucket/prefix")
    assert "secret" not in str(message)


@pytest.mark.parametrize("options", [{"tiemout": 5}, {"timeout": "soon"}, {"transport": "ftp"}, {"signing_key": 5}])
def test_bad_options(settings: Any, options: dict[str, Any]) -> None:
    (message,) = found(settings, OPTIONS=options)
    assert message.id == "cloudcached.E002"
    assert next(iter(options)) in message.msg


def test_an_unknown_option_lists_the_known(settings: Any) -> None:
    (message,) = found(settings, OPTIONS={"tiemout": 5})
    assert "compress_min_bytes" in message.msg


@pytest.mark.parametrize(("location", "told"), [("s3://bucket", []), ("memory://site", ["cloudcached.E002"])])
def test_an_option_for_buckets_only(settings: Any, location: str, told: list[str]) -> None:
    near = {"max_bytes": 1, "max_age": 1, "disk": "/var/tmp/near"}
    assert ids(settings, location, OPTIONS={"near": near, **LOCAL}) == told


@pytest.mark.parametrize("timeout", ["banana", "", [], float("nan")], ids=repr)
def test_a_bad_timeout(settings: Any, timeout: Any) -> None:
    assert ids(settings, TIMEOUT=timeout) == ["cloudcached.E003"]


@pytest.mark.parametrize("signing_key", [None, "", []], ids=repr)
def test_unsigned(settings: Any, signing_key: Any) -> None:
    assert "cloudcached.W004" in ids(settings, OPTIONS={"signing_key": signing_key})


def test_signed_by_a_key_of_its_own(settings: Any) -> None:
    assert ids(settings, OPTIONS={"signing_key": ["new", "old"]}) == []


def test_sessions_in_the_cache_alone(settings: Any) -> None:
    settings.SESSION_CACHE_ALIAS = "pages"
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    (message,) = found(settings)
    assert message.id == "cloudcached.W005"
    assert "cached_db" in message.hint
    settings.SESSION_CACHE_ALIAS = "default"
    assert ids(settings) == []
    settings.SESSION_CACHE_ALIAS = "pages"
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"
    assert ids(settings) == []


@pytest.mark.parametrize("name", ["", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
@pytest.mark.parametrize(
    ("endpoint", "is_local"),
    [
        ("http://127.0.0.1:9000", True),
        ("http://localhost:9000", True),
        ("http://s3.localhost:9000", True),
        ("http://[::1]:9000", True),
        ("https://s3.eu-central-1.amazonaws.com", False),
        ("http://127.0.0.1.example.com", False),
        ("http://10.0.0.1:9000", False),
    ],
)
def test_a_test_run_on_a_real_bucket(
    settings: Any, monkeypatch: pytest.MonkeyPatch, name: str, endpoint: str, is_local: bool
) -> None:
    if name:
        monkeypatch.setenv(name, endpoint)
    options = {} if name else {"s3": {"endpoint_url": endpoint}}
    assert ids(settings, "s3://bucket/prefix", OPTIONS=options) == ([] if is_local else ["cloudcached.E006"])


def test_a_test_run_on_aws(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ids(settings, "s3://bucket/prefix") == ["cloudcached.E006"]
    monkeypatch.delenv("PYTEST_VERSION")
    assert ids(settings, "s3://bucket/prefix") == []
    monkeypatch.setattr(sys, "argv", ["manage.py", "test", "shop"])
    assert ids(settings, "s3://bucket/prefix") == ["cloudcached.E006"]


def test_the_check_command_prints_them_and_fails(settings: Any) -> None:
    found(settings, "bucket")
    with pytest.raises(SystemCheckError, match=r"(?s)cloudcached\.E001.*HINT"):
        call_command("check")
    settings.SILENCED_SYSTEM_CHECKS = ["cloudcached.E001"]
    call_command("check")


def test_checks_need_no_secret_key(settings: Any) -> None:
    """As in an image build, where ``collectstatic`` runs without one."""
    settings.SECRET_KEY = ""
    assert ids(settings) == []


def test_the_constructor_leaves_mistakes_to_the_checks(settings: Any) -> None:
    found(settings, "nonsense", TIMEOUT="banana", OPTIONS={"unknown": 1})
    assert caches["pages"].make_key("key") == ":1:key"
