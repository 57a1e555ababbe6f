"""Probes of conditional writes and removals, with one caller at a time."""

from __future__ import annotations

import datetime as dt

from ..stores.conditions import IMPOSSIBLE
from .probe import NOT_FOUND, PRECONDITION_FAILED, Outcome, no, probe, refused, unsure, yes
from .site import Reply, Site

_NO_CONDITIONS = (
    "the client refuses operations that coordinate several callers, or lets callers race if told to"
    ' (conditional_writes="best_effort")'
)


@probe("put-if-absent", "PUT If-None-Match: * over an object is refused")
def put_if_absent(site: Site) -> Outcome:
    """Test whether a write on condition that there is no object is refused if there is one."""
    name = site.name("absent")
    first = site.ask("put_object", Key=name, Body=b"first", IfNoneMatch="*")
    if not first.ok:
        return refused(first, "problem", "s3:PutObject", _NO_CONDITIONS)
    return _judged(site.ask("put_object", Key=name, Body=b"second", IfNoneMatch="*"))


@probe("if-match", "PUT If-Match, the ETag without quotes, as the client sends it")
def if_match(site: Site) -> Outcome:
    """Test whether the right ETag is accepted and a wrong one refused."""
    name, etag = site.write("match", b"first")
    right = site.ask("put_object", Key=name, Body=b"second", IfMatch=etag)
    if right.status == PRECONDITION_FAILED:
        return Outcome("refused", f"answered {right.label} to the right ETag", "problem", _NO_CONDITIONS)
    if not right.ok:
        return refused(right, "problem", "s3:PutObject", _NO_CONDITIONS)
    return _judged(site.ask("put_object", Key=name, Body=b"third", IfMatch=IMPOSSIBLE.etag))


@probe("if-match-quoted", "PUT If-Match, the ETag in quotes")
def if_match_quoted(site: Site) -> Outcome:
    """Test whether the quoted form of the HTTP standard is understood; this client does not send it."""
    name, etag = site.write("quoted", b"first")
    reply = site.ask("put_object", Key=name, Body=b"second", IfMatch=f'"{etag}"')
    if reply.ok:
        wrong = site.ask("put_object", Key=name, Body=b"third", IfMatch=f'"{IMPOSSIBLE.etag}"')
        return no("ignored", "note") if wrong.ok else yes(f"answered {wrong.label}")
    advice = "other clients may fail here; this one sends no quotes"
    return no(f"answered {reply.label} to the right ETag", "note", advice)


@probe("if-match-missing", "PUT If-Match where there is no object is refused")
def if_match_missing(site: Site) -> Outcome:
    """Send the request by which the client itself probes a store (``conditional_writes="probe"``)."""
    return _judged(site.ask("put_object", Key=site.name("none"), Body=b"first", IfMatch=IMPOSSIBLE.etag))


def _judged(reply: Reply) -> Outcome:
    """Return the outcome of a conditional write whose condition does not hold, so that it must not be done."""
    if reply.ok:
        return no(f"ignored: answered {reply.label} and wrote", "problem", _NO_CONDITIONS)
    if reply.status in (PRECONDITION_FAILED, NOT_FOUND):
        return yes(f"answered {reply.label}")
    return refused(reply, "problem", "s3:PutObject", _NO_CONDITIONS)


_NO_CONDITIONAL_DELETE = (
    "without it, or Ceph's own condition, purge cannot tell an expired entry from one rewritten in the meantime:"
    " prefer lifecycle rules"
)


@probe("delete-if-match", "DELETE If-Match")
def delete_if_match(site: Site) -> Outcome:
    """Test whether a removal with a wrong ETag is refused, and one with the right ETag done."""
    name, etag = site.write("delete", b"kept")
    reply = site.ask("delete_object", Key=name, IfMatch=IMPOSSIBLE.etag)
    if site.body(name) is None:
        return no(f"ignored: answered {reply.label} and removed", "note", _NO_CONDITIONAL_DELETE)
    if reply.status != PRECONDITION_FAILED:
        return refused(reply, "note", "s3:DeleteObject", _NO_CONDITIONAL_DELETE)
    right = site.ask("delete_object", Key=name, IfMatch=etag)
    if site.body(name) is None:
        return yes(f"answered {reply.label}")
    return no(f"answered {right.label} to the right ETag too", "note", _NO_CONDITIONAL_DELETE)


@probe("delete-if-unmodified-since", "DELETE x-amz-delete-if-unmodified-since, Ceph's own condition")
def delete_if_unmodified_since(site: Site) -> Outcome:
    """Test whether a removal with a date before the last write is refused, and one with a later date done."""
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
    return no(f"answered {early.label} and {late.label}, and kept the object both times", "ok")


def _delete_if_unmodified(site: Site, name: str, since: dt.datetime) -> Reply:
    with site.header("DeleteObject", "x-amz-delete-if-unmodified-since", f"{since:%Y-%m-%d %H:%M:%S}"):
        return site.ask("delete_object", Key=name)


@probe("delete-objects-etag", "DeleteObjects with an ETag for each key")
def delete_objects_etag(site: Site) -> Outcome:
    """Test whether a removal with a wrong ETag is refused."""
    name, _ = site.write("bulk", b"kept")
    reply = site.ask("delete_objects", Delete={"Objects": [{"Key": name, "ETag": IMPOSSIBLE.etag}]})
    if site.body(name) is None:
        return no(f"ignored: answered {reply.label} and removed", "note", "a bulk removal cannot be conditional")
    errors = reply.data.get("Errors") or [{"Code": reply.label}]
    return yes(f"answered {errors[0].get('Code')}") if reply.ok else refused(reply, "note", "s3:DeleteObject")
