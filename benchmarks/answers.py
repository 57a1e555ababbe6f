"""Write the figures of the FAQ, which are those that the other benchmarks have left in docs/figures.

python -m benchmarks.answers [docs/faq.md]
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .bars import insert

DOCS = Path(__file__).parent.parent / "docs"


def answer() -> str:
    """Return what a ``get`` takes by where it is answered, as Markdown."""
    bars, near = _figures("bars"), _figures("near")
    text, hits = "str, 32 bytes", near["hits_us"]
    rows = [
        ("the process's memory (near tier)", hits[text]["`Client.get`"] / 1e3, "0"),
        ("Django's locmem backend, for comparison", hits[text]["Django locmem `get`"] / 1e3, "-"),
        ("the machine's disk (near tier)", near["places_ms"]["32 bytes"]["disk"], "0"),
        ("S3 next door", bars["get"]["CloudCached"]["wall_ms"], "1"),
        ("the same request by raw HTTP, unsigned", bars["get"]["raw HTTP, unsigned"]["wall_ms"], "1"),
        ("the same by boto3", bars["get"]["boto3"]["wall_ms"], "1"),
    ]
    many = {name: seconds * 1e3 for name, seconds in bars["get_many_1000_s"].items()}
    dates = " and ".join(sorted({bars["date"], near["date"]}))
    lines = [
        f"Medians, 32 bytes, {bars['machine']}, a Ceph gateway on loopback, {dates} (`make bench`):",
        "",
        "| a `get` answered by | takes | requests |",
        "|---|---|---|",
        *(f"| {place} | {_time(milliseconds)} | {requests} |" for place, milliseconds, requests in rows),
        "",
        "| 1,000 entries by | take | each |",
        "|---|---|---|",
        *(f"| {name} | {_time(taken)} | {_time(taken / 1000)} |" for name, taken in many.items()),
    ]
    return "\n".join(lines)


def _figures(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DOCS / "figures" / f"{name}.json").read_text(encoding="utf-8"))
    return found


def _time(milliseconds: float) -> str:
    return f"{milliseconds * 1e3:.1f} us" if milliseconds < 0.1 else f"{milliseconds:.2f} ms"  # noqa: PLR2004 - legible


if __name__ == "__main__":
    insert(DOCS / "faq.md", answer())
