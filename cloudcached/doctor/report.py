"""The report of an examination: findings, and the promises that hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, TypeAlias

#: Whether the store does what was probed. ``refused``: it answered with an error; ``unknown``: the answer says nothing.
Answer: TypeAlias = Literal["yes", "no", "refused", "unknown"]
#: The severity of a finding; ``unknown``: it could not be determined.
Level: TypeAlias = Literal["ok", "note", "warning", "problem", "unknown"]
State: TypeAlias = Literal["holds", "best effort", "refused"]

HOLDS: Final = "holds"
BEST_EFFORT: Final = "best effort"
REFUSED: Final = "refused"


@dataclass(frozen=True)
class Finding:
    """The result of one probe."""

    #: A name that is the same in every version, such as ``put-if-absent``.
    name: str
    #: The behaviour that was probed, in words.
    title: str
    answer: Answer
    level: Level
    #: The store's behaviour, in words.
    seen: str
    #: Advice to the operator, "" for none.
    advice: str = ""
    #: Measurements, with the units in their names.
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Promise:
    """Whether an operation keeps its promise on this store."""

    operation: str
    state: State
    why: str


@dataclass(frozen=True)
class Report:
    """The result of ``examine`` for one bucket."""

    url: str
    endpoint: str
    #: What a client with these options sends its requests by: ``wire`` or ``boto3``.
    transport: str
    #: Why it is ``boto3``, "" for ``wire``.
    transport_reason: str
    #: The ``Server`` header of its answers, "" if there is none.
    server: str
    #: Whether requests reach the bucket and have access. If not, the only finding says why.
    reached: bool
    findings: tuple[Finding, ...]
    promises: tuple[Promise, ...]

    @property
    def holds(self) -> bool:
        """Whether all promises hold."""
        return self.reached and all(promise.state == HOLDS for promise in self.promises)

    def as_dict(self) -> dict[str, Any]:
        """Return the report in plain types, for JSON."""
        return {**asdict(self), "holds": self.holds}
