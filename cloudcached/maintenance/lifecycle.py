"""Lifecycle rules: S3 removes what has expired by itself, about once a day, for nothing.

A rule names objects by prefix or tag and removes them so many days after they were written. What that takes:

* With the option ``expiry_tags`` each entry carries the class of its time to expire, and there is a rule for each
  class. Entries that never expire, locks and foreign objects carry no such tag.
* By age alone, where tags are not known (S3 Express) or too dear: one rule for each of the 256 segments ``prefix/hh/``
  that entries lie in, and for nothing else under the prefix: neither the reserved segment nor a cache or a folder
  beside them, whatever it is called. The option ``max_age_days`` keeps entries from being written that live longer.
* Uploads in parts that were never completed are given up, and where the bucket keeps old versions of entries, these
  are removed too.

A bucket has one configuration of up to 1,000 rules, which is replaced as a whole. Our rules are known by their names,
``cloudcached:PREFIX:...``; all others are sent back as they came.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

from .._types import Clock
from ..config import EXPRESS, Config
from ..engine.engine import Engine
from ..engine.lifetimes import TAG
from ..entry.expiry import CLASSES_DAYS
from ..entry.keys import Names
from ..errors import ConfigError, StoreRefused
from ..runtime.clock import SystemClock
from ..runtime.counters import Counters
from ..stores.boto3.store import S3Store

R = TypeVar("R")
#: As boto3 has it.
Rule: TypeAlias = dict[str, Any]

#: Days after which an unfinished upload is given up, and an old version removed.
ABORT_DAYS: Final = 7
VERSION_DAYS: Final = 1
#: S3's limits: rules of a bucket, and letters of a rule's name.
RULES_LIMIT: Final = 1000
_NAME_LIMIT: Final = 255
#: Seconds: a Ceph gateway that is working on a bucket's rules takes new ones when it is done.
_PATIENCE: Final = 60.0
_OURS: Final = re.compile(r"ttl-[0-9]+|entries-[0-9a-f]{2}|uploads")
_SEGMENTS: Final = tuple(f"{number:02x}" for number in range(256))


@dataclass(frozen=True)
class Plan:
    """What is to become of a bucket's rules."""

    #: Our rules that are not there, that are there and differ, and that are there and not wanted.
    add: tuple[Rule, ...]
    change: tuple[Rule, ...]
    remove: tuple[Rule, ...]
    #: Our rules that stay as they are.
    same: tuple[Rule, ...]
    #: Everybody else's.
    others: tuple[Rule, ...]
    #: Names of others' rules that are sent in the newer form, which means the same.
    rewritten: tuple[str, ...]
    #: What is to be sent.
    configuration: Mapping[str, Any]

    @property
    def changes(self) -> bool:
        """Tell whether there is anything to do."""
        return bool(self.add or self.change or self.remove)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        lists = {name: list(getattr(self, name)) for name in ("add", "change", "remove", "same", "others")}
        return {**lists, "rewritten": list(self.rewritten)}


class Lifecycle:
    """The lifecycle rules of one cache's bucket. Does no I/O when made. Raises ``ConfigError`` for ``memory://``."""

    def __init__(self, config: Config, *, clock: Clock | None = None) -> None:
        if config.scheme != "s3":
            raise ConfigError(f"{config.url} is no bucket; lifecycle rules are for s3://bucket/prefix")
        clock = clock or SystemClock()
        self._config = config = replace(config, timeout=max(config.timeout, _PATIENCE))
        self._store = S3Store(config)
        self._engine = Engine(config, self._store, clock, Counters())

    def ours(self) -> tuple[Rule, ...]:
        """Return this cache's rules. **Cost:** 1 request."""
        is_ours = owner(self._config.prefix)
        return tuple(rule for rule in self._read()["Rules"] if is_ours(rule))

    def plan(self, *, tags: bool, max_age_days: int | None) -> Plan:
        """Return what ``apply`` would do now.

        tags: a rule for each class of ``expiry_tags``. max_age_days: a rule by age. Raises ``ConfigError`` for
        neither, for tags on S3 Express, and where the bucket would have more than 1,000 rules. **Cost:** 2 requests.
        """
        wanted = rules(self._config, tags=tags, max_age_days=max_age_days, versioned=self._is_versioned())
        return merge(self._read(), wanted, self._config.prefix)

    def apply(self, *, tags: bool, max_age_days: int | None) -> Plan:
        """Do what ``plan`` says, and return it. Doing it again changes nothing.

        **Atomicity:** S3 replaces the whole configuration; a change that somebody else makes between reading and
        writing it, milliseconds, is lost. Raises ``StoreRefused`` if the store keeps other rules than were sent.
        **Cost:** 2 requests, + 2 if there is anything to do.
        """
        plan = self.plan(tags=tags, max_age_days=max_age_days)
        self._write(plan)
        return plan

    def plan_removal(self) -> Plan:
        """Return what ``remove`` would do now. **Cost:** 1 request."""
        return merge(self._read(), (), self._config.prefix)

    def remove(self) -> Plan:
        """Remove this cache's rules and no others, and return what was done. **Atomicity** and **Cost:** as ``apply``."""
        plan = self.plan_removal()
        self._write(plan)
        return plan

    def _write(self, plan: Plan) -> None:
        if not plan.changes:
            return
        self._call("put_lifecycle", partial(self._store.put_lifecycle, plan.configuration))
        wanted, kept = (sorted(map(_shape, found["Rules"]), key=repr) for found in (plan.configuration, self._read()))
        if wanted != kept:
            raise StoreRefused(
                "the store keeps other lifecycle rules than were sent: `cloudcached lifecycle show` prints them",
                operation="put",
            )

    def _read(self) -> dict[str, Any]:
        return self._call("lifecycle", self._store.lifecycle)

    def _is_versioned(self) -> bool:
        return self._call("is_versioned", self._store.is_versioned)

    def _call(self, kind: str, request: Callable[..., R]) -> R:
        return self._engine.requests.call(self._engine.budget(), kind, request)


def owner(prefix: str) -> Callable[[Rule], bool]:
    """Return what tells whether a rule is of the cache under *prefix*."""
    begin = _name(prefix, "")

    def is_ours(rule: Rule) -> bool:
        name = rule.get("ID", "")
        return name.startswith(begin) and _OURS.fullmatch(name[len(begin) :]) is not None

    return is_ours


def rules(config: Config, *, tags: bool, max_age_days: int | None, versioned: bool) -> list[Rule]:
    """Return the rules that a cache takes. Raises ``ConfigError`` where that cannot be."""
    if not tags and max_age_days is None:
        raise ConfigError(
            "by what? --tags for clients with expiry_tags=True, or --max-age DAYS for all entries of that age"
        )
    if tags and config.bucket.endswith(EXPRESS):
        raise ConfigError("S3 Express knows no tags; give --max-age DAYS alone")
    root, name = Names(config.prefix).root, partial(_name, config.prefix)
    made: list[Rule] = []
    if tags:
        for days in CLASSES_DAYS:
            named = {"And": {"Prefix": root, "Tags": [_tag(days)]}} if root else {"Tag": _tag(days)}
            made.append(_rule(name(f"ttl-{days}"), named, {"Expiration": {"Days": days}}))
    actions: Rule = {}
    if max_age_days is not None:
        actions["Expiration"] = {"Days": max_age_days}
    elif versioned:
        actions["Expiration"] = {"ExpiredObjectDeleteMarker": True}  # what the removal of an entry leaves
    if versioned:
        actions["NoncurrentVersionExpiration"] = {"NoncurrentDays": VERSION_DAYS}
    abort = {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": ABORT_DAYS}}
    if actions:
        made += [
            _rule(name(f"entries-{segment}"), {"Prefix": f"{root}{segment}/"}, {**actions, **abort})
            for segment in _SEGMENTS
        ]
    elif root:  # in the bucket's top the uploads of all others would be meant
        made.append(_rule(name("uploads"), {"Prefix": root}, abort))
    return made


def merge(found: Mapping[str, Any], wanted: Iterable[Rule], prefix: str) -> Plan:
    """Return how *wanted* takes the place of the rules of the cache under *prefix*, beside all others.

    S3 takes rules either with a ``Prefix`` of their own, the form before 2016, or with a ``Filter``, not both. Others'
    old ones are written as what they mean, ``Filter: {Prefix: ...}``, where ours need a filter.
    """
    is_ours, wanted = owner(prefix), list(wanted)
    there = {rule["ID"]: rule for rule in found["Rules"] if is_ours(rule)}
    others = [rule for rule in found["Rules"] if not is_ours(rule)]
    old = [rule.get("ID", "") for rule in others if "Prefix" in rule and "Filter" not in rule]
    rewritten = old if wanted else []
    sent = [_filtered(rule) if wanted else rule for rule in others] + wanted
    if len(sent) > RULES_LIMIT and wanted:
        raise ConfigError(
            f"the bucket has {len(others)} lifecycle rules of others, and this cache takes {len(wanted)}; S3 allows"
            f" {RULES_LIMIT:,} in all: --tags alone takes {len(CLASSES_DAYS) + 1}, in a bucket without versions"
        )
    by_name = {rule["ID"]: rule for rule in wanted}
    differs = {name for name, rule in there.items() if name in by_name and _shape(rule) != _shape(by_name[name])}
    return Plan(
        add=tuple(rule for name, rule in by_name.items() if name not in there),
        change=tuple(rule for name, rule in by_name.items() if name in differs),
        remove=tuple(rule for name, rule in there.items() if name not in by_name),
        same=tuple(rule for name, rule in by_name.items() if name in there and name not in differs),
        others=tuple(others),
        rewritten=tuple(rewritten),
        configuration={**found, "Rules": sent},
    )


def _name(prefix: str, what: str) -> str:
    """Return the name of one of our rules."""
    longest = _NAME_LIMIT - len("cloudcached::entries-ff")
    if len(prefix) > longest:
        prefix = f"~{hashlib.sha256(prefix.encode()).hexdigest()}"
    return f"cloudcached:{prefix}:{what}"


def _tag(days: int) -> dict[str, str]:
    return {"Key": TAG, "Value": str(days)}


def _rule(name: str, named: Rule, actions: Rule) -> Rule:
    return {"ID": name, "Status": "Enabled", "Filter": named, **actions}


def _filtered(rule: Rule) -> Rule:
    """Return a rule in the newer form."""
    if "Prefix" not in rule or "Filter" in rule:
        return rule
    return {**{name: value for name, value in rule.items() if name != "Prefix"}, "Filter": {"Prefix": rule["Prefix"]}}


def _shape(rule: Rule) -> Rule:
    """Return what a rule means, in one form: stores give back the same in several."""
    rule = _filtered(rule)
    named = rule.get("Filter") or {}
    named = {**named, **named.get("And", {})}
    tags = [*named.get("Tags", ()), *([named["Tag"]] if "Tag" in named else [])]
    rest = {name: value for name, value in named.items() if name not in ("And", "Tag", "Tags", "Prefix")}
    shape = {name: value for name, value in rule.items() if name != "Filter" and value not in ({}, [])}
    return {
        **dict(sorted(shape.items())),
        "prefix": named.get("Prefix", ""),
        "tags": sorted((tag["Key"], tag["Value"]) for tag in tags),
        "named": sorted(rest.items()),
    }
