"""A crowd that requests one page at the same moment."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

SIZE = 20


def ask(url: str) -> Iterator[dict[str, Any]]:
    """Request *url* ``SIZE`` times at once; yield each answer as it comes, with its beginning and end in ms."""
    together = threading.Barrier(SIZE + 1)

    def visit(number: int) -> dict[str, Any]:
        together.wait()
        begun = time.perf_counter()
        try:
            with build_opener(ProxyHandler({})).open(url, timeout=120) as response:
                seen = json.load(response)
        except (URLError, OSError) as error:
            seen = {"error": str(error)}
        return seen | {"number": number, "begun": ms(begun), "ended": ms(time.perf_counter())}

    def ms(moment: float) -> int:
        return round(1000 * (moment - start))

    with ThreadPoolExecutor(SIZE) as pool:
        visits = [pool.submit(visit, number) for number in range(SIZE)]
        start = time.perf_counter()
        together.wait()
        for done in as_completed(visits):
            yield done.result()
