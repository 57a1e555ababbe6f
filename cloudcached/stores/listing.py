"""Listings, read by themselves: botocore takes some 150 microseconds for each row, most of them for its date."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote
from xml.etree import ElementTree as ET  # as botocore does, from the same servers

from .base import Listed

#: Under which name a page's rows stand in the answer.
ROWS: Final = "Rows"
#: What botocore gets to read instead.
_NOTHING: Final = b"<ListBucketResult/>"


def read_listing(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """Read a page for botocore, before it does. What is no listing is left to it, and so is an error."""
    if response_dict["status_code"] != HTTPStatus.OK:
        return
    try:
        root = ET.fromstring(response_dict["body"])  # noqa: S314
        space = root.tag[: root.tag.rfind("}") + 1]
        rows = list(_rows(root, space))
    except (ET.ParseError, ValueError, TypeError):
        return
    customized_response_dict[ROWS] = rows
    customized_response_dict["IsTruncated"] = root.findtext(f"{space}IsTruncated") == "true"
    token = root.findtext(f"{space}NextContinuationToken")
    if token:
        customized_response_dict["NextContinuationToken"] = token
    response_dict["body"] = _NOTHING


def _rows(root: ET.Element, space: str) -> Iterator[Listed]:
    is_quoted = root.findtext(f"{space}EncodingType") == "url"
    key, etag, size, modified = (f"{space}{name}" for name in ("Key", "ETag", "Size", "LastModified"))
    for row in root.iterfind(f"{space}Contents"):
        name = row.findtext(key, "")
        date = dt.datetime.fromisoformat(row.findtext(modified, "").replace("Z", "+00:00"))
        yield Listed(
            unquote(name) if is_quoted else name,
            row.findtext(etag, "").strip('"'),
            int(row.findtext(size, "")),
            date.timestamp(),
        )
