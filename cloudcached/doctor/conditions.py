"""Whether conditions of writes and removals are honoured, by one caller at a time."""

from __future__ import annotations

import datetime as dt

from ..stores.conditions import IMPOSSIBLE
from .probe import NOT_FOUND, PRECONDITION_FAILED, Seen, no, probe, refused, unsure, yes
from .site import Reply, Site

_NO_CONDITIONS = (
    "what coordinates several callers is refused by the client, or races where it is told to"
    ' (conditional_writes="best_effort")'
)


@probe("put-if-absent", "PUT If-None-Match: * over an object is refused")
def put_if_absent(site: Site) -> Seen:
    """Tell whether a write that wants nothing there is refused over something."""
    name = site.name("absent")
    first = site.ask("put_object", Key=name, Body=b"first", IfNoneMatch="*")
    if not first.ok:
        return refused(first, "problem", "s3:PutObject", _NO_CONDITIONS)
    return _judged(site.ask("put_object", Key=name, Body=b"second", IfNoneMatch="*"))


@probe("if-match", "PUT If-Match, the ETag without quotes, as the client sends it")
def if_match(site: Site) -> Seen:
    """Tell whether the right ETag is let through and a wrong one is not."""
    name, etag = site.write("match", b"first")
    right = site.ask("put_object", Key=name, Body=b"second", IfMatch=etag)
    if right.status == PRECONDITION_FAILED:
        return Seen("refused", f"the right ETag answered {right.label}", "problem", _NO_CONDITIONS)
    if not right.ok:
        return refused(right, "problem", "s3:PutObject", _NO_CONDITIONS)
    return _judged(site.ask("put_object", Key=name, Body=b"third", IfMatch=IMPOSSIBLE.etag))


@probe("if-match-quoted", "PUT If-Match, the ETag in quotes")
def if_match_quoted(site: Site) -> Seen:
    """Tell whether the form of the HTTP standard is understood; the client does not send it."""
    name, etag = site.write("quoted", b"first")
    reply = site.ask("put_object", Key=name, Body=b"second", IfMatch=f'"{etag}"')
    if reply.ok:
        wrong = site.ask("put_object", Key=name, Body=b"third", IfMatch=f'"{IMPOSSIBLE.etag}"')
        return no("ignored", "note") if wrong.ok else yes(f"answered {wrong.label}")
    return no(f"the right ETag answered {reply.label}", "note", "other clients may fail here; this one sends no quotes")


@probe("if-match-missing", "PUT If-Match where there is no object is refused")
def if_match_missing(site: Site) -> Seen:
    """Ask what the client itself asks where it probes."""
    return _judged(site.ask("put_object", Key=site.name("none"), Body=b"first", IfMatch=IMPOSSIBLE.etag))


def _judged(reply: Reply) -> Seen:
    """Return what the answer to a conditional write means that must not be done."""
    if reply.ok:
        return no(f"ignored: answered {reply.label} and wrote", "problem", _NO_CONDITIONS)
    if reply.status in (PRECONDITION_FAILED, NOT_FOUND):
        return yes(f"answered {reply.label}")
    return refused(reply, "problem", "s3:PutObject", _NO_CONDITIONS)


_NO_CONDITIONAL_DELETE = (
    "without it, or Ceph's own condition, purge cannot tell an expired entry from one rewritten meanwhile:"
    " prefer lifecycle rules"
)


@probe("delete-if-match", "DELETE If-Match")
def delete_if_match(site: Site) -> Seen:
    """Tell whether a wrong ETag keeps an object, and the right one does not."""
    name, etag = site.write("delete", b"kept")
    reply = site.ask("delete_object", Key=name, IfMatch=IMPOSSIBLE.etag)
    if site.body(name) is None:
        return no(f"ignored: answered {reply.label} and removed", "note", _NO_CONDITIONAL_DELETE)
    if reply.status != PRECONDITION_FAILED:
        return refused(reply, "note", "s3:DeleteObject", _NO_CONDITIONAL_DELETE)
    right = site.ask("delete_object", Key=name, IfMatch=etag)
    if site.body(name) is None:
        return yes(f"answered {reply.label}")
    return no(f"the right ETag answered {right.label} too", "note", _NO_CONDITIONAL_DELETE)


@probe("delete-if-unmodified-since", "DELETE x-amz-delete-if-unmodified-since, Ceph's own condition")
def delete_if_unmodified_since(site: Site) -> Seen:
    """Tell whether a date before the last write keeps an object, and one after it does not."""
    name, _ = site.write("unmodified", b"kept")
    written: dt.datetime | None = site.must("head_object", Key=name).data.get("LastModified")
    if written is None:
        return unsure("objects carry no date")

    early = _delete_if_unmodified(site, name, written - dt.timedelta(days=1))
    if site.body(name) is None:
        return no(f"ignored: answered {early.label} and removed", "ok")
    late = _delete_if_unmodified(site, name, written + dt.timedelta(days=1))
    if site.body(name) is None:
        return yes(f"answered {early.label}")
    return no(f"answered {early.label} and {late.label}, and kept it both times", "ok")


def _delete_if_unmodified(site: Site, name: str, since: dt.datetime) -> Reply:
    with site.header("DeleteObject", "x-amz-delete-if-unmodified-since", f"{since:%Y-%m-%d %H:%M:%S}"):
        return site.ask("delete_object", Key=name)


@probe("delete-objects-etag", "DeleteObjects with an ETag for each key")
def delete_objects_etag(site: Site) -> Seen:
    """Tell whether a wrong ETag keeps an object."""
    name, _ = site.write("bulk", b"kept")
    reply = site.ask("delete_objects", Delete={"Objects": [{"Key": name, "ETag": IMPOSSIBLE.etag}]})
    if site.body(name) is None:
        return no(
            f"ignored: answered {reply.label} and removed", "note", "bulk removal cannot be tied to what was seen"
        )
    errors = reply.data.get("Errors") or [{"Code": reply.label}]
    return yes(f"answered {errors[0].get('Code')}") if reply.ok else refused(reply, "note", "s3:DeleteObject")
