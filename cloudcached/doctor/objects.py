"""Probes of single objects: whether the store accepts them, returns them unchanged, lists them and removes them."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from email.utils import parsedate_to_datetime
from typing import Final

from ..errors import AccessDenied, StoreError
from ..stores.port import Write
from .probe import NOT_FOUND, Outcome, no, probe, refused, yes
from .site import Site

#: Seconds. A larger difference between clocks shortens or lengthens the life of entries noticeably.
_SKEW_LIMIT: Final = 5.0
#: Seconds. AWS refuses signatures that are older.
_SIGNATURE_LIMIT: Final = 900.0


@probe("contact", "The bucket accepts objects")
def contact(site: Site) -> Outcome:
    """Test whether a first PUT is done, and if not, why."""
    try:
        reply = site.ask("put_object", Key=site.name("contact"), Body=b"contact")
        if not reply.ok:
            raise reply.error("put")
    except AccessDenied as error:
        return _without_writing(site, error)
    except StoreError as error:
        return no(f"{type(error).__name__}: {error}", "problem")
    if not reply.data.get("ETag"):
        return no("the answer has no ETag", "problem", "no S3 store is behind this endpoint; correct it")
    return yes(f"PUT answered {reply.label}")


def _without_writing(site: Site, error: AccessDenied) -> Outcome:
    """Distinguish credentials that may only read from those that may do nothing."""
    try:
        reply = site.ask("head_object", Key=site.name("missing"))
    except StoreError:
        reply = None
    if reply is not None and reply.status == NOT_FOUND and reply.code != "NoSuchBucket":
        return Outcome("refused", f"PUT is denied, HEAD is not: {error}", "problem", "allow s3:PutObject to write")
    return no(f"AccessDenied: {error}", "problem")


@probe("metadata", "Names, bodies and metadata come back unchanged")
def metadata(site: Site) -> Outcome:
    """Write an object with an odd name and nearly 2 KB of metadata as the client does; read it by both transports."""
    signs = "!\"#$%&'()*+,-./0:;<=>?@A[]^_`a{|}~"
    wanted = {"cc-format": "1", "cc-signs": f"{signs} {signs}", "cc-recent": "start " + " ".join(["nonce-67890"] * 140)}
    name, body = site.name("odd%2Fname!*'():,=@~"), bytes(range(256))
    site.store.put(Write(name, body, wanted), timeout=site.config.timeout)
    for store in (site.store, site.by_boto3):
        found = store.get(name, timeout=site.config.timeout)
        if found.read() != body:
            return no("a different body came back", "problem", "no entry can be read: do not use this store")
        changed = sorted(key for key in wanted if found.head.metadata.get(key) != wanted[key])
        if changed:
            return no(
                f"{', '.join(changed)} came back changed", "problem", "no entry can be read: do not use this store"
            )
    return yes(f"{sum(len(key) + len(value) for key, value in wanted.items()):,} bytes of metadata")


@probe("missing-key", "A missing object is a 404")
def missing_key(site: Site) -> Outcome:
    """Test whether the store's answer tells a missing object from denied access."""
    reply = site.ask("head_object", Key=site.name("missing"))
    if reply.status == NOT_FOUND:
        return yes(f"answered {reply.status}")
    return refused(reply, "problem", "s3:ListBucket", "a miss cannot be told from an error")


@probe("list", "LIST shows what was written")
def list_objects(site: Site) -> Outcome:
    """Test whether the bucket may be listed, and whether a new object is listed at once."""
    name, _ = site.write("listed", b"listed")
    reply = site.ask("list_objects_v2", Prefix=name)
    if not reply.ok:
        return refused(reply, "problem", "s3:ListBucket", "clear, keys and purge list the bucket")
    if [row["Key"] for row in reply.data.get("Contents", ())] == [name]:
        return yes("at once")
    return no("a new object is not listed yet", "warning", "clear and keys may miss entries that were just written")


@probe("delete", "A removed object is gone")
def delete(site: Site) -> Outcome:
    """Test whether DELETE removes an object, and at once."""
    name, _ = site.write("doomed", b"doomed")
    reply = site.ask("delete_object", Key=name)
    if not reply.ok:
        return refused(reply, "problem", "s3:DeleteObject")
    if site.body(name) is None:
        return yes("at once")
    return no("the object is still there afterwards", "problem", "removed entries come back for a while")


@probe("delete-objects", "DeleteObjects removes many at once")
def delete_objects(site: Site) -> Outcome:
    """Test whether the store supports the bulk request."""
    names = [site.write("doomed", b"doomed")[0] for _ in range(2)]
    reply = site.ask("delete_objects", Delete={"Objects": [{"Key": name} for name in names], "Quiet": True})
    if not reply.ok:
        return refused(reply, "problem", "s3:DeleteObject", "clear and delete_many cannot work here")
    if any(site.body(name) is not None for name in names):
        return no("objects are still there afterwards", "problem", "clear and delete_many cannot work here")
    return yes("done")


@probe("etag", "The ETag is the MD5 of the body")
def etag(site: Site) -> Outcome:
    """Test whether the answer to a PUT shows which bytes have arrived."""
    body = b"what the ETag is made of"
    _, found = site.write("etag", body)
    if found == hashlib.md5(body, usedforsecurity=False).hexdigest():
        return yes("it is")
    return no("it is not", "note", "writes cannot be checked by it; every read still verifies the entry's seal")


@probe("content-md5", "A PUT with a wrong Content-MD5 is refused")
def content_md5(site: Site) -> Outcome:
    """Test whether the store checks the bytes that arrive."""
    wrong = b64encode(hashlib.md5(b"another body", usedforsecurity=False).digest()).decode()
    reply = site.ask("put_object", Key=site.name("md5"), Body=b"body", ContentMD5=wrong)
    if reply.ok:
        return no("stored", "note", "damage in transit is noticed when the entry is read, not when it is written")
    return yes(f"answered {reply.label}")


@probe("clock", "The store's clock and this machine's agree")
def clock(site: Site) -> Outcome:
    """Compare the ``Date`` of an answer with the local time and with the object's ``LastModified``."""
    name, _ = site.write("clock", b"clock")
    before = site.clock.time()
    reply = site.must("head_object", Key=name)
    local = (before + site.clock.time()) / 2
    date, modified = reply.headers.get("date"), reply.data.get("LastModified")
    if not date or modified is None:
        return no("answers carry no date", "warning", "leases of locks cannot end by the store's clock")
    server = parsedate_to_datetime(date).timestamp() + 0.5  # the header is cut to whole seconds
    figures = {"skew_s": round(server - local, 1) + 0.0, "age_s": server - modified.timestamp()}
    if abs(figures["age_s"]) > _SKEW_LIMIT:
        text = f"a new object is {figures['age_s']:.0f} s old by the store's own clock"
        return no(text, "warning", "leases of locks end early or late", figures=figures)
    if abs(figures["skew_s"]) > _SKEW_LIMIT:
        text = f"the clocks differ by {figures['skew_s']:+.0f} s"
        advice = "set this machine's clock: entries expire by it" + (
            ", and AWS refuses requests that are 15 minutes off" if abs(figures["skew_s"]) > _SIGNATURE_LIMIT else ""
        )
        return no(text, "warning", advice, figures=figures)
    return yes(f"within {max(1.0, abs(figures['skew_s'])):.0f} s", figures=figures)
