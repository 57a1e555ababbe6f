"""The doctor: tests how a bucket really behaves, also under concurrent requests, and reports which promises hold.

Many servers speak S3, each with its own gaps, and some gaps are silent: a store that ignores a condition answers 200.
So the doctor tests a store instead of believing it.
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

#: The probes, in the order in which they run; the races come last.
_PROBES: Final = (
    settings.versioning,  # first: cleaning up depends on it
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
    """Test how the bucket of *url* really behaves, and which of this library's promises hold there.

    rounds: the number of races between 50 writers, for each of two kinds. options: those of ``Client``; the verdict is
    for a client with these options. Raises ``ConfigError`` for a wrong URL or option, and for ``memory://``. A bucket
    that cannot be reached is a finding, not an error.

    Writes only under ``prefix/_cloudcached/doctor/``, where no entry can be, and removes what it wrote, also after an
    error. **Cost:** about 130 requests, and 100 PUTs for each round; takes a few seconds.
    """
    config = Config.parse(url, options)
    if config.scheme != "s3":
        raise ConfigError(f"{config.url} is not a bucket; the doctor examines s3://bucket/prefix")
    if type(rounds) is not int or rounds < 1:
        raise ConfigError(f"rounds must be a whole number of 1 or more, not {rounds!r}")
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
            title, advice = "The doctor's own objects are removed", "remove them by hand"
            findings.append(Finding("left", title, "no", "warning", left, advice))
        return Report(config.url, site.endpoint, *site.transport, site.server, reached, tuple(findings), verdict)
