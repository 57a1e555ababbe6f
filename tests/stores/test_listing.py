"""Pages of listings: read as botocore reads them, and left to it where they are none."""

from __future__ import annotations

from typing import Any

import botocore.session
import pytest
from botocore.parsers import RestXMLParser

from cloudcached.stores.boto3.listing import read_listing

SPACE = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
ROW = "<Contents><Key>{}</Key><LastModified>{}</LastModified><ETag>&quot;ab&quot;</ETag><Size>7</Size></Contents>"


def read(body: str, status: int = 200) -> tuple[dict[str, Any], bytes]:
    """Return the parsed page, and the body left for botocore."""
    answer = {"status_code": status, "body": body.encode(), "headers": {}}
    customized: dict[str, Any] = {}
    read_listing(answer, customized)
    return customized, answer["body"]


def page(*rows: str, more: str = "", space: str = SPACE) -> str:
    return f"<ListBucketResult{space}><IsTruncated>{bool(more)}</IsTruncated>{''.join(rows)}{more}</ListBucketResult>".replace(
        "True", "true"
    ).replace("False", "false")


@pytest.mark.parametrize("space", [SPACE, ""])
@pytest.mark.parametrize("date", ["2026-11-26T04:11:05.000Z", "2026-11-26T04:11:05Z"])
def test_rows_are_those_that_botocore_reads(space: str, date: str) -> None:
    body = page(ROW.format("a&amp;b/%41 +é", date), ROW.format("~", date), space=space)
    found, left = read(body)
    shape = botocore.session.get_session().get_service_model("s3").operation_model("ListObjectsV2").output_shape
    theirs = RestXMLParser().parse({"status_code": 200, "headers": {}, "body": body.encode()}, shape)
    assert found["Contents"] == theirs["Contents"]
    assert [row["Key"] for row in found["Contents"]] == ["a&b/%41 +é", "~"]
    assert found["IsTruncated"] is theirs["IsTruncated"] is False
    assert RestXMLParser().parse({"status_code": 200, "headers": {}, "body": left}, shape).get("Contents") is None


def test_names_that_are_quoted() -> None:
    body = page(ROW.format("a%2Bb+%0A%C3%A9", "2026-11-26T04:11:05Z"), "<EncodingType>url</EncodingType>")
    assert read(body)[0]["Contents"][0]["Key"] == "a+b+\né"


def test_there_may_be_more() -> None:
    found, _ = read(page(more="<NextContinuationToken>t&amp;</NextContinuationToken>"))
    assert found == {"IsTruncated": True, "NextContinuationToken": "t&"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (page(ROW.format("k", "2026-11-26T04:11:05Z")), 403),
        (page(ROW.format("k", "Thu, 26 Nov 2026 04:11:05 GMT")), 200),
        (page("<Contents><Key>k</Key></Contents>"), 200),
        ("no listing", 200),
        ("", 200),
    ],
)
def test_what_is_left_to_botocore(body: str, status: int) -> None:
    assert read(body, status) == ({}, body.encode())
