"""What a ``Client`` tells of itself."""

from __future__ import annotations

from collections.abc import Callable

from .runtime.counters import Counters, Latency


class Observed:
    """The part of ``Client`` that asks the store nothing."""

    _counters: Counters

    def stats(self) -> dict[str, int]:
        """Return counts since the process began, or was forked.

        ``hits`` and ``misses`` of what was read, ``calls.VERB`` and ``errors.VERB``, ``requests.KIND``, ``bytes.read``
        and ``bytes.written`` (of bodies), retries, lost races, refused entries by reason, the near tier's.
        """
        return self._counters.snapshot()

    def latencies(self) -> dict[str, Latency]:
        """Return how long things took since the process began, as histograms.

        By verb (``get``, ``put``, ...) what callers waited for; by ``store.KIND`` what requests took; by ``near.memory``
        and ``near.disk`` what hits of the near tier took.
        """
        return self._counters.latencies()

    def listen(self, listener: Callable[[str, int], None]) -> None:
        """Have *listener* called for each event: ``refused.signature``, ``outages``, ``retries``, ``computed``, ...

        It is told the name under which ``stats`` counts, and how many; in the thread where it happens, so it should
        take no time, and raise nothing. Hits, calls and requests are no events.
        """
        self._counters.listen(listener)
