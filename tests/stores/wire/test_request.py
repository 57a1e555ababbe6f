"""Requests as bytes: signed as botocore signs them, whatever they ask for."""

from __future__ import annotations

import datetime as dt
import hashlib
import string
from typing import Any

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import example, given
from hypothesis import strategies as st

from cloudcached import StoreRefused
from cloudcached.stores.wire.request import Ask, Keys, Place, head_of

#: What names are made of that were ever trouble, besides everything else.
PIECES = [
    "//",
    "/./",
    "..",
    "%2F",
    "%252f",
    "+",
    " ",
    "  ",
    "~",
    "?",
    "#",
    "&",
    "=",
    ";",
    "é",
    "e\u0301",
    "\U0001f9ca",
    "\n",
]
NAMES = st.lists(st.sampled_from(PIECES) | st.text(string.printable) | st.text(), min_size=1, max_size=6).map("".join)
VALUES = st.from_regex(r"[!-~](?:[ -~]{0,20}[!-~])?", fullmatch=True)
METADATA = st.dictionaries(st.from_regex(r"x-amz-meta-[a-z0-9-]{1,12}", fullmatch=True), VALUES, max_size=4)
QUERIES = st.lists(
    st.tuples(st.text(string.ascii_letters + "-.~_ ", min_size=1, max_size=8), NAMES | st.just("")),
    max_size=5,
    unique_by=lambda pair: pair[0],
)
SECRETS = st.text(string.ascii_letters + string.digits + "/+=", min_size=1, max_size=40)


def encodable(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def parsed(head: bytes) -> tuple[str, str, dict[str, str]]:
    """Return method, target and headers of a request; a server would read the same."""
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    method, target, version = first.split(" ")
    assert version == "HTTP/1.1"
    headers = {}
    for line in lines:
        name, _, value = line.partition(": ")
        assert name not in headers
        headers[name] = value
    return method, target, headers


def signed_by_botocore(head: bytes, place: Place, keys: Keys, now: float, monkeypatch: Any) -> str:
    """Return the Authorization header that botocore makes for the request that these bytes are."""
    method, target, headers = parsed(head)
    signed = headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    sent = {name: headers[name] for name in signed if name not in ("x-amz-date", "x-amz-security-token")}
    scheme = "https" if place.is_tls else "http"
    request = AWSRequest(method, f"{scheme}://{place.host}{target}", headers=sent)
    moment = dt.datetime.fromtimestamp(int(now), dt.timezone.utc)
    name = "get_current_datetime"
    if hasattr(botocore.auth, name):  # since botocore 1.40
        monkeypatch.setattr(botocore.auth, name, lambda *_, **__: moment.replace(tzinfo=None))
    else:

        class Frozen(dt.datetime):
            @classmethod
            def utcnow(cls) -> dt.datetime:
                return moment.replace(tzinfo=None)

        monkeypatch.setattr(botocore.auth.datetime, "datetime", Frozen)
    signer = botocore.auth.S3SigV4Auth(Credentials(keys.access_key, keys.secret_key, keys.token), "s3", place.region)
    monkeypatch.setattr(signer, "payload", lambda _: headers["x-amz-content-sha256"])
    signer.add_auth(request)
    assert request.headers["X-Amz-Date"] == headers["x-amz-date"]
    return str(request.headers["Authorization"])


@given(
    method=st.sampled_from(["GET", "HEAD", "PUT", "POST", "DELETE"]),
    object_key=NAMES.filter(encodable) | st.none(),
    query=QUERIES.filter(lambda query: all(encodable(value) for _, value in query)),
    metadata=METADATA,
    more=st.dictionaries(st.sampled_from(["if-match", "if-none-match", "range", "content-type"]), VALUES, max_size=3),
    body=st.binary(max_size=40),
    token=st.none() | SECRETS,
    secret=SECRETS,
    region=st.sampled_from(["us-east-1", "eu-central-2", "auto", "default"]),
    host=st.sampled_from(["localhost:7480", "bucket.s3.eu-central-2.amazonaws.com", "[::1]:9000"]),
    path=st.sampled_from(["/", "/bucket/", "/base/bucket.with-dots/"]),
    is_tls=st.booleans(),
    now=st.floats(0, 4_000_000_000),
)
@example("GET", "a//b/../c%2F+ ~", [], {}, {}, b"", None, "k", "us-east-1", "[::1]:9000", "/b/", False, 0.0)
@example("GET", None, [("a", "1"), ("a-b", "2"), ("a.b", "3")], {}, {}, b"", None, "k", "auto", "h", "/", True, 1.0)
def test_signatures_are_botocore_s(  # noqa: PLR0917 - what a request is made of
    method: str,
    object_key: str | None,
    query: Any,
    metadata: dict[str, str],
    more: dict[str, str],
    body: bytes,
    token: str | None,
    secret: str,
    region: str,
    host: str,
    path: str,
    is_tls: bool,
    now: float,
) -> None:
    ask = Ask(method, object_key, query, {**metadata, **more}, body)
    place, keys = Place(host, path, region, is_tls), Keys("AKIDEXAMPLE", secret, token)
    head = head_of(ask, place, keys, now)
    headers = parsed(head)[2]
    with pytest.MonkeyPatch.context() as patch:
        assert headers["authorization"] == signed_by_botocore(head, place, keys, now, patch)
    hashed = hashlib.sha256(body).hexdigest()
    assert headers["x-amz-content-sha256"] == ("UNSIGNED-PAYLOAD" if is_tls and body else hashed)
    assert headers.get("content-length", "0") == str(len(body))


def headers_of(ask: Ask) -> tuple[list[str], dict[str, str]]:
    """Return the names that were signed, and all headers."""
    place = Place("localhost", "/bucket/", "us-east-1", is_tls=False)
    headers = parsed(head_of(ask, place, Keys("a", "b"), 0.0))[2]
    return headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";"), headers


def test_conditions_of_writes_are_signed() -> None:
    for method in ("PUT", "DELETE", "POST"):
        assert "if-match" in headers_of(Ask(method, "k", headers={"if-match": "x"}))[0]


def test_what_proxies_answer_themselves_is_not_signed() -> None:
    """nginx does not pass ``expect`` on, and the signature would not hold behind it."""
    signed, headers = headers_of(Ask("PUT", "k", headers={"expect": "100-continue", "if-match": "x"}, body=b"x"))
    assert "expect" not in signed
    assert headers["expect"] == "100-continue"


@pytest.mark.parametrize("value", ["a\r\nx-amz-acl: public-read", "a\nb", "a\rb", "a\0b", "\xe9", "\u2028", "\t"])
@pytest.mark.parametrize("name", ["if-match", "x-amz-meta-a", "x-amz-tagging"])
def test_nothing_of_a_caller_s_begins_a_header(name: str, value: str) -> None:
    with pytest.raises(StoreRefused, match="printable"):
        headers_of(Ask("PUT", "k", headers={name: value}))


def test_the_bucket_is_not_an_object_without_a_name() -> None:
    place = Place("localhost", "/bucket/", "us-east-1", is_tls=False)
    targets = [parsed(head_of(Ask("GET", key), place, Keys("a", "b"), 0.0))[1] for key in (None, "", "k")]
    assert targets == ["/bucket", "/bucket/", "/bucket/k"]
