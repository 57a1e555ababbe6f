"""Listings of directory buckets, which are S3 Express's: in no order, behind no name, under whole segments only.

By AWS's documentation of ListObjectsV2; no server that can be run here has such buckets.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from scripted_server import Request, ScriptedServer, answer, error

from cloudcached import Client
from cloudcached.config import Config
from cloudcached.entry.keys import Names
from cloudcached.maintenance.purge import Purge, Wanted
from cloudcached.stores.boto3.store import S3Store

BUCKET = "bucket--use1-az4--x-s3"
#: Names to a page: S3 may send fewer than it is asked for.
PAGE = 50
XML = {"Content-Type": "application/xml"}
SESSION = b"""<CreateSessionResult><Credentials><SessionToken>t</SessionToken><SecretAccessKey>s</SecretAccessKey>
<AccessKeyId>a</AccessKeyId><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></CreateSessionResult>"""


class Directory:
    """A bucket that lists as AWS says: a step of the scripted server."""

    def __init__(self) -> None:
        self.names: list[str] = []
        #: What each LIST asked for.
        self.listings: list[dict[str, str]] = []

    def __call__(self, request: Request, connection: socket.socket) -> None:
        query = {name: values[0] for name, values in parse_qs(urlsplit(request.path).query, True).items()}
        if "session" in query:
            step = answer(200, SESSION, XML)
        elif query.get("list-type") == "2":
            self.listings.append(query)
            step = self._listed(query)
        else:
            step = answer(200, headers={"x-amz-meta-any": "thing"})
        step(request, connection)

    def _listed(self, query: dict[str, str]) -> Any:
        prefix = query.get("prefix", "/")
        if "start-after" in query or not prefix.endswith("/"):
            return error(501, "NotImplemented")
        begin = int(query.get("continuation-token", 0))
        found = [name for name in self.names if name.startswith(query.get("prefix", ""))]
        rows = "".join(
            f"<Contents><Key>{name}</Key><LastModified>2026-01-01T00:00:00Z</LastModified><ETag>&quot;e&quot;</ETag>"
            "<Size>1</Size></Contents>"
            for name in found[begin : begin + PAGE]
        )
        end = begin + PAGE
        token = f"<NextContinuationToken>{end}</NextContinuationToken>" if end < len(found) else ""
        more = "true" if token else "false"
        body = f"<ListBucketResult><IsTruncated>{more}</IsTruncated>{token}{rows}</ListBucketResult>"
        return answer(200, body.encode(), XML)


@pytest.fixture
def directory() -> Directory:
    return Directory()


@pytest.fixture
def s3(directory: Directory) -> Iterator[dict[str, str]]:
    """Give the options that lead to the directory."""
    with ScriptedServer() as server:
        server.step = directory
        keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
        yield {"endpoint_url": server.endpoint, **keys}


@pytest.fixture(params=[BUCKET, BUCKET.replace("x-s3", "xa-s3")])
def store(request: pytest.FixtureRequest, s3: dict[str, str]) -> S3Store:
    return S3Store(Config.parse(f"s3://{request.param}", {"s3": s3}))


def fill(directory: Directory, names: list[str]) -> list[str]:
    """Put objects into the bucket; return their names in order."""
    directory.names = random.sample(names, len(names))
    return sorted(names)


def test_pages_are_joined_and_sorted(directory: Directory, store: S3Store) -> None:
    names = fill(directory, [f"p/{number:04}" for number in range(2 * PAGE + 1)])
    rows, more = store.list("p/", timeout=5)
    assert ([row.object_key for row in rows], more) == (names, False)
    assert (rows[0].etag, rows[0].size) == ("e", 1)
    assert [listing.get("continuation-token") for listing in directory.listings] == [None, "50", "100"]
    assert {listing["prefix"] for listing in directory.listings} == {"p/"}


def test_what_lies_behind_a_name(directory: Directory, store: S3Store) -> None:
    names = fill(directory, [f"p/{number:04}" for number in range(2 * PAGE + 1)])
    rows, more = store.list("p/", after="p/0060", timeout=5)
    assert ([row.object_key for row in rows], more) == (names[61:], False)
    assert not any("start-after" in listing for listing in directory.listings)
    assert store.list("p/", after=names[-1], timeout=5) == ([], False)


@pytest.mark.parametrize(
    ("prefix", "sent", "found"),
    [
        ("p/a", "p/", ["p/a", "p/a/1", "p/ab"]),
        ("p/a/", "p/a/", ["p/a/1"]),
        ("p", None, ["p/a", "p/a/1", "p/ab", "p/b", "pq"]),
        ("", None, ["other", "p/a", "p/a/1", "p/ab", "p/b", "pq"]),
    ],
)
def test_only_whole_segments_are_asked_for(
    directory: Directory, store: S3Store, prefix: str, sent: str | None, found: list[str]
) -> None:
    fill(directory, ["p/a", "p/ab", "p/a/1", "p/b", "pq", "other"])
    rows, _ = store.list(prefix, timeout=5)
    assert [row.object_key for row in rows] == found
    assert [listing.get("prefix") for listing in directory.listings] == [sent]


def test_a_cache_of_several_pages_is_listed_and_purged(directory: Directory, s3: dict[str, str]) -> None:
    keys = [f"key {number}" for number in range(3 * PAGE)]
    names = Names("site")
    fill(directory, [*(names.object_key(key)[0] for key in keys), "site/foreign", "other/00/a"])
    client = Client(f"s3://{BUCKET}/site", s3=s3)
    assert sorted(client.keys()) == sorted(keys)
    assert len(directory.listings) == 4
    report = Purge(Config.parse(f"s3://{BUCKET}/site", {"s3": s3}), Wanted(dry_run=True)).run()
    counts = report.counts
    assert (report.stopped, counts.listed, counts.failed, len(directory.listings)) == ("", len(keys), 0, 8)
