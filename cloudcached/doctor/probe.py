"""A question about a bucket, and what an answer is made of."""

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


class Seen(NamedTuple):
    """What a probe has seen."""

    answer: Answer
    text: str
    #: "": what goes with the answer, ``ok`` for yes and ``unknown`` for unknown.
    level: Level | None = None
    advice: str = ""
    figures: Mapping[str, float] = {}


def yes(text: str, **more: Any) -> Seen:
    """Return that the store does it."""
    return Seen("yes", text, **more)


def no(text: str, level: Level, advice: str = "", **more: Any) -> Seen:
    """Return that the store does not do it."""
    return Seen("no", text, level, advice, **more)


def unsure(text: str) -> Seen:
    """Return that it could not be found out."""
    return Seen("unknown", text)


def refused(reply: Reply, level: Level, action: str, advice: str = "") -> Seen:
    """Return what an error answer means: that credentials lack the right to *action*, or that the store lacks it."""
    if reply.status >= _SERVER_ERROR and reply.status != _NOT_IMPLEMENTED:
        return unsure(f"answered {reply.label}")
    if reply.status == DENIED:
        advice = "; ".join(filter(None, (f"allow {action}", advice)))
    return Seen("refused", f"answered {reply.label}", level, advice)


class Probe(NamedTuple):
    """A question about a bucket."""

    name: str
    title: str
    ask: Callable[[Site], Seen]

    def __call__(self, site: Site) -> Finding:
        """Return the finding; one that could not be found out where requests fail."""
        try:
            seen = self.ask(site)
        except StoreError as error:
            seen = unsure(f"could not be tried: {error}")
        level = seen.level or ("unknown" if seen.answer == "unknown" else "ok")
        return Finding(self.name, self.title, seen.answer, level, seen.text, seen.advice, seen.figures)


def probe(name: str, title: str) -> Callable[[Callable[[Site], Seen]], Probe]:
    """Make a probe of the function that asks."""
    return lambda ask: Probe(name, title, ask)
