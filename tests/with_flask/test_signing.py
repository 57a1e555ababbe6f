"""Whose key signs what a Flask app stores."""

from __future__ import annotations

import warnings
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from flask_caching import Cache
from markupsafe import Markup

from cloudcached import Client
from cloudcached_flask import S3Cache

PREFIX = {"CACHE_TYPE": "cloudcached_flask.S3Cache", "CACHE_KEY_PREFIX": "p:"}


@pytest.fixture
def url() -> str:
    """Give the URL of an empty cache that every client of this process sees."""
    return f"memory://{uuid4().hex}"


def backend_of(url: str, secret: Any = None, fallbacks: Any = None, **config: Any) -> S3Cache:
    """Return the cache of an app whose keys are set after ``init_app``."""
    app = Flask(__name__)
    Cache(app, config={**PREFIX, "CACHE_S3_URL": url, **config})
    app.config["SECRET_KEY"] = secret
    if fallbacks is not None:
        app.config["SECRET_KEY_FALLBACKS"] = fallbacks
    (backend,) = app.extensions["cache"].values()
    assert isinstance(backend, S3Cache)
    return backend


@pytest.mark.parametrize("secret", ["secret", b"secret"])
def test_the_secret_key_signs(url: str, secret: str | bytes) -> None:
    backend_of(url, secret).set("key", {1})
    assert Client(url, signing_key=secret).get("p:key") == {1}
    assert Client(url, signing_key="other").get("p:key") is None
    assert Client(url).get("p:key") is None


def test_what_others_signed_is_a_miss_that_add_may_replace(url: str) -> None:
    Client(url).put("p:key", "forged")
    backend = backend_of(url, "secret")
    assert backend.get("key") is None
    assert backend.add("key", "ours") is True
    assert backend.get("key") == "ours"


def test_fallbacks_verify_and_do_not_sign(url: str) -> None:
    backend_of(url, "old").set("kept", 1)
    rotated = backend_of(url, "new", ["older", "", "old"])
    assert rotated.get("kept") == 1
    rotated.set("fresh", 2)
    assert backend_of(url, "old").get("fresh") is None
    assert backend_of(url, "new").get_many("kept", "fresh") == [None, 2]


def test_the_signing_key_of_the_options_comes_first(url: str) -> None:
    backend = backend_of(url, "secret", CACHE_OPTIONS={"signing_key": ["mine", "before"]})
    backend.set("key", 1)
    assert Client(url, signing_key="mine").get("p:key") == 1
    assert Client(url, signing_key="secret").get("p:key") is None


def test_no_key_is_one_warning_and_unsigned(url: str) -> None:
    backend = backend_of(url)
    with pytest.warns(UserWarning, match="not signed: set SECRET_KEY"):
        backend.set("key", 1)
    assert backend.get("key") == 1  # in these tests a second warning would be an error
    assert Client(url).get("p:key") == 1


def test_fallbacks_alone_do_not_sign(url: str) -> None:
    backend = backend_of(url, "", ["old"])
    with pytest.warns(UserWarning, match="not signed"):
        backend.set("key", 1)
    assert Client(url).get("p:key") == 1


def test_where_warnings_are_errors_only_the_first_call_fails(url: str) -> None:
    backend = backend_of(url)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning):
            backend.get("key")
        assert backend.get("key") is None


def test_unsigned_on_purpose_is_no_warning(url: str) -> None:
    backend_of(url, "secret", CACHE_OPTIONS={"signing_key": None}).set("key", 1)
    assert Client(url).get("p:key") == 1


def test_by_hand_there_is_no_secret_key(url: str) -> None:
    S3Cache(url).set("key", 1)
    assert Client(url).get("key") == 1
    S3Cache(url, signing_key="secret").set("key", 2)
    assert Client(url, signing_key="secret").get("key") == 2


def test_a_template_fragment_comes_back_as_markup(url: str) -> None:
    backend = backend_of(url, "secret")
    backend.set("key", Markup("<b>bold</b>"))
    assert type(backend.get("key")) is Markup
