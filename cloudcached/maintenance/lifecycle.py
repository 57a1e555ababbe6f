"""Lifecycle rules: S3 itself removes expired objects, about once a day, for free.

A rule selects objects by prefix or tag and removes them a number of days after they were written. There are rules:

* By tag. With the option ``expiry_tags`` each entry carries the class of its time to expire as a tag, and each class
  has a rule. Entries that never expire, locks and foreign objects do not carry the tag.
* By age, where tags are not supported (S3 Express) or too expensive: one rule for each of the 256 segments
  ``prefix/hh/`` that hold entries. Such rules cover nothing else under the prefix: neither the reserved segment nor
  any other cache or folder next to them. The option ``max_age_days`` refuses entries that would live longer.
* For leftovers: uploads in parts that were never completed are aborted, and if the bucket keeps old versions of
  entries, these are removed too.

A bucket has one configuration of up to 1,000 rules, which is replaced as a whole. Our rules are recognised by their
names, ``cloudcached:PREFIX:...``; all others are sent back as they came.
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
#: A rule in boto3's form.
Rule: TypeAlias = dict[str, Any]

#: Days after which an unfinished upload is aborted, and after which an old version is removed.
ABORT_DAYS: Final = 7
VERSION_DAYS: Final = 1
#: S3's limits: rules of a bucket, and characters of a rule's name.
RULES_LIMIT: Final = 1000
_NAME_LIMIT: Final = 255
#: Seconds. A Ceph gateway that is applying a bucket's rules accepts new ones only when it has finished.
_PATIENCE: Final = 60.0
_OURS: Final = re.compile(r"ttl-[0-9]+|entries-[0-9a-f]{2}|uploads")
_SEGMENTS: Final = tuple(f"{number:02x}" for number in range(256))


@dataclass(frozen=True)
class Plan:
    """The changes to a bucket's rules."""

    #: Our rules that are missing, those that differ, and those that are there but not wanted.
    add: tuple[Rule, ...]
    change: tuple[Rule, ...]
    remove: tuple[Rule, ...]
    #: Our rules that stay as they are.
    same: tuple[Rule, ...]
    #: All other rules of the bucket.
    others: tuple[Rule, ...]
    #: The names of other rules that are sent in the newer form, which means the same.
    rewritten: tuple[str, ...]
    #: The configuration to send.
    configuration: Mapping[str, Any]

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.add or self.change or self.remove)

    def as_dict(self) -> dict[str, Any]:
        """Return the plan in plain types, for JSON."""
        lists = {name: list(getattr(self, name)) for name in ("add", "change", "remove", "same", "others")}
        return {**lists, "rewritten": list(self.rewritten)}


class Lifecycle:
    """The lifecycle rules of one cache. The constructor does no I/O. Raises ``ConfigError`` for ``memory://``."""

    def __init__(self, config: Config, *, clock: Clock | None = None) -> None:
        if config.scheme != "s3":
            raise ConfigError(f"{config.url} is not a bucket; lifecycle rules are for s3://bucket/prefix")
        clock = clock or SystemClock()
        self._config = config = replace(config, timeout=max(config.timeout, _PATIENCE))
        self._store = S3Store(config)
        self._engine = Engine(config, self._store, clock, Counters())

    def ours(self) -> tuple[Rule, ...]:
        """Return this cache's rules. **Cost:** 1 request."""
        is_ours = owner(self._config.prefix)
        return tuple(rule for rule in self._read()["Rules"] if is_ours(rule))

    def plan(self, *, tags: bool, max_age_days: int | None) -> Plan:
        """Return the plan of ``apply``, and do nothing.

        tags: add a rule for each class of ``expiry_tags``. max_age_days: add rules by age, in days; ``None``: none.
        Raises ``ConfigError`` if neither is given, for tags on S3 Express, and if the bucket would have more than 1,000
        rules. **Cost:** 2 requests.
        """
        wanted = rules(self._config, tags=tags, max_age_days=max_age_days, versioned=self._is_versioned())
        return merge(self._read(), wanted, self._config.prefix)

    def apply(self, *, tags: bool, max_age_days: int | None) -> Plan:
        """Carry out the plan, and return it. A second call changes nothing.

        tags, max_age_days: as for ``plan``. Raises the same errors, and ``StoreRefused`` if the store keeps rules other
        than those that were sent. **Atomicity:** S3 replaces the whole configuration; a change that somebody else makes
        in the milliseconds between our read and our write is lost. **Cost:** 2 requests, + 2 if there is anything to do.
        """
        plan = self.plan(tags=tags, max_age_days=max_age_days)
        self._write(plan)
        return plan

    def plan_removal(self) -> Plan:
        """Return the plan of ``remove``, and do nothing. **Cost:** 1 request."""
        return merge(self._read(), (), self._config.prefix)

    def remove(self) -> Plan:
        """Remove this cache's rules and no others, and return the plan. **Atomicity:** as ``apply``.

        **Cost:** 1 request, + 2 if there is anything to do.
        """
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
                "the store keeps lifecycle rules other than those sent; `cloudcached lifecycle show` prints them",
                operation="put",
            )

    def _read(self) -> dict[str, Any]:
        return self._call("lifecycle", self._store.lifecycle)

    def _is_versioned(self) -> bool:
        return self._call("is_versioned", self._store.is_versioned)

    def _call(self, kind: str, request: Callable[..., R]) -> R:
        return self._engine.requests.call(self._engine.budget(), kind, request)


def owner(prefix: str) -> Callable[[Rule], bool]:
    """Return a function that decides whether a rule belongs to the cache under *prefix*."""
    begin = _name(prefix, "")

    def is_ours(rule: Rule) -> bool:
        name = rule.get("ID", "")
        return name.startswith(begin) and _OURS.fullmatch(name[len(begin) :]) is not None

    return is_ours


def rules(config: Config, *, tags: bool, max_age_days: int | None, versioned: bool) -> list[Rule]:
    """Return the rules that a cache needs. Raises ``ConfigError`` if there is no way to do what is asked."""
    if not tags and max_age_days is None:
        raise ConfigError(
            "no kind of rule was chosen; give --tags for clients with expiry_tags=True, or --max-age DAYS to remove all"
            " entries of that age"
        )
    if tags and config.bucket.endswith(EXPRESS):
        raise ConfigError("S3 Express does not support tags; give --max-age DAYS alone")
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
        actions["Expiration"] = {"ExpiredObjectDeleteMarker": True}  # the removal of an entry leaves one
    if versioned:
        actions["NoncurrentVersionExpiration"] = {"NoncurrentDays": VERSION_DAYS}
    abort = {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": ABORT_DAYS}}
    if actions:
        made += [
            _rule(name(f"entries-{segment}"), {"Prefix": f"{root}{segment}/"}, {**actions, **abort})
            for segment in _SEGMENTS
        ]
    elif root:  # without a prefix, the rule would abort the uploads of everybody else too
        made.append(_rule(name("uploads"), {"Prefix": root}, abort))
    return made


def merge(found: Mapping[str, Any], wanted: Iterable[Rule], prefix: str) -> Plan:
    """Return the plan that replaces the rules of the cache under *prefix* by *wanted* and keeps all others.

    S3 accepts either rules with a ``Prefix`` of their own, the form before 2016, or rules with a ``Filter``, not both.
    Ours need a filter, so other rules in the old form are then rewritten as ``Filter: {Prefix: ...}``, which means the
    same.
    """
    is_ours, wanted = owner(prefix), list(wanted)
    there = {rule["ID"]: rule for rule in found["Rules"] if is_ours(rule)}
    others = [rule for rule in found["Rules"] if not is_ours(rule)]
    old = [rule.get("ID", "") for rule in others if "Prefix" in rule and "Filter" not in rule]
    rewritten = old if wanted else []
    sent = [_filtered(rule) if wanted else rule for rule in others] + wanted
    if len(sent) > RULES_LIMIT and wanted:
        raise ConfigError(
            f"the bucket has {len(others)} other lifecycle rules, and this cache needs {len(wanted)}; S3 allows"
            f" {RULES_LIMIT:,} in all. --tags alone needs {len(CLASSES_DAYS) + 1}, in a bucket without versions"
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
    """Return a rule in one normal form, for comparison: stores return the same rule in several forms."""
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
