"""The doctor: asks a bucket, many at a time where that matters, what it really does, and tells which promises hold.

S3 is an interface that many servers speak, each with gaps of its own, some of them silent: a condition that is ignored
answers 200. So a store is tried rather than believed.
"""

from __future__ import annotations

from typing import Any, Final

from .._types import Clock
from ..config import Config
from ..errors import ConfigError
from ..runtime.clock import SystemClock
from . import conditions, objects, races, settings
from .promises import Findings, promises, promises_of_reader
from .report import Answer, Finding, Level, Promise, Report, State
from .site import Site

__all__ = ["Answer", "Finding", "Level", "Promise", "Report", "State", "examine"]

#: What is asked, in this order; the races come last.
_PROBES: Final = (
    settings.versioning,  # first, since it decides what cleaning up takes
    objects.missing_key,
    objects.metadata,
    races.speed,
    objects.list_objects,
    objects.delete,
    objects.delete_objects,
    conditions.put_if_absent,
    conditions.if_match,
    conditions.if_match_quoted,
    conditions.if_match_missing,
    conditions.delete_if_match,
    conditions.delete_if_unmodified_since,
    conditions.delete_objects_etag,
    objects.etag,
    objects.content_md5,
    objects.clock,
    settings.tags,
    settings.lifecycle,
    settings.encryption,
)


def examine(url: str, *, rounds: int = 5, clock: Clock | None = None, **options: Any) -> Report:
    """Find out what the bucket of *url* really does, and which of this library's promises hold there.

    rounds: of each race between 50 writers. *options* are those of ``Client``; the verdict is for a client that has
    them. Raises ``ConfigError`` for a wrong URL or option, and for ``memory://``. A bucket that cannot be reached is
    a finding, not an error.

    Writes only under ``prefix/_cloudcached/doctor/``, names that no entry has, and removes what it wrote, also after
    an error. **Cost:** about 130 requests, and 100 PUTs for each round; some seconds.
    """
    config = Config.parse(url, options)
    if config.scheme != "s3":
        raise ConfigError(f"{config.url} is no bucket; the doctor examines s3://bucket/prefix")
    if type(rounds) is not int or rounds < 1:
        raise ConfigError(f"rounds is a number from 1 on, not {rounds!r}")
    with Site(config, clock or SystemClock()) as site:
        findings = [objects.contact(site)]
        reached = findings[0].answer != "no"
        if findings[0].answer == "yes":
            probes = (*_PROBES, races.race_if_absent(rounds), races.race_if_match(rounds))
            findings += (probe(site) for probe in probes)
            verdict = promises(Findings(findings, config.conditional_writes, site.endpoint))
        else:
            verdict = promises_of_reader(findings[0]) if reached else ()
        left = site.clear()
        if left and reached:
            findings.append(Finding("left", "What was written is removed", "no", "warning", left, "remove it by hand"))
        return Report(config.url, site.endpoint, site.server, reached, tuple(findings), verdict)
