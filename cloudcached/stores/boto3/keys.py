"""Keys that expire, and their renewal next to the requests that they sign.

botocore renews keys in the thread of the first request in the last 15 minutes of their life. That request waits for the
source, and where the source is late it waits for minutes, since no timeout of ours reaches it. So here a source is asked
in a daemon thread, from the same moment on, while requests go on with the keys that are still valid. A request waits
only where there are none, and no longer than its own time. Rejected: a timer. It keeps a thread for each client that was
ever used, and renews keys that nobody needs any more.

- One thread of a process asks; all others share its answer. Keys that last for less than half an hour are renewed
  halfway: within the window from the start, they would be asked for by every request.
- A source that fails while the keys are valid costs a log line, and is asked again a second later. Without valid keys
  it is asked again by the next request: a failure is not remembered.
- Where no thread can be started (after the main thread has ended, at the limit of threads, in some subinterpreters) the
  request asks the source itself, once the old keys are of no use. botocore's own timeouts are the only limit then.
- A forked child goes on with its parent's keys, which are a plain value, and asks for the next ones itself. It inherits
  no lock and no thread.
"""

from __future__ import annotations

import functools
import logging
import math
import re
import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from ...errors import AccessDenied, ConfigError, StoreError, StoreTimeout, StoreUnreachable
from ...runtime.clock import SystemClock
from ...runtime.forks import PerProcess
from ...runtime.log import Throttle
from ..wire.request import Keys

log = logging.getLogger("cloudcached")

#: Seconds before their expiry from which keys are renewed: botocore's advisory window.
WINDOW: Final = 900.0
#: Seconds before their expiry from which keys are not relied on: the way to the store takes time, and clocks differ.
MARGIN: Final = 10.0
#: Seconds until a source that failed is asked again while the old keys are valid.
PAUSE: Final = 1.0
#: Seconds that a source may take in a thread of its own, where it obeys a limit at all.
PATIENCE: Final = 30.0

#: What a header carries unharmed.
_VISIBLE: Final = re.compile(r"[!-~]+")
_UNDER_WAY: Final = "now"
#: The real time, in epoch seconds: libraries that freeze the time for tests replace ``time.time`` wherever they find it.
_real_time: Final[Callable[[], float]] = (
    functools.partial(time.clock_gettime, time.CLOCK_REALTIME) if hasattr(time, "clock_gettime") else time.time
)


def fault_of(keys: Keys) -> str | None:
    """Return why nothing can be signed with *keys*, or ``None``.

    botocore would sign, and fail while it sends (a newline behind the access key) or at the store (one behind the
    secret). Files that end with a newline are how most such keys come about.
    """
    for name, text in (("access key", keys.access_key), ("session token", keys.token or "none")):  # "" is none
        if not _VISIBLE.fullmatch(text):
            return f"the {name} holds a blank, a newline or a character outside ASCII; remove it"
    secret = keys.secret_key
    if not secret or secret != secret.strip() or not secret.isprintable():
        return "the secret key is empty, or begins or ends with a blank or a newline; remove it"
    return None


class Lease(NamedTuple):
    """Keys, and how long they are good for."""

    keys: Keys
    #: Epoch seconds; infinite for keys that do not expire.
    expires: float = math.inf
    #: Epoch seconds: when the next ones are asked for.
    renew_at: float = math.inf

    @classmethod
    def until(cls, keys: Keys, expires: float, window: float = WINDOW) -> Lease:
        """Return a lease that was just given, to be renewed *window* seconds before it expires.

        But not in the first half of the time that is left: the same goes for a source that gives the same keys again
        until they expire.
        """
        now = _real_time()
        return cls(keys, expires, min(max(expires - window, (now + expires) / 2), expires - MARGIN))


#: Asks for keys. It is told the seconds that this may take, and raises ``StoreError`` of some kind.
Source = Callable[[float], Lease]


class _Question:
    """A source being asked, and its answer."""

    def __init__(self) -> None:
        self.answered = threading.Event()
        self.lease: Lease | None = None
        #: Not the exception itself: that keeps the frames in which it was raised, and all their variables.
        self.failure: tuple[type[StoreError], str] = (AccessDenied, "the source of the credentials gave none")


class Renewed:
    """The keys of one source, kept valid. Thread-safe; works in a forked child."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lease: Lease | None = None
        #: The question under way in this process. A dictionary instead of a lock: ``setdefault`` is atomic, and the
        #: handler of a signal that comes while a lock is held could never take it.
        self._questions: PerProcess[dict[str, _Question]] = PerProcess(dict)
        self._questions()
        self._throttle = Throttle(SystemClock())

    def __call__(self, seconds_left: float) -> Keys:
        """Return keys that are valid now, within *seconds_left*.

        With 0 it never waits: where it would have to, it raises ``StoreTimeout``, and the source is being asked.
        Raises ``AccessDenied``, ``StoreUnreachable`` and ``StoreTimeout``.
        """
        lease = self._lease
        now = _real_time()
        if lease is not None and now < lease.renew_at:
            return lease.keys
        if lease is None or now >= lease.expires:
            return self._fresh(seconds_left)
        if now >= lease.expires - MARGIN:
            try:
                return self._fresh(seconds_left / 2)  # the other half is for the request, should the source be late
            except StoreError:
                return lease.keys
        self._ask(None)
        return lease.keys

    def _fresh(self, seconds: float) -> Keys:
        """Return the source's next keys, or those that another thread is asking for."""
        question = self._ask(seconds)
        if not question.answered.wait(max(0.0, seconds)):
            raise StoreTimeout("the source of the credentials did not answer in time")
        if question.lease is None:
            kind, text = question.failure
            raise kind(text)
        return question.lease.keys

    def _ask(self, seconds: float | None) -> _Question:
        """Return the question under way, or a new one.

        seconds: the time to ask the source here, where there can be no thread; ``None``: do not ask it here.
        """
        questions = self._questions()
        mine = _Question()
        try:
            question = questions.setdefault(_UNDER_WAY, mine)
            if question is not mine or _start(self._answer_beside, questions, mine):
                return question
            self._answer(questions, mine, seconds or 0.0)
        except BaseException as exc:  # also what the handler of a signal raises: nobody must wait for this question
            if not mine.answered.is_set():
                mine.failure = _failure_of(exc)
                _close(questions, mine)
            if not isinstance(exc, StoreError):
                raise
        return mine

    def _answer_beside(self, questions: dict[str, _Question], question: _Question) -> None:
        try:
            self._answer(questions, question, PATIENCE)
        except Exception:  # told to those who wait for it
            log.debug("asking for credentials failed", exc_info=True)

    def _answer(self, questions: dict[str, _Question], question: _Question, seconds: float) -> None:
        """Ask the source, and answer *question* whatever comes."""
        try:
            self._lease = question.lease = self._asked(seconds)
        except BaseException as exc:
            question.failure = _failure_of(exc)
            self._postpone(question.failure[1])
            raise
        finally:
            _close(questions, question)

    def _asked(self, seconds: float) -> Lease:
        if seconds <= 0:
            raise StoreTimeout("there is no time, or no thread, to ask for credentials")
        lease = self._source(seconds)
        if lease.expires <= _real_time():
            raise AccessDenied("the source of the credentials gives some that have expired")
        return lease

    def _postpone(self, text: str) -> None:
        lease, now = self._lease, _real_time()
        if lease is not None and now < lease.expires:
            self._lease = lease._replace(renew_at=min(now + PAUSE, lease.expires - MARGIN))
            if self._throttle.allows():
                log.warning("the credentials could not be renewed yet: %s", text)


def _start(function: Callable[..., object], *arguments: object) -> bool:
    """Start *function* in a daemon thread; return False where there can be none."""
    if not threading.main_thread().is_alive():
        return False  # it might start, and stand still for ever when the interpreter goes
    try:
        threading.Thread(target=function, args=arguments, name="cloudcached-keys", daemon=True).start()
    except RuntimeError:
        return False
    return True


def _close(questions: dict[str, _Question], question: _Question) -> None:
    """Let those who wait for *question* go on, and the next caller ask again."""
    if questions.get(_UNDER_WAY) is question:
        questions.pop(_UNDER_WAY, None)
    question.answered.set()


def _failure_of(exc: BaseException) -> tuple[type[StoreError], str]:
    if isinstance(exc, StoreError):
        return type(exc), str(exc)
    if isinstance(exc, ConfigError):
        return AccessDenied, str(exc)
    kind = AccessDenied if isinstance(exc, Exception) else StoreUnreachable
    return kind, f"asking for credentials ended with {type(exc).__name__}: {exc}"
