"""How Flask-Caching's settings, and arguments given by hand, become a cache."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from typing import Any

import pytest
from cachelib import BaseCache
from flask import Flask
from flask_caching import Cache

from cloudcached import Client, ConfigError
from cloudcached_flask import S3Cache

TYPE = {"CACHE_TYPE": "cloudcached_flask.S3Cache"}


def backend_of(**config: Any) -> S3Cache:
    """Return what Flask-Caching makes of *config*."""
    app = Flask(__name__)
    app.config.update(TYPE, SECRET_KEY="secret", **config)
    Cache(app)
    (backend,) = app.extensions["cache"].values()
    assert isinstance(backend, S3Cache)
    return backend


def test_the_settings_of_flask_caching() -> None:
    backend = backend_of(
        CACHE_S3_URL="memory://settings",
        CACHE_KEY_PREFIX="site:",
        CACHE_DEFAULT_TIMEOUT=60,
        CACHE_IGNORE_ERRORS=True,
        CACHE_OPTIONS={"timeout": 2.5, "compress_min_bytes": None},
    )
    assert backend.client.url == "memory://settings"
    assert backend.key_prefix == "site:"
    assert backend.default_timeout == 60
    assert backend.ignore_delete_many_errors is True
    options = {"fail_silently": True, "timeout": 2.5, "compress_min_bytes": None, "signing_key": "secret"}
    assert backend.client is Client.shared("memory://settings", **options)


def test_the_defaults_of_flask_caching() -> None:
    backend = backend_of(CACHE_S3_URL="memory://settings")
    assert backend.key_prefix == "flask_cache_"
    assert backend.default_timeout == 300
    assert backend.ignore_delete_many_errors is False


def test_a_timedelta_and_zero_as_default_timeout() -> None:
    assert backend_of(CACHE_S3_URL="memory://", CACHE_DEFAULT_TIMEOUT=dt.timedelta(minutes=1)).default_timeout == 60
    assert backend_of(CACHE_S3_URL="memory://", CACHE_DEFAULT_TIMEOUT=0).default_timeout == 0


@pytest.mark.parametrize("prefix", [None, ""])
def test_no_prefix(prefix: str | None) -> None:
    assert backend_of(CACHE_S3_URL="memory://", CACHE_KEY_PREFIX=prefix).key_prefix == ""


def test_options_may_hold_what_has_a_setting_of_its_own() -> None:
    options = {"default_timeout": 7, "key_prefix": "mine:"}
    backend = backend_of(CACHE_S3_URL="memory://", CACHE_DEFAULT_TIMEOUT=60, CACHE_OPTIONS=options)
    assert backend.default_timeout == 7
    assert backend.key_prefix == "mine:"


def test_the_url_may_be_the_argument() -> None:
    assert backend_of(CACHE_ARGS=["memory://argument"]).client.url == "memory://argument"


def test_settings_of_the_extension_and_of_init_app() -> None:
    app = Flask(__name__)
    app.secret_key = "secret"
    cache = Cache(config={**TYPE, "CACHE_S3_URL": "memory://one", "CACHE_KEY_PREFIX": "a:"})
    cache.init_app(app, {"CACHE_S3_URL": "memory://two"})
    with app.app_context():
        assert cache.cache.client.url == "memory://two"
        assert cache.cache.key_prefix == "a:"


def test_two_caches_of_one_app() -> None:
    app = Flask(__name__)
    app.secret_key = "secret"
    one, two = (Cache(app, config={**TYPE, "CACHE_S3_URL": f"memory://{name}"}) for name in ("one", "two"))
    with app.app_context():
        one.set("key", 1)
        two.set("key", 2)
        assert (one.get("key"), two.get("key")) == (1, 2)


def test_equal_settings_share_a_client() -> None:
    one, two = (backend_of(CACHE_S3_URL="memory://shared") for _ in range(2))
    assert one.client is two.client
    assert one.client is not backend_of(CACHE_S3_URL="memory://shared", CACHE_OPTIONS={"timeout": 1}).client


@pytest.mark.parametrize("config", [{}, {"CACHE_S3_URL": None}, {"CACHE_S3_URL": ""}])
def test_a_missing_url_names_the_setting(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="CACHE_S3_URL is not set"):
        backend_of(**config)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"CACHE_S3_URL": "redis://localhost"}, "s3://bucket/prefix"),
        ({"CACHE_S3_URL": "s3://"}, "bucket"),
        (
            {"CACHE_S3_URL": "memory://", "CACHE_OPTIONS": {"tiemout": 1}},
            "unknown option 'tiemout'; known options: .*timeout",
        ),
        ({"CACHE_S3_URL": "memory://", "CACHE_OPTIONS": {"timeout": -1}}, "timeout is a positive number"),
        ({"CACHE_S3_URL": "memory://", "CACHE_OPTIONS": {"max_value_bytes": -1}}, "max_value_bytes"),
        ({"CACHE_S3_URL": "memory://", "CACHE_DEFAULT_TIMEOUT": None}, "0 for never"),
    ],
)
@pytest.mark.filterwarnings("ignore:Flask-Caching")
def test_wrong_settings_are_found_when_the_app_is_made(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        backend_of(**config)


def test_a_cache_for_cachelib_made_by_hand() -> None:
    cache: BaseCache = S3Cache("memory://by-hand", 60, "p:", True, timeout=1.0, signing_key="secret")
    assert cache.set("key", {1, 2})
    assert cache.get("key") == {1, 2}
    assert cache.default_timeout == 60
    assert Client.shared("memory://by-hand", timeout=1.0, signing_key="secret").get("p:key") == {1, 2}


def test_nothing_is_asked_of_s3_before_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    # Nobody listens there: any request would fail.
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    backend_of(CACHE_S3_URL="s3://no-such-bucket/prefix")


def test_neither_import_nor_app_load_the_s3_libraries() -> None:
    code = """
import sys
from flask import Flask
from flask_caching import Cache
app = Flask(__name__)
Cache(app, config={"CACHE_TYPE": "cloudcached_flask.S3Cache", "CACHE_S3_URL": "s3://bucket/prefix"})
print([name for name in ("boto3", "botocore", "django") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
