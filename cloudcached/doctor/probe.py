"""A probe is one question about a bucket; its outcome becomes a finding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from ..errors import StoreError
from .report import Answer, Finding, Level
from .site import Reply, Site

NOT_FOUND: Final = 404
DENIED: Final = 403
PRECONDITION_FAILED: Final = 412
_SERVER_ERROR: Final = 500
_NOT_IMPLEMENTED: Final = 501


class Outcome(NamedTuple):
    """The outcome of a probe."""

    answer: Answer
    #: The behaviour that was observed.
    text: str
    #: ``None``: the level that goes with the answer, ``ok`` for yes and ``unknown`` for unknown.
    level: Level | None = None
    advice: str = ""
    figures: Mapping[str, float] = {}


def yes(text: str, **more: Any) -> Outcome:
    """Return the outcome "the store does this"."""
    return Outcome("yes", text, **more)


def no(text: str, level: Level, advice: str = "", **more: Any) -> Outcome:
    """Return the outcome "the store does not do this"."""
    return Outcome("no", text, level, advice, **more)


def unsure(text: str) -> Outcome:
    """Return the outcome "this could not be determined"."""
    return Outcome("unknown", text)


def refused(reply: Reply, level: Level, action: str, advice: str = "") -> Outcome:
    """Return the outcome of an error answer: the credentials lack the right to *action*, or the store lacks a feature.

    A server error says neither, so its outcome is "unknown".
    """
    if reply.status >= _SERVER_ERROR and reply.status != _NOT_IMPLEMENTED:
        return unsure(f"answered {reply.label}")
    if reply.status == DENIED:
        advice = "; ".join(filter(None, (f"allow {action}", advice)))
    return Outcome("refused", f"answered {reply.label}", level, advice)


class Probe(NamedTuple):
    """A question about a bucket."""

    name: str
    title: str
    ask: Callable[[Site], Outcome]

    def __call__(self, site: Site) -> Finding:
        """Run the probe and return its finding: an "unknown" one if requests fail."""
        try:
            outcome = self.ask(site)
        except StoreError as error:
            outcome = unsure(f"could not be tried: {error}")
        level = outcome.level or ("unknown" if outcome.answer == "unknown" else "ok")
        return Finding(self.name, self.title, outcome.answer, level, outcome.text, outcome.advice, outcome.figures)


def probe(name: str, title: str) -> Callable[[Callable[[Site], Outcome]], Probe]:
    """Turn the decorated function into a probe."""
    return lambda ask: Probe(name, title, ask)
