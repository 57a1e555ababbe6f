"""A ladder of temperatures whose results many machines share through the cache.

Each temperature has an entry of its own, so a finer ladder, another page or another machine computes only the results
that are not there yet.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from . import conf
from .ising import Replica, replica

SIDE, CHAINS, SWEEPS = 64, 8, conf.sweeps(800)


def temperatures(*, fine: bool) -> list[float]:
    """Return 9 temperatures around the critical one, or 17 that include these 9."""
    count = 17 if fine else 9
    return [round(1.6 + i * 1.6 / (count - 1), 4) for i in range(count)]


def key(temperature: float) -> str:
    """Return the key in the cache: everything that the result depends on."""
    return f"replica:{SIDE}x{SIDE}:{CHAINS}x{SWEEPS}:T={temperature:.4f}"


def compute(missing: Sequence[float]) -> Iterable[Replica]:
    """Compute several temperatures in parallel, each in a process.

    Not in threads: the arrays are so small that threads would wait for the interpreter lock most of the time.
    """
    job = partial(replica, side=SIDE, chains=CHAINS, sweeps=SWEEPS)
    workers = min(len(missing), os.cpu_count() or 1)
    # Not forked: a forked process would inherit the locks and connections of the running server.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_end_with_parent) as pool:
        return list(pool.map(job, missing))


def _end_with_parent() -> None:
    """End this process with its server, even if that is killed."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
