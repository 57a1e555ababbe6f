"""What an examination comes to: findings, and which promises hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, TypeAlias

#: Whether the store does what was probed: ``refused`` is an error answer, ``unknown`` one that says nothing.
Answer: TypeAlias = Literal["yes", "no", "refused", "unknown"]
#: How much a finding matters; ``unknown`` could not be found out.
Level: TypeAlias = Literal["ok", "note", "warning", "problem", "unknown"]
State: TypeAlias = Literal["holds", "best effort", "refused"]

HOLDS: Final = "holds"
BEST_EFFORT: Final = "best effort"
REFUSED: Final = "refused"


@dataclass(frozen=True)
class Finding:
    """What one probe has seen."""

    #: What does not change from version to version, such as ``put-if-absent``.
    name: str
    #: What was probed.
    title: str
    answer: Answer
    level: Level
    #: What the store did.
    seen: str
    #: What to do about it, "" for nothing.
    advice: str = ""
    #: Measured numbers, with their units in their names.
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Promise:
    """Whether an operation keeps its promise on this store."""

    operation: str
    state: State
    why: str


@dataclass(frozen=True)
class Report:
    """What ``examine`` found out about one bucket."""

    url: str
    endpoint: str
    #: The ``Server`` header of its answers, "" where there is none.
    server: str
    #: Whether requests reach the bucket and are let in. Where not, the only finding says why.
    reached: bool
    findings: tuple[Finding, ...]
    promises: tuple[Promise, ...]

    @property
    def holds(self) -> bool:
        """Whether all promises hold."""
        return self.reached and all(promise.state == HOLDS for promise in self.promises)

    def as_dict(self) -> dict[str, Any]:
        """Return it in plain types, for JSON."""
        return {**asdict(self), "holds": self.holds}
