"""Answers that are HTTP and yet wrong: dates, ranges, rubbish instead of XML, regions, mutations of real answers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peer import DATE, ETAG, Peer, Stage, answered, headed, refused
from plays import EVIL, HELLO, LONG, OK, SHORT, VERBS, body_of, check_next, once, outcome
from wire_stores import wire_store

from cloudcached import (
    AccessDenied,
    BucketMissing,
    NotFound,
    PreconditionFailed,
    StoreError,
    StoreRefused,
    StoreTimeout,
    StoreUnreachable,
)

# Ranges

RANGES = [
    ("right", 206, {"Content-Range": "bytes 0-4/100"}, b"hello"),
    ("shorter object", 206, {"Content-Range": "bytes 0-2/3"}, b"hel"),
    ("whole", 200, {}, StoreRefused),
    ("whole and larger", 200, {"Content-Length": "1000000"}, StoreRefused),
    ("no range", 206, {}, StoreRefused),
    ("another beginning", 206, {"Content-Range": "bytes 5-9/100"}, StoreRefused),
    ("shorter", 206, {"Content-Range": "bytes 0-2/100"}, StoreRefused),
    ("longer", 206, {"Content-Range": "bytes 0-9/100"}, StoreRefused),
    ("backwards", 206, {"Content-Range": "bytes 4-0/100"}, StoreRefused),
    ("behind its end", 206, {"Content-Range": "bytes 0-4/3"}, StoreRefused),
    ("of what size", 206, {"Content-Range": "bytes 0-4/*"}, StoreRefused),
    ("in words", 206, {"Content-Range": "lines 0-4/100"}, StoreRefused),
    ("negative", 206, {"Content-Range": "bytes -1-4/100"}, StoreRefused),
    ("superscript", 206, {"Content-Range": "bytes 0-4/\xb2"}, StoreRefused),
    ("digits without end", 206, {"Content-Range": "bytes 0-4/" + "9" * 5000}, StoreRefused),
    ("two ranges", 206, {"Content-Type": "multipart/byteranges; boundary=x"}, StoreRefused),
    ("another length", 206, {"Content-Range": "bytes 0-4/100", "Content-Length": "4"}, StoreRefused),
    ("another version", 206, {"Content-Range": "bytes 0-4/100", "ETag": '"0123"'}, PreconditionFailed),
    ("no version", 206, {"Content-Range": "bytes 0-4/100", "ETag": ""}, StoreRefused),
    ("no content", 204, {"Content-Length": "0"}, StoreRefused),
]


@pytest.mark.parametrize(("status", "headers", "result"), [row[1:] for row in RANGES], ids=[row[0] for row in RANGES])
@pytest.mark.parametrize("verb", ["get_range", "get_first"])
def test_ranges(status: int, headers: dict[str, str], result: Any, verb: str) -> None:
    body = result if isinstance(result, bytes) else b"hello"
    given_headers = {"ETag": f'"{ETAG}"', "Last-Modified": DATE, "Content-Length": str(len(body)), **headers}
    with Stage(once(headed(status, given_headers, body))) as stage:
        store = wire_store(stage.endpoint)
        found = outcome(VERBS[verb], store)
        if verb == "get_first" and (result is PreconditionFailed or headers == {}) and str(status) != "206":
            assert found == b"hello"  # all of it is its beginning
        elif verb == "get_first" and result is PreconditionFailed:
            assert found == b"hello"  # any version will do
        elif isinstance(result, bytes):
            assert found == result
        else:
            assert isinstance(found, result)
        check_next(store)


def test_a_range_in_chunks_is_not_longer_than_it_says() -> None:
    data = OK.replace(b"200 OK", b"206 Partial Content") + (
        b"Content-Range: bytes 0-4/100\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nhello!!!\r\n0\r\n\r\n"
    )
    with Stage(once(data)) as stage:
        store = wire_store(stage.endpoint)
        for verb in ("get_range",):
            assert isinstance(outcome(VERBS[verb], store), StoreError)
        check_next(store)


# XML

BOMB = (
    '<?xml version="1.0"?><!DOCTYPE x ['
    '<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {new} "{f"&{old};" * 10}">' for old, new in zip("abcdefghi", "bcdefghij", strict=True))
    + "]><{0}><Key>&j;</Key><UploadId>&j;</UploadId></{0}>"
).encode()
NAMESPACE = b'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
ROOTS = {
    "list": b"ListBucketResult",
    "delete_many": b"DeleteResult",
    "create_upload": b"InitiateMultipartUploadResult",
    "complete_upload": b"CompleteMultipartUploadResult",
}
RUBBISH = {
    "nothing": b"",
    "blanks": b" " * 10_000,
    "text": b"hello",
    "html": b"<html><body>It works!</body></html>",
    "open": b"<{0}>",
    "half": b"<{0}><Contents><Key>a</K",
    "two roots": b"<{0}/><{0}/>",
    "error": b"<?xml version='1.0'?>\n<Error><Code>InternalError</Code><Message>We encountered</Message></Error>",
    "error with a namespace": b"<Error " + NAMESPACE + b"><Code>SlowDown</Code></Error>",
    "error behind blanks": b" " * 10_000 + b"<Error><Code>InternalError</Code></Error>",
    "bomb": BOMB,
    "file": b"<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><{0}><Key>&a;</Key><UploadId>&a;</UploadId></{0}>",
    "encoding": b"<?xml version='1.0' encoding='nonsense'?><{0}/>",
    "wide encoding": b"<?xml version='1.0' encoding='big5'?><{0}/>",
    "utf-7": b"<?xml version='1.0' encoding='utf-7'?><{0}/>",
    "idna": b"<?xml version='1.0' encoding='idna'?><{0}/>",
    "not utf-8": b"<{0}>\xff\xfe</{0}>",
    "nul": b"<{0}>\0</{0}>",
    "deep": b"<a>" * 100_000 + b"</a>" * 100_000,
    "another root": b"<ListAllMyBucketsResult/>",
    "binary": bytes(range(256)) * 10,
}


@pytest.mark.parametrize("body", RUBBISH.values(), ids=RUBBISH)
@pytest.mark.parametrize("verb", ROOTS)
def test_rubbish_is_no_answer(body: bytes, verb: str) -> None:
    """Above all nothing counts as removed, or as an object, because of it."""
    data = OK + f"Content-Length: {len(body.replace(b'{0}', ROOTS[verb]))}\r\n\r\n".encode()
    with Stage(once(data + body.replace(b"{0}", ROOTS[verb]))) as stage:
        store = wire_store(stage.endpoint)
        found = outcome(VERBS[verb], store)
        assert isinstance(found, StoreError)
        assert found.retryable
        check_next(store)


@pytest.mark.parametrize("body", [*RUBBISH.values(), b"<Code>" + b"x" * 1000 + b"</Code>"], ids=[*RUBBISH, "long code"])
@pytest.mark.parametrize(
    ("status", "kind"), [(400, StoreError), (403, AccessDenied), (500, StoreError), (503, StoreError)]
)
def test_rubbish_in_an_error_leaves_its_status(body: bytes, status: int, kind: type[Exception]) -> None:
    data = headed(status, {"Date": DATE, "Content-Length": str(len(body))}, body)

    def play(peer: Peer) -> None:
        while asked := peer.request():
            peer.send(data if asked.target == "/bucket/a" else answered(asked, asked.target.encode()))

    with Stage(play) as stage:
        store = wire_store(stage.endpoint)
        error = outcome(VERBS["get"], store)
        assert isinstance(error, kind if b"<Error" not in body else StoreError)
        check_next(store)


ROW = "<Contents><Key>{}</Key><ETag>{}</ETag><Size>{}</Size><LastModified>{}</LastModified></Contents>"
MOMENT = "2026-11-22T20:00:00.000Z"


@pytest.mark.parametrize(
    "row",
    [
        ROW.format("a", "x", "", MOMENT),
        ROW.format("a", "x", "-5", MOMENT),
        ROW.format("a", "x", "1_0", MOMENT),
        ROW.format("a", "x", "\u0665", MOMENT),
        ROW.format("a", "x", "9" * 5000, MOMENT),
        ROW.format("a", "x", "5", ""),
        ROW.format("a", "x", "5", "yesterday"),
        ROW.format("a", "x", "5", "0001-01-01T00:00:00"),
        ROW.format("a", "x", "5", "9999-99-99T00:00:00Z"),
        "<Contents/>",
    ],
    ids=lambda row: row[:60],
)
def test_damaged_rows(row: str) -> None:
    body = f"<ListBucketResult {NAMESPACE.decode()}>{row}</ListBucketResult>".encode()
    with Stage(once(OK + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)) as stage:
        store = wire_store(stage.endpoint)
        assert isinstance(outcome(VERBS["list"], store), StoreUnreachable)
        check_next(store)


def page(rows: str, more: str = "") -> bytes:
    return f"<ListBucketResult {NAMESPACE.decode()}>{rows}{more}</ListBucketResult>".encode()


def test_an_empty_page_that_goes_on_is_passed_over() -> None:
    """As S3 answers where everything of a page was removed; the port's pages go on by their last name."""
    more = "<IsTruncated>true</IsTruncated><NextContinuationToken>t&amp;1</NextContinuationToken>"
    pages = [page("", more), page("", more.replace("1", "2")), page(ROW.format("b", "x", 5, MOMENT))]

    def play(peer: Peer) -> None:
        while asked := peer.request():
            peer.send(answered(asked, pages.pop(0)))

    with Stage(play) as stage:
        rows, is_more = wire_store(stage.endpoint).list("", timeout=LONG)
    assert ([row.object_key for row in rows], is_more) == (["b"], False)
    tokens = [asked.target.partition("continuation-token=")[2].partition("&")[0] for asked in stage.asked]
    assert tokens == ["", "t%261", "t%262"]


def test_empty_pages_without_end() -> None:
    more = "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"

    def play(peer: Peer) -> None:
        while asked := peer.request():
            peer.send(answered(asked, page("", more)))

    with Stage(play) as stage:
        assert isinstance(outcome(VERBS["list"], wire_store(stage.endpoint), SHORT), StoreTimeout)


def test_a_listing_that_is_too_large() -> None:
    data = OK + b"Content-Length: 99999999\r\n\r\n" + b" " * 1000
    chunks = OK + b"Transfer-Encoding: chunked\r\n\r\n" + (b"100000\r\n" + b" " * (1 << 20) + b"\r\n") * 20
    for each in (data, chunks):
        with Stage(once(each)) as stage:
            store = wire_store(stage.endpoint)
            assert isinstance(outcome(VERBS["list"], store), StoreError)
            check_next(store)


# What a server tells


@pytest.mark.parametrize("region", ["evil.example/", "x\xe9", "a b", "A", "x" * 65, "us-east-1"])
def test_regions_that_are_none(region: str) -> None:
    data = headed(400, {"x-amz-bucket-region": region, "Content-Length": "0"})
    with Stage(once(data)) as stage:
        store = wire_store(stage.endpoint)
        assert isinstance(outcome(VERBS["get"], store), StoreRefused)
        check_next(store)
        assert "/us-east-1/s3/aws4_request" in stage.asked[-1].headers["authorization"]


@pytest.mark.parametrize("status", [301, 307, 400])
def test_another_region_is_learned_once(status: int) -> None:
    def play(peer: Peer) -> None:
        while asked := peer.request():
            if "/eu-west-9/" in asked.headers["authorization"]:
                peer.send(answered(asked, asked.target.encode()))
            else:
                peer.send(headed(status, {"x-amz-bucket-region": "eu-west-9", "Content-Length": "0"}))

    with Stage(play) as stage:
        check_next(wire_store(stage.endpoint))
        assert len(stage.asked) == 3


def test_a_server_that_sends_on_and_on_is_followed_once() -> None:
    regions = iter(f"r-{number}" for number in range(100))

    def play(peer: Peer) -> None:
        while peer.request():
            peer.send(headed(301, {"x-amz-bucket-region": next(regions), "Content-Length": "0"}))

    with Stage(play) as stage:
        assert isinstance(outcome(VERBS["get"], wire_store(stage.endpoint)), StoreRefused)
        assert len(stage.asked) == 2


def test_a_404_and_the_look_at_the_bucket_share_one_timeout() -> None:
    def play(peer: Peer) -> None:
        while asked := peer.request():
            if asked.method == "HEAD":
                peer.stage.over.wait()
            peer.send(headed(404, {"Content-Length": "0"}))

    with Stage(play) as stage:
        assert isinstance(outcome(VERBS["get"], wire_store(stage.endpoint), SHORT), StoreTimeout)


def test_missing_things() -> None:
    def play(peer: Peer) -> None:
        while asked := peer.request():
            is_bucket = asked.target == "/bucket"
            peer.send(headed(200, {"Content-Length": "0"}) if is_bucket else refused(asked, 404, "NoSuchKey"))

    with Stage(play) as stage:
        store = wire_store(stage.endpoint)
        assert isinstance(outcome(VERBS["get"], store), NotFound)
        assert isinstance(outcome(VERBS["head"], store), NotFound)
        assert outcome(VERBS["delete"], store) is None
        assert isinstance(outcome(VERBS["list"], store), StoreError)

    def nothing(peer: Peer) -> None:
        while peer.request():
            peer.send(headed(404, {"Content-Length": "0"}))

    with Stage(nothing) as stage:
        assert isinstance(outcome(VERBS["get"], wire_store(stage.endpoint)), BucketMissing)


# Fuzzing

TEMPLATES = [
    HELLO,
    OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" + HELLO,
    b"HTTP/1.1 204 No Content\r\nETag: x\r\n\r\n",
    headed(404, {"Content-Length": "70"}, b"<Error><Code>NoSuchKey</Code><Message>no</Message></Error>".ljust(70)),
    OK.replace(b"200", b"206") + b"Content-Range: bytes 0-4/5\r\nContent-Length: 5\r\n\r\nhello",
    OK
    + b"Content-Length: %d\r\n\r\n" % len(page(ROW.format("a", "x", 5, MOMENT)))
    + page(ROW.format("a", "x", 5, MOMENT)),
]
TOKENS = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b":",
    b"0",
    b"-",
    b"_",
    b"Content-Length: 5\r\n",
    b"\r\n\r\n",
    EVIL,
    b"\xff",
    b"HTTP/1.1 ",
]
EDITS = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 6), st.sampled_from(TOKENS) | st.binary(max_size=4)),
    min_size=1,
    max_size=4,
)


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[Stage]:
    """Give a server that answers what it is told to keys that begin with fuzz-, and all others properly."""

    def play(peer: Peer) -> None:
        while asked := peer.request():
            if "fuzz" in asked.target:
                peer.send(stage.answer)  # type: ignore[attr-defined]
                if stage.closes:  # type: ignore[attr-defined]
                    return
            else:
                peer.send(answered(asked, asked.target.encode()))

    with Stage(play) as stage:
        yield stage


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(
    template=st.sampled_from(TEMPLATES),
    edits=EDITS,
    verb=st.sampled_from(
        ["get", "get pieces", "get_first", "get_range", "head", "put", "delete", "list", "delete_many"]
    ),
)
def test_a_damaged_answer_is_one_answer_or_an_error(fuzzed: Stage, template: bytes, edits: Any, verb: str) -> None:
    data = template
    for place, count, new in edits:
        at = place % (len(data) + 1)
        data = data[:at] + new + data[at + count :]
    fuzzed.answer, fuzzed.closes = data, True  # type: ignore[attr-defined]
    store = wire_store(fuzzed.endpoint, "fuzz")
    outcome(VERBS[verb], store)
    name = hashlib.sha256(data).hexdigest()
    assert body_of(wire_store(fuzzed.endpoint), name) == f"/bucket/{name}".encode()
