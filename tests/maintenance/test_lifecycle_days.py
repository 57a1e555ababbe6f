"""What a store does by our lifecycle rules, where its days are seconds (``S3_LC_DAY=5 tests/support/ceph-s3 start DIR PORT``)."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cloudcached import Client
from cloudcached.config import Config
from cloudcached.entry.expiry import DAY_SECONDS as DAY
from cloudcached.entry.keys import Names
from cloudcached.maintenance.lifecycle import Lifecycle

SHORT_DAY = float(os.environ.get("CLOUDCACHED_TEST_LC_DAY") or 0)
LOGS = {"ID": "logs", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 1000}}

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif(
        not SHORT_DAY, reason="needs a gateway with short lifecycle days (CLOUDCACHED_TEST_LC_DAY=5, seconds)"
    ),
]


def names_under(server: Any, prefix: str) -> set[str]:
    pages = server.client().get_paginator("list_objects_v2").paginate(Bucket=server.bucket, Prefix=prefix)
    return {row["Key"] for page in pages for row in page.get("Contents", ())}


def wait_until_gone(server: Any, prefix: str, doomed: set[str]) -> None:
    """Wait for the lifecycle of a store whose days are seconds, and for one day more."""
    wait_for(lambda: not names_under(server, prefix) & doomed)
    time.sleep(SHORT_DAY)


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until *condition* holds, for 20 days."""
    end = time.monotonic() + 20 * SHORT_DAY
    while not condition():
        assert time.monotonic() < end
        time.sleep(SHORT_DAY / 5)


def uploads_under(server: Any, prefix: str) -> list[str]:
    answer = server.client().list_multipart_uploads(Bucket=server.bucket, Prefix=prefix)
    return [upload["Key"] for upload in answer.get("Uploads", ())]


def foreign_beside(server: Any, prefix: str) -> set[str]:
    """Write what is no entry of the cache under *prefix*, and return the names."""
    names = {f"{prefix}{name}" for name in ("/data/x", "/0", "/ab", "/00x", "/cafe/00/x", "/sub/00/x", "-other/00/x")}
    for name in names:
        server.client().put_object(Bucket=server.bucket, Key=name, Body=b"foreign")
    return names


def test_by_class_the_store_removes_what_has_expired_and_nothing_else(server: Any, s3_url: str) -> None:
    """Those of the class of a day go; a month and more, never, locks and all that is foreign stay."""
    prefix = s3_url.rpartition("/")[2]
    server.client().put_bucket_lifecycle_configuration(Bucket=server.bucket, LifecycleConfiguration={"Rules": [LOGS]})
    lifecycle = Lifecycle(Config.parse(s3_url, {}))
    try:
        with Client(s3_url, expiry_tags=True) as client:
            gone, stay = write_tagged(client), {"month", "never", "persisted", "touched", "updated", "cas", "counter"}
            with client.lock("held"):
                pass
            doomed, left = ({client.engine.place(key).object_key for key in keys} for keys in (gone, stay))
            left |= foreign_beside(server, prefix) | {f"{prefix}/_cloudcached/lock/held"}
            uploads = [
                server.client().create_multipart_upload(Bucket=server.bucket, Key=key)["Key"]
                for key in (f"{prefix}/00/unfinished", f"{prefix}-other/00/unfinished")
            ]
            lifecycle.apply(tags=True, max_age_days=None)
            assert names_under(server, prefix) == doomed | left
            wait_until_gone(server, prefix, doomed)
            assert names_under(server, prefix) == left
            assert set(client.keys()) == stay
        wait_for(lambda: uploads_under(server, prefix) == uploads[1:])
        assert [rule["ID"] for rule in lifecycle._read()["Rules"] if "cloudcached" not in rule["ID"]] == ["logs"]
        lifecycle.remove()
        assert [rule["ID"] for rule in lifecycle._read()["Rules"]] == ["logs"]
    finally:
        server.client().delete_bucket_lifecycle(Bucket=server.bucket)


def test_by_age_the_store_removes_entries_and_nothing_else(server: Any, s3_url: str) -> None:
    """All entries go; locks, and whatever lies beside the segments of entries, stay.

    Ceph works on a bucket for a day at most, and takes 0.2 s for a rule: within 5 s it comes as far as the first ones.
    """
    prefix = s3_url.rpartition("/")[2]
    lifecycle = Lifecycle(Config.parse(s3_url, {}))
    names = Names(prefix)
    keys = [key for key in map(str, range(500)) if names.object_key(key)[0][len(names.root) :] < "06/"]
    assert len(keys) >= 5
    try:
        with Client(s3_url, max_age_days=20) as client:
            client.put_many(dict.fromkeys(keys, 1), 15 * DAY)
            with client.lock("held"):
                pass
            left = foreign_beside(server, prefix) | {f"{prefix}/_cloudcached/lock/held"}
            lifecycle.apply(tags=False, max_age_days=2)
            doomed = {client.engine.place(key).object_key for key in keys}
            assert names_under(server, prefix) == doomed | left
            wait_until_gone(server, prefix, doomed)
            assert names_under(server, prefix) == left
    finally:
        server.client().delete_bucket_lifecycle(Bucket=server.bucket)


def write_tagged(client: Client) -> set[str]:
    """Write entries of all kinds; return the keys of those whose class is a day."""
    client.put_many({"day": 1, "hour": 2, "kept by incr": 1, "shortened": 1}, 3600)
    client.put("month", 1, 20 * DAY)
    client.put_many({"never": 1, "shortened": 1}, None, replace=True)
    client.put_many({"persisted": 1, "touched": 1, "updated": 1, "cas": 1, "counter": 1}, 60)
    client.persist("persisted")
    client.touch("touched", 200 * DAY)
    client.update("updated", 2, 40 * DAY)
    client.cas("cas", 2, client.gets("cas")[1], 40 * DAY)
    client.expire_at("counter", time.time() + 40 * DAY)
    client.incr("counter")
    client.incr("kept by incr")
    client.touch("shortened", 60)
    return {"day", "hour", "kept by incr", "shortened"}


@pytest.fixture
def versioned(server: Any) -> Iterator[str]:
    """Give a bucket that keeps old versions."""
    s3, bucket = server.client(), f"cloudcached-versions-{uuid.uuid4().hex[:8]}"
    s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    yield bucket
    s3.delete_bucket_lifecycle(Bucket=bucket)
    for kind, version, _ in versions_in(server, bucket):
        s3.delete_object(Bucket=bucket, Key=kind, VersionId=version)
    s3.delete_bucket(Bucket=bucket)


def versions_in(server: Any, bucket: str) -> list[tuple[str, str, bool]]:
    """Return each version and delete marker: its object, its name, and whether it is the last one."""
    found = server.client().list_object_versions(Bucket=bucket)
    rows = [*found.get("Versions", ()), *found.get("DeleteMarkers", ())]
    return [(row["Key"], row["VersionId"], row["IsLatest"]) for row in rows]


def test_old_versions_go_and_the_last_ones_stay(server: Any, versioned: str, s3_url: str) -> None:
    """Of overwritten entries, and of removed ones; what is foreign keeps all of its versions."""
    lifecycle = Lifecycle(Config.parse(f"s3://{versioned}/p", {}))
    names = Names("p")
    key, removed = [key for key in map(str, range(2000)) if names.object_key(key)[0] < "p/04"][:2]
    with Client(f"s3://{versioned}/p", expiry_tags=True) as client:
        for number in range(3):
            client.put(key, number, None, replace=True)
        client.put(removed, 1, None)
        client.delete(removed)
        for _ in range(2):
            server.client().put_object(Bucket=versioned, Key="p/data/x", Body=b"foreign")
        assert len(versions_in(server, versioned)) == 3 + 2 + 2
        lifecycle.apply(tags=True, max_age_days=None)
        last = names.object_key(key)[0]
        wait_for(lambda: [name for name, _, _ in versions_in(server, versioned) if name == last] == [last])
        assert client.get(key) == 2
        wait_for(lambda: not any(name == names.object_key(removed)[0] for name, _, _ in versions_in(server, versioned)))
        assert len(versions_in(server, versioned)) == 1 + 2
