"""The XML of S3: errors, listings, DeleteObjects and uploads."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from html import escape  # that of xml.sax brings urllib.request, and so ssl, which gevent wants to patch first
from typing import Final
from urllib.parse import unquote
from xml.etree import ElementTree as ET  # what S3 servers send; expat has bounded entities since 2.4.1

from ...errors import StoreUnreachable
from ..port import Listed

_CODE: Final = re.compile(rb"<Code>([^<]{1,200})</Code>")
_MESSAGE: Final = re.compile(rb"<Message>([^<]{1,2000})</Message>")
_SIZE: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_ERROR: Final = re.compile(rb"<Error[\s>]")


def error_of(body: bytes) -> tuple[str, str]:
    """Return the code and the message of an error; both empty where the body is none."""
    code, message = _CODE.search(body), _MESSAGE.search(body)
    return tuple(found[1].decode("utf-8", "replace") if found else "" for found in (code, message))  # type: ignore[return-value]


def page_of(body: bytes) -> tuple[list[Listed], bool, str]:
    """Return the rows of a listing, whether there are more, and the token by which it goes on.

    Raises ``StoreUnreachable`` for what is not a listing.
    """
    root = _parsed(body)
    space = root.tag[: root.tag.rfind("}") + 1]
    if not root.tag.endswith("ListBucketResult"):
        raise StoreUnreachable(f"not a listing, but {root.tag[:80]}")
    more = root.findtext(f"{space}IsTruncated") == "true"
    return list(_rows(root, space)), more, root.findtext(f"{space}NextContinuationToken") or ""


def _rows(root: ET.Element, space: str) -> Iterator[Listed]:
    is_quoted = root.findtext(f"{space}EncodingType") == "url"
    key, etag, size, modified = (f"{space}{name}" for name in ("Key", "ETag", "Size", "LastModified"))
    try:
        for row in root.iterfind(f"{space}Contents"):
            name = row.findtext(key, "")
            yield Listed(
                unquote(name) if is_quoted else name,
                row.findtext(etag, "").strip('"'),
                _size(row.findtext(size, "")),
                _moment(row.findtext(modified, "")),
            )
    except (ValueError, OverflowError) as error:
        raise StoreUnreachable(f"a row of a listing is damaged: {error}") from error


def _size(text: str) -> int:
    if _SIZE.fullmatch(text) is None:
        raise ValueError(f"the size {text[:40]!r}")
    return int(text)


@lru_cache(1024)  # rows were often written in the same second
def _moment(text: str) -> float:
    return dt.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def delete_request(object_keys: Iterable[str]) -> bytes:
    """Return the body of DeleteObjects."""
    rows = "".join([f"<Object><Key>{_escaped(name)}</Key></Object>" for name in object_keys])
    return f'<Delete xmlns="{_NAMESPACE}">{rows}<Quiet>true</Quiet></Delete>'.encode()


_NAMESPACE: Final = "http://s3.amazonaws.com/doc/2006-03-01/"


def _escaped(text: str) -> str:
    # A line break as itself would come out as another one.
    return escape(text).replace("\r", "&#13;").replace("\n", "&#10;")


def delete_errors(body: bytes) -> list[tuple[str, str, str]]:
    """Return key, code and message of each object that DeleteObjects has left.

    Raises ``StoreUnreachable`` for what is not its answer: nothing may count as removed by it.
    """
    root = _parsed(body)
    if not root.tag.endswith("DeleteResult"):
        raise StoreUnreachable(f"not an answer to DeleteObjects, but {root.tag[:80]}")
    space = root.tag[: root.tag.rfind("}") + 1]
    fields = [f"{space}{name}" for name in ("Key", "Code", "Message")]
    return [tuple(row.findtext(name, "") for name in fields) for row in root.iterfind(f"{space}Error")]  # type: ignore[misc]


def complete_request(etags: Sequence[str]) -> bytes:
    """Return the body that makes an object of its parts."""
    parts = "".join(
        [
            f"<Part><PartNumber>{number}</PartNumber><ETag>&quot;{_escaped(etag)}&quot;</ETag></Part>"
            for number, etag in enumerate(etags, 1)
        ]
    )
    return f'<CompleteMultipartUpload xmlns="{_NAMESPACE}">{parts}</CompleteMultipartUpload>'.encode()


def upload_id(body: bytes) -> str:
    """Return the id of an upload that was begun. Raises ``StoreUnreachable`` where there is none."""
    root = _parsed(body)
    found = root.findtext(f"{root.tag[: root.tag.rfind('}') + 1]}UploadId")
    if not found:
        raise StoreUnreachable("an upload without an id")
    return found


def check_completed(body: bytes) -> None:
    """Raise ``StoreUnreachable`` for what is not the answer to a completed upload."""
    root = _parsed(body)
    if not root.tag.endswith("CompleteMultipartUploadResult"):
        raise StoreUnreachable(f"not a completed upload, but {root.tag[:80]}")


def is_error(body: bytes) -> bool:
    """Return whether a body with the status 200 is an error all the same: S3 answers some requests before they fail."""
    return _ERROR.search(body) is not None


def _parsed(body: bytes) -> ET.Element:
    try:
        return ET.fromstring(body)  # noqa: S314 - as above
    except (ET.ParseError, ValueError, LookupError) as error:  # the last two: encodings that there are not
        raise StoreUnreachable(f"the answer is not XML: {error}") from error
