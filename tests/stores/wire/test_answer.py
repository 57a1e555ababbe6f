"""Answers read from bytes: what is refused, and that it does not matter in which pieces they come."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cloudcached.stores.wire.answer import HEAD_LIMIT, HEADERS_LIMIT, Bad, Chunks, Head, head_end, parse_head

OK = b"HTTP/1.1 200 OK\r\n"


def parsed(data: bytes, method: str = "GET") -> Head:
    end = head_end(data)
    assert end
    return parse_head(data, end, method)


def test_a_head() -> None:
    head = parsed(OK + b'Content-Length: 5\r\nETag:"a"\r\nX-Empty:\r\nx-BLANKS: \t a  b \t\r\n\r\nhello')
    assert head == Head(200, {"content-length": "5", "etag": '"a"', "x-empty": "", "x-blanks": "a  b"}, 5, False, True)


BAD = [
    b"HTTP/1.1\r\n",
    b"HTTP/1.1 200OK\r\n",
    b"HTTP/1.1  200 OK\r\n",
    b"HTTP/1.1 20 OK\r\n",
    b"HTTP/1.1 2000 OK\r\n",
    b"HTTP/1.1 099 OK\r\n",
    b"HTTP/1.1 -20 OK\r\n",
    b"HTTP/1.1 2\xb20 OK\r\n",
    b"HTTP/2 200\r\n",
    b"HTTP/2.0 200 OK\r\n",
    b"HTTP/0.9 200 OK\r\n",
    b"http/1.1 200 OK\r\n",
    b" HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 200 O\0K\r\n",
    b"HTTP/1.1 200 O\rK\r\n",
    b"HTTP/1.1 200 OK\nA: b\r\n",
    b"ICY 200 OK\r\n",
    b"SSH-2.0-OpenSSH_9.9\r\n",
    b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x80\x00\x04\x00\x01\x00\x00\r\n",
    OK + b"A\r\n",
    OK + b": b\r\n",
    OK + b"A : b\r\n",
    OK + b"A\t: b\r\n",
    OK + b"A: b\r\n folded\r\n",
    OK + b" A: b\r\n",
    OK + b"\tA: b\r\n",
    OK + b"A(b): c\r\n",
    OK + b"A\xe9: c\r\n",
    OK + b"A: b\nB: c\r\n",
    OK + b"A: b\rB: c\r\n",
    OK + b"A: b\0\r\n",
    OK + b"A\0: b\r\n",
    *(
        OK + b"Content-Length: " + length + b"\r\n"
        for length in (b"", b"-1", b"+1", b"1_0", b"0x5", b"5,5", b"5 5", b"5;", b"1e3", b"5.0", b"\xb2", b"9" * 19)
    ),
    OK + b"Content-Length: 5\r\nContent-Length: 6\r\n",
    OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    OK + b'ETag: "a"\r\nETag: "b"\r\n',
    OK + b"Content-Range: bytes 0-1/2\r\nContent-Range: bytes 0-1/3\r\n",
    OK + b"x-amz-meta-a: 1\r\nX-Amz-Meta-A: 2\r\n",
    OK + b"A: b\r\n" * (HEADERS_LIMIT + 1),
]
CODINGS = [
    OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    *(
        OK + b"Transfer-Encoding: " + coding + b"\r\n"
        for coding in (b"gzip", b"gzip, chunked", b"chunked, gzip", b"chunked, chunked", b"identity", b"xchunked", b"")
    ),
]


@pytest.mark.parametrize("data", [*BAD, *CODINGS], ids=lambda data: ascii(data[:60])[2:-1])
def test_what_is_not_plain_http_1_1_is_refused(data: bytes) -> None:
    with pytest.raises(Bad):
        parsed(data + b"\r\n")


@pytest.mark.parametrize("data", BAD, ids=lambda data: ascii(data[:60])[2:-1])
def test_without_a_body_too(data: bytes) -> None:
    with pytest.raises(Bad):
        parsed(data + b"\r\n", "HEAD")


def test_what_is_harmless_is_read() -> None:
    """Two equal lengths or ETags are one, and other headers may come twice; obs-text is text."""
    head = parsed(
        OK + b'Content-Length: 5\r\ncontent-length: 5\r\nETag: "a"\r\nETag: "a"\r\nVary: a\r\nVary: b\xe9\r\n\r\n'
    )
    assert head.headers == {"content-length": "5", "etag": '"a"', "vary": "a, b\xe9"}
    assert parsed(b"HTTP/1.1 200\r\n\r\n").status == 200
    assert parsed(b"HTTP/1.1 299 \xe9\x85\x0b\r\nA: \x85\x0b\x0c\x1c\r\n\r\n").headers == {"a": "\x85\x0b\x0c\x1c"}


@pytest.mark.parametrize(
    ("method", "answer", "length", "stays"),
    [
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", 5, True),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: Keep-Alive\r\n", 5, True),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: foo, Close\r\n", 5, False),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: foo\r\nConnection: close\r\n", 5, False),
        ("GET", b"HTTP/1.1 200 OK\r\n", None, False),
        ("GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n", None, True),
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", 0, True),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", 0, True),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n", 0, True),
        ("DELETE", b"HTTP/1.1 204 No Content\r\n", 0, True),
        ("DELETE", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n", 0, True),
        # Its body may still come, and must not be the next answer.
        ("DELETE", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n", 0, False),
        ("DELETE", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n", 0, False),
        ("GET", b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n", 5, False),
        ("GET", b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n", 5, True),
        ("GET", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n", None, False),
    ],
)
def test_where_an_answer_ends(method: str, answer: bytes, length: int | None, stays: bool) -> None:
    head = parsed(answer + b"\r\n", method)
    assert (head.length, head.stays) == (length, stays)


def test_a_head_is_bounded() -> None:
    line = b"A: " + b"b" * (HEAD_LIMIT - len(OK) - 7)
    fits = OK + line + b"\r\n\r\n"
    assert len(fits) == HEAD_LIMIT
    assert head_end(fits) == HEAD_LIMIT
    assert head_end(fits[:-1]) == 0
    with pytest.raises(Bad, match="65,536"):
        head_end(OK + b"b" + line + b"\r\n\r\n")
    with pytest.raises(Bad):
        head_end(b"x" * HEAD_LIMIT)


# Chunks


def fed(*pieces: bytes) -> tuple[bytes, bytes | None] | str:
    """Return the body and what follows it, or "bad"; ``None``: it has not ended."""
    chunks = Chunks()
    body = bytearray()
    try:
        for number, piece in enumerate(pieces):
            for found in chunks.feed(piece):
                body += found
            if chunks.done:
                assert chunks.rest is not None
                return bytes(body), chunks.rest + b"".join(pieces[number + 1 :])
    except Bad:
        return "bad"
    return bytes(body), None


@pytest.mark.parametrize(
    ("data", "result"),
    [
        (b"0\r\n\r\n", (b"", b"")),
        (b"5\r\nhello\r\n0\r\n\r\n", (b"hello", b"")),
        (b"2\r\nhe\r\n03\r\nllo\r\n000\r\n\r\nHTTP/1.1", (b"hello", b"HTTP/1.1")),
        (b'5;a=b; c="d"\r\nhello\r\n0;e\r\nX-Trailer: 1\r\nY: 2\r\n\r\n', (b"hello", b"")),
        (b"5 \t\r\nhello\r\n0\r\n\r\n", (b"hello", b"")),
        (b"5\r\nhel", (b"hel", None)),
        (b"A\r\n0123456789\r\n0\r\nX: y\r\n", (b"0123456789", None)),
        *(
            (size + b"\r\nhello\r\n0\r\n\r\n", "bad")
            for size in (
                b"",
                b"-5",
                b"+5",
                b"0x5",
                b"5_0",
                b" 5",
                b"5 5",
                b"g",
                b"\xb2",
                b"1" * 16,
                b"5\r",
                b"5\0",
                b"5;\0",
            )
        ),
        (b"5\nhello\n0\n\n", (b"", None)),
        (b"5\r\nhello!\r\n0\r\n\r\n", "bad"),
        (b"6\r\nhello\r\n0\r\n\r\n", "bad"),
        (b"5\r\nhello0\r\n\r\n", "bad"),
        (b"5;" + b"x" * 5000, "bad"),
        (b"0\r\n" + b"X: y\r\n" * 5000, "bad"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_chunks(data: bytes, result: object) -> None:
    assert fed(data) == result


PLAUSIBLE = st.lists(
    st.sampled_from([b"\r\n", b"\n", b"\r", b"0", b"5", b"a", b"hello", b";x", b" ", b"-", b"_", b"X: y", b"\0"])
    | st.binary(max_size=3),
    max_size=30,
).map(b"".join)
CUTS = st.lists(st.integers(0, 80), max_size=8)


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(min(each, len(data)) for each in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


@given(data=PLAUSIBLE | st.just(b"5\r\nhello\r\n0\r\nX: y\r\n\r\nmore"), cuts=CUTS)
@example(b"5;" + b"x" * 4094 + b"\r\nhello\r\n0\r\n\r\n", [4097])
def test_pieces_do_not_change_what_chunks_mean(data: bytes, cuts: list[int]) -> None:
    if cuts == [4097]:  # a line of the greatest length, of whose end half has come
        assert fed(data[:4097], data[4097:]) == fed(data) == (b"hello", b"")
    assert fed(*cut(data, cuts)) == fed(data)
    assert fed(*(data[at : at + 1] for at in range(len(data)))) == fed(data)


LINES = st.lists(
    st.sampled_from(
        [
            b"HTTP/1.1 200 OK",
            b"Content-Length: 5",
            b"Transfer-Encoding: chunked",
            b"ETag: x",
            b"",
            b" x",
            b"A : b",
            b"\xe9",
        ]
    )
    | st.binary(max_size=12),
    max_size=8,
).map(lambda lines: b"\r\n".join([b"HTTP/1.1 200 OK", *lines, b"", b""]))


@given(
    data=LINES | st.binary(max_size=60).map(lambda data: data + b"\r\n\r\n"), method=st.sampled_from(["GET", "HEAD"])
)
def test_any_head_is_read_or_refused(data: bytes, method: str) -> None:
    end = head_end(data)
    assert end > 0
    assert data[:end].endswith(b"\r\n\r\n")
    # Byte by byte it ends at the same place.
    assert next(at for at in range(len(data) + 1) if head_end(data[:at])) == end
    assert head_end(data[: end - 1]) == 0
    try:
        head = parse_head(data, end, method)
    except Bad:
        return
    assert 100 <= head.status <= 999
    assert head.length is None or 0 <= head.length < 10**18
    for name, value in head.headers.items():
        assert name == name.lower()
        assert name.isascii()
        assert not set("\r\n\0") & set(name + value)
    # Bytes behind it change nothing.
    assert parse_head(data + b"more", end, method) == head
