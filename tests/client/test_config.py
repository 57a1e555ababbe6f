"""URLs and options: every mistake is a ``ConfigError`` that says what to do, and tells no secret."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cloudcached import Client, ConfigError
from cloudcached.config import OPTIONS, S3_SETTINGS, Config

SECRET = "t0p/s3cret"
ANYTHING = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(10**300, 10**400)
    | st.floats()
    | st.text(st.characters())
    | st.binary()
    | st.lists(st.text(st.characters()) | st.binary() | st.none(), max_size=3)
    | st.tuples(st.text(), st.text())
    | st.dictionaries(st.text() | st.sampled_from(S3_SETTINGS) | st.integers(), st.text() | st.none(), max_size=3)
)


def parse(url: object = "s3://bucket", **options: object) -> Config:
    """Parse a URL and options, as ``Client`` does."""
    return Config.parse(url, options)


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("s3://bucket", ("s3", "bucket", "")),
        ("s3://bucket/", ("s3", "bucket", "")),
        ("s3://bucket/prefix", ("s3", "bucket", "prefix")),
        ("s3://bucket/a/b/", ("s3", "bucket", "a/b")),
        ("s3://bucket//a", ("s3", "bucket", "a")),
        ("s3://my.bucket-1/!_.*'()=+@:,-", ("s3", "my.bucket-1", "!_.*'()=+@:,-")),
        ("s3://Old_Bucket", ("s3", "Old_Bucket", "")),
        ("s3://bucket--use1-az4--x-s3/p", ("s3", "bucket--use1-az4--x-s3", "p")),
        ("memory://", ("memory", "", "")),
        ("memory://name", ("memory", "name", "")),
        ("memory://name/prefix", ("memory", "name", "prefix")),
    ],
)
def test_urls(url, parts):
    config = parse(url)
    assert (config.scheme, config.bucket, config.prefix) == parts


@pytest.mark.parametrize("url", ["s3://bucket/a/b", "s3://bucket", "memory://", "memory://name/p"])
def test_the_normal_form_of_a_url_is_parsed_to_itself(url):
    assert parse(url).url == url
    assert parse(f"{url}/" if "p" in url or "b/" in url else url).url == url
    assert Client(url).url == url


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        (None, "NoneType, not a str; use s3://bucket/prefix"),
        (b"s3://bucket", "bytes, not a str"),
        ("", "use s3://bucket/prefix"),
        ("bucket/prefix", "'bucket/prefix' is not a cache URL; use s3://bucket/prefix"),
        ("s3:bucket", "is not a cache URL"),
        ("s3:/bucket", "is not a cache URL"),
        ("S3://bucket", "is not a cache URL"),
        ("https://bucket.s3.amazonaws.com", "is not a cache URL; use s3://"),
        ("redis://localhost", "is not a cache URL"),
        ("file:///tmp", "is not a cache URL"),
        ("s3://", "names no bucket; use s3://"),
        ("s3:///prefix", "names no bucket"),
        ("s3://b", "3 to 255"),
        ("s3://ab", "3 to 255"),
        ("s3://bück", "letters, digits, dots and dashes"),
        ("s3://buck et", "letters, digits, dots and dashes"),
        ("s3://bucket\n", "letters, digits, dots and dashes"),
        ("s3://localhost:9000/bucket", "or a port"),
        ("s3://bucket/a//b", "parts between single slashes"),
        ("s3://bucket/..", "cannot be a prefix"),
        ("s3://bucket/a/./b", "cannot be a prefix"),
        ("s3://bucket/a b", "cannot be a prefix"),
        ("s3://bucket/ä", "cannot be a prefix"),
        ("s3://bucket/a%2Fb", "cannot be a prefix"),
        ("s3://bucket/~a", "cannot be a prefix"),
        ("s3://bucket/a\n", "cannot be a prefix"),
        ("s3://bucket/" + "a" * 513, "513 bytes; use at most 512"),
        ("memory://name/a b", "cannot be a prefix"),
        ("s3://bucket/p?region=eu", "pass settings as options"),
        ("s3://bucket/p#f", "pass settings as options"),
    ],
)
def test_a_wrong_url_is_refused_with_advice(url, advice):
    with pytest.raises(ConfigError, match=re.escape(advice)):
        parse(url)


def test_the_longest_prefix():
    assert parse("s3://bucket/" + "a" * 512).prefix == "a" * 512


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIA:{}@bucket/p",
        "s3://s3cret@bucket",
        "s3://AKIA:{}",
        "memory://s3cret@name",
        "https://AKIA:{}@host/bucket",
        "redis://:{}@host/0",
        "https://host/bucket?secret={}",
        "s3://bucket/p?aws_secret_access_key={}",
        "s3://bucket/p#{}",
    ],
)
def test_no_secret_of_a_url_is_in_the_message(url):
    with pytest.raises(ConfigError) as caught:
        parse(url.format(SECRET))
    assert "s3cret" not in str(caught.value)
    assert "t0p" not in str(caught.value)


def test_an_unknown_option_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError) as caught:
        parse(signing_keys="a", timeout=5)
    assert "'signing_keys'" in str(caught.value)
    for name in OPTIONS:
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"signing_key": ""}, "signing_key is a non-empty str or bytes"),
        ({"signing_key": b""}, "non-empty"),
        ({"signing_key": 5}, "str or bytes"),
        ({"signing_key": ["a", ""]}, "non-empty"),
        ({"signing_key": ["a", None]}, "str or bytes"),
        ({"signing_key": {"a": 1}}, "str or bytes"),
        ({"timeout": 0}, "timeout is a positive number of seconds, not 0"),
        ({"timeout": -1}, "positive"),
        ({"timeout": math.nan}, "positive"),
        ({"timeout": math.inf}, "positive"),
        ({"timeout": 10**400}, "positive"),
        ({"timeout": "5"}, "not '5'"),
        ({"timeout": None}, "not None"),
        ({"timeout": True}, "not True"),
        ({"transport": "urllib"}, "transport is one of auto, wire, boto3"),
        ({"transport": None}, "one of"),
        ({"transport": ["auto"]}, "one of"),
        ({"compress_min_bytes": -1}, "compress_min_bytes is a number of bytes, zero or more, not -1"),
        ({"compress_min_bytes": 1.5}, "not 1.5"),
        ({"compress_min_bytes": True}, "not True"),
        ({"max_value_bytes": -1}, "max_value_bytes is a number of bytes, zero or more"),
        ({"max_value_bytes": None}, "not None"),
        ({"max_value_bytes": "1MB"}, "'1MB'"),
        ({"encryption_key": ""}, "encryption_key is a non-empty str or bytes"),
        ({"encryption_key": ["a", 5]}, "encryption_key is a non-empty str or bytes"),
        ({"read_only": "yes"}, "read_only is False, 'refuse' or 'drop', not 'yes'"),
        ({"read_only": 1}, "not 1"),
        ({"fail_silently": "no"}, "fail_silently is True or False, not 'no'"),
        ({"fail_silently": None}, "not None"),
        ({"conditional_writes": True}, "conditional_writes is one of auto, trust"),
        ({"expiry_tags": 1}, "expiry_tags is True or False, not 1"),
        ({"max_age_days": 0}, "max_age_days is a number of days, 1 or more, as in a lifecycle rule; not 0"),
        ({"max_age_days": 1.5}, "not 1.5"),
        ({"max_age_days": True}, "not True"),
        ({"max_age_days": 2**31}, "number of days"),
        ({"refresh_after": -1}, "refresh_after is a positive number of seconds, not -1"),
        ({"refresh_after": "60"}, "not '60'"),
        ({"sse": "AES256"}, "sse is a mapping"),
        ({"sse": {"SSEKMSKeyId": "id"}}, "sse needs 'ServerSideEncryption': 'AES256', or 'aws:kms'"),
        ({"sse": {"ServerSideEncryption": ""}}, "'ServerSideEncryption' in sse is a non-empty str"),
        ({"sse": {"SSECustomerKey": "key"}}, "unknown setting 'SSECustomerKey' in sse; known settings: "),
        ({"near": 10_000}, "near is a mapping with 'max_bytes' and 'max_age' (seconds)"),
        ({"near": {"max_bytes": 10_000}}, "near is a mapping with 'max_bytes' and 'max_age'"),
        ({"near": {"max_bytes": -1, "max_age": 1}}, "'max_bytes' in near is a number of bytes"),
        ({"near": {"max_bytes": 10_000, "max_age": 0}}, "'max_age' in near is a positive number of seconds"),
        ({"near": {"max_bytes": 10_000, "max_age": 1, "negative": -1}}, "'negative' in near is a positive number"),
        (
            {"near": {"max_bytes": 10_000, "max_age": 1, "size": 1}},
            "unknown setting 'size' in near; known settings: max_",
        ),
        ({"s3": "eu-central-1"}, "s3 is a mapping"),
        ({"s3": None}, "s3 is a mapping"),
        ({"s3": ["region_name"]}, "s3 is a mapping"),
        ({"s3": ("region_name",)}, "s3 is a mapping"),
        ({"s3": {"region": "eu"}}, "unknown setting 'region' in s3; known settings: addressing_style"),
        ({"s3": {1: "eu"}}, "unknown setting 1 in s3"),
        ({"s3": {"region_name": ""}}, "'region_name' in s3 is a non-empty str"),
        ({"s3": {"region_name": None}}, "'region_name' in s3 is a non-empty str"),
    ],
    ids=lambda value: f"{value!r:.40}" if isinstance(value, dict) else "",
)
def test_a_wrong_option_is_refused_with_advice(options, advice):
    with pytest.raises(ConfigError, match=re.escape(advice)):
        parse(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"signing_key": [SECRET, 5]},
        {"signing_key": {SECRET: 1}},
        {"signing_key": (SECRET.encode(), None)},
        {"s3": {"aws_secret_access_key": SECRET, "region_name": 5}},
        {"s3": {"aws_secret_access_key": [SECRET]}},
        {"s3": [("aws_secret_access_key", SECRET)]},
        {"signing_key": SECRET, "unknown": SECRET},
        {"encryption_key": [SECRET, 5]},
    ],
)
def test_no_secret_of_an_option_is_in_the_message(options):
    with pytest.raises(ConfigError) as caught:
        parse(**options)
    assert "s3cret" not in str(caught.value)


def test_no_secret_is_in_a_repr():
    options = {
        "signing_key": SECRET,
        "encryption_key": SECRET,
        "s3": {"aws_secret_access_key": SECRET, "aws_session_token": SECRET, "aws_access_key_id": SECRET},
    }
    config = parse(**options)
    client = Client("s3://bucket", **options)
    for shown in (repr(config), str(config), repr(client), repr(config.signing_key), client.url):
        assert "s3cret" not in shown


@pytest.mark.parametrize("name", OPTIONS)
@given(value=ANYTHING)
@example(value=10**400)
@example(value="\ud800")
@example(value=("ab", "cd"))
def test_any_value_of_an_option_is_taken_or_a_config_error(name, value):
    try:
        config = parse(**{name: value})
    except ConfigError:
        return
    assert hash(config) == hash(parse(**{name: value}))


@given(st.text(st.characters()) | st.text("s3:/@?#memory.ab~% ").map(lambda rest: f"s3://{rest}"))
def test_any_url_is_taken_or_a_config_error(url):
    try:
        config = parse(url)
    except ConfigError:
        return
    assert parse(config.url) == config


def test_the_defaults():
    config = parse()
    assert (config.timeout, config.transport) == (5.0, "auto")
    assert (config.compress_min_bytes, config.max_value_bytes) == (1024, 2**30)
    assert config.signing_key is None
    assert config.s3 == ()


@pytest.mark.parametrize(
    ("given_as", "meant"), [(False, ""), (None, ""), (True, "refuse"), ("refuse", "refuse"), ("drop", "drop")]
)
def test_read_only(given_as, meant):
    assert parse(read_only=given_as).read_only == meant


def test_server_side_encryption():
    sse = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "id"}
    assert parse(sse=sse).sse == (("SSEKMSKeyId", "id"), ("ServerSideEncryption", "aws:kms"))
    assert parse(sse={}).sse == ()


def test_equal_configurations_are_equal_and_others_are_not():
    """On this it hangs who shares a client."""
    one = parse("s3://bucket/p/", signing_key=["a", b"b"], s3={"region_name": "x", "endpoint_url": "http://h"})
    same = parse("s3://bucket/p", signing_key=("a", "b"), s3={"endpoint_url": "http://h", "region_name": "x"})
    assert one == same
    assert hash(one) == hash(same)
    for other in (
        parse("s3://bucket/p"),
        parse("s3://bucket/p", signing_key=["b", "a"], s3={"region_name": "x", "endpoint_url": "http://h"}),
        parse("s3://bucket/q", signing_key=["a", b"b"], s3={"region_name": "x", "endpoint_url": "http://h"}),
        parse("s3://bucket/p", signing_key=["a", b"b"], s3={"region_name": "y", "endpoint_url": "http://h"}),
        parse("s3://bucket/p", timeout=4, signing_key=["a", b"b"], s3={"region_name": "x", "endpoint_url": "http://h"}),
    ):
        assert other != one


def test_a_configuration_cannot_be_changed():
    with pytest.raises(AttributeError):
        parse().timeout = 1


def test_parsed_settings_are_taken_again():
    """What is handed from an adapter to a client may have been checked before."""
    config = parse(signing_key="a", s3={"region_name": "x"})
    assert parse(signing_key=config.signing_key, s3=config.s3) == config


def test_a_client_with_a_wrong_option_is_not_made():
    with pytest.raises(ConfigError):
        Client("s3://bucket", timeout=-1)
    with pytest.raises(ConfigError):
        Client.shared("s3://bucket", nonsense=1)


def test_a_client_is_made_without_asking_anybody(monkeypatch):
    import socket

    def refuse(*_: object) -> None:
        raise AssertionError("a constructor does no I/O")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    for transport in ("auto", "boto3", "wire"):
        Client("s3://no-such-bucket/p", transport=transport)


def test_one_client_is_shared_per_configuration():
    one = Client.shared("memory://shared-by-url/p", timeout=3)
    assert Client.shared("memory://shared-by-url/p/", timeout=3.0) is one
    assert Client.shared("memory://shared-by-url/p", timeout=4) is not one
    one.put("k", 1)
    assert Client("memory://shared-by-url/p").get("k") == 1
    assert Client("memory://").get("k") is None


def test_s3_express_has_no_tags():
    with pytest.raises(ConfigError, match="use max_age_days"):
        Config.parse("s3://bucket--use1-az5--x-s3/p", {"expiry_tags": True})
    assert Config.parse("s3://bucket--use1-az5--x-s3/p", {"max_age_days": 3}).max_age_days == 3
