"""The promises that hold on a store, derived from the findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from ..stores.conditions import is_trusted
from .report import BEST_EFFORT, HOLDS, REFUSED, Finding, Promise, State

_ORDER: Final = (HOLDS, BEST_EFFORT, REFUSED)


class _Fault(NamedTuple):
    """Why an operation does not keep its promise."""

    state: State
    why: str


class Findings:
    """All findings by name, and their consequences for a client with these settings."""

    def __init__(self, findings: Iterable[Finding], mode: str, endpoint: str) -> None:
        self._by_name: Mapping[str, Finding] = {finding.name: finding for finding in findings}
        self._mode = mode
        self._trusted = is_trusted(mode, endpoint)

    def needs(self, name: str, otherwise: State) -> list[_Fault]:
        """Return the fault if the store fails the probe *name*, with the state *otherwise* if its answer is "no"."""
        finding = self._by_name[name]
        if finding.answer == "yes":
            return []
        state = REFUSED if finding.answer == "refused" else BEST_EFFORT if finding.answer == "unknown" else otherwise
        return [_Fault(state, f"{finding.title}: {finding.seen.partition(';')[0]}")]

    def conditional(self, *names: str) -> list[_Fault]:
        """Return the faults if the store fails one of these probes of conditional writes, or ignores conditions."""
        if self._mode == "best_effort":
            return [_Fault(BEST_EFFORT, 'conditional_writes="best_effort": concurrent callers may all win')]
        if self._by_name["if-match-missing"].answer == "no":
            if self._trusted:
                text = 'the store ignores conditions, and this client does not check: set conditional_writes="probe"'
                return [_Fault(BEST_EFFORT, text)]
            return [_Fault(REFUSED, "the store ignores conditions, so the client refuses it")]
        return [fault for name in names for fault in self.needs(name, BEST_EFFORT)]


def _get(found: Findings) -> list[_Fault]:
    return [*found.needs("missing-key", REFUSED), *_set(found)]


def _set(found: Findings) -> list[_Fault]:
    return [*found.needs("metadata", REFUSED), *found.needs("speed", BEST_EFFORT)]


def _add(found: Findings) -> list[_Fault]:
    return found.conditional("put-if-absent", "race-if-absent")


def _update(found: Findings) -> list[_Fault]:
    return found.conditional("if-match", "race-if-match")


def _incr(found: Findings) -> list[_Fault]:
    return found.conditional("if-match", "race-if-match", "put-if-absent", "race-if-absent")


def _lock(found: Findings) -> list[_Fault]:
    return [*_incr(found), *found.needs("clock", BEST_EFFORT)]


def _delete(found: Findings) -> list[_Fault]:
    return found.needs("delete", BEST_EFFORT)


def _clear(found: Findings) -> list[_Fault]:
    return [*found.needs("list", BEST_EFFORT), *found.needs("delete-objects", REFUSED)]


def _purge(found: Findings) -> list[_Fault]:
    faults = found.needs("list", BEST_EFFORT)
    if not found.needs("delete-if-match", BEST_EFFORT):
        return faults
    if not found.needs("delete-if-unmodified-since", BEST_EFFORT):
        text = "by Ceph's own condition: an entry rewritten at the very moment of its removal may be lost"
        return [*faults, _Fault(BEST_EFFORT, text)]
    return [*faults, _Fault(BEST_EFFORT, "no conditional DELETE: an entry rewritten in the meantime may be lost")]


#: Each operation, its faults, and its promise, which holds if there are none.
_OPERATIONS: Final[tuple[tuple[str, Callable[[Findings], list[_Fault]], str], ...]] = (
    ("get", _get, "entries come back whole, a missing one is a miss"),
    ("set", _set, "the last writer wins, readers see it at once"),
    ("add", _add, "one winner among all callers"),
    ("update, touch", _update, "only the entry that was read is replaced"),
    ("incr", _incr, "every increment counts once"),
    ("delete", _delete, "gone at once"),
    ("lock", _lock, "one holder, leases by the store's clock"),
    ("clear", _clear, "everything listed is removed"),
    ("purge", _purge, "an entry rewritten in the meantime stays"),
)


def promises(found: Findings) -> tuple[Promise, ...]:
    """Return the state of each operation's promise, and the reason."""
    return tuple(_worst(operation, faults(found), proof) for operation, faults, proof in _OPERATIONS)


def promises_of_reader(denial: Finding) -> tuple[Promise, ...]:
    """Return the same for credentials that may read but not write."""
    get, *others = (operation for operation, _, _ in _OPERATIONS)
    denied = (Promise(operation, REFUSED, denial.seen) for operation in others)
    return (Promise(get, HOLDS, "a missing entry is a miss; nothing else can be tested without writing"), *denied)


def _worst(operation: str, faults: list[_Fault], proof: str) -> Promise:
    if not faults:
        return Promise(operation, HOLDS, proof)
    state = max((fault.state for fault in faults), key=_ORDER.index)
    return Promise(operation, state, "; ".join(dict.fromkeys(fault.why for fault in faults if fault.state == state)))
