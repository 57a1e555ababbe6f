"""Parses listings faster than botocore, which takes some 100 microseconds for each row, most of them for its date."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote
from xml.etree import ElementTree as ET  # as botocore does, from the same servers

#: The body that botocore gets to parse instead.
_NOTHING: Final = b"<ListBucketResult/>"


def read_listing(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """Parse a page before botocore does, into botocore's form, as far as the library needs it.

    Errors, and pages that are not listings or have dates of another form, are left to botocore.
    """
    if response_dict["status_code"] != HTTPStatus.OK:
        return
    try:
        root = ET.fromstring(response_dict["body"])  # noqa: S314
        space = root.tag[: root.tag.rfind("}") + 1]
        rows = list(_rows(root, space))
    except (ET.ParseError, ValueError, TypeError):
        return
    answer = customized_response_dict
    answer["IsTruncated"] = root.findtext(f"{space}IsTruncated") == "true"
    token = root.findtext(f"{space}NextContinuationToken")
    if token:
        answer["NextContinuationToken"] = token
    if rows:
        answer["Contents"] = rows
    response_dict["body"] = _NOTHING


def _rows(root: ET.Element, space: str) -> Iterator[dict[str, Any]]:
    is_quoted = root.findtext(f"{space}EncodingType") == "url"
    key, etag, size, modified = (f"{space}{name}" for name in ("Key", "ETag", "Size", "LastModified"))
    for row in root.iterfind(f"{space}Contents"):
        name = row.findtext(key, "")
        yield {
            "Key": unquote(name) if is_quoted else name,
            "LastModified": dt.datetime.fromisoformat(row.findtext(modified, "").replace("Z", "+00:00")),
            "ETag": row.findtext(etag, ""),
            "Size": int(row.findtext(size, "")),
        }
