"""Writes the figures into the pages: the promised ratios into the README, tables into ``docs/``.

Everything is made from the JSON that is kept, so that a page can be written again without measuring again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from . import answers, bars, bulk, compare, files, growth, near, post, start
from .common import insert, markdown

ROOT = Path(__file__).parent.parent
FIGURES = ROOT / "docs" / "figures"
#: The sections, in the order in which they run and are shown.
SECTIONS: dict[str, Any] = {
    "bars": bars,
    "near": near,
    "start": start,
    "post": post,
    "bulk": bulk,
    "compare": compare,
    "growth": growth,
}
#: The figures of a larger run of growth, which is started by hand and shown below the other.
BY_HAND = "growth-by-hand"
#: Runs of ``files``, and the names of their marks in docs/files.md. They are not sections, since they need more space.
FILES = {"files": "", "files-large": "large"}
#: Pictures of the README.
PICTURES = {
    "get-by-size.png": "Median time of a get by size, on S3 and in other caches",
    "threads.png": "Gets a second by number of threads, and with added latency",
}

Figures = dict[str, dict[str, Any]]


def kept(folder: Path) -> Figures:
    """Return the figures that are kept in *folder*, by section."""
    paths = {name: folder / f"{name}.json" for name in (*SECTIONS, BY_HAND, *FILES)}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.exists()}


def blocks(figures: Figures) -> dict[tuple[str, str], str]:
    """Return the text of each block, by page and name of its marks."""
    shown = [name for name in SECTIONS if name in figures and name != "near"]
    found = {("docs/benchmarks.md", name): SECTIONS[name].text(figures[name]) for name in shown}
    if BY_HAND in figures:
        found["docs/benchmarks.md", BY_HAND] = growth.text(figures[BY_HAND])
    for name in figures.keys() & FILES.keys():
        found["docs/files.md", FILES[name]] = files.table(figures[name])
    if "near" in figures:
        found["docs/near.md", ""] = near.text(figures["near"])
    if "compare" in figures and "bulk" in figures:
        found["docs/faq.md", ""] = answers.text(figures["compare"], figures["bulk"])
    if "bars" in figures:
        found["README.md", ""] = summary(figures)
    return found


def write(figures: Figures, root: Path = ROOT) -> None:
    """Write each block between its marks."""
    for (page, name), text in blocks(figures).items():
        insert(root / page, text, name)


def summary(figures: Figures) -> str:
    """Return the block of the README: the ratios, and two pictures."""
    one = figures["bars"]
    installed = ", ".join(f"{name} {one['versions'][name]}" for name in ("boto3", "obstore") if name in one["versions"])
    of_sections = {name: figures[name] for name in SECTIONS if name in figures}
    rows = [(what, _number(measured), target) for what, measured, target in ratios(of_sections)]
    lines = [
        (
            f"Measured against {one['server']}, {one['machine']}, {installed}, {one['date']}. More in"
            " [docs/benchmarks.md](docs/benchmarks.md); large files in [docs/files.md](docs/files.md)."
        ),
        "",
        markdown(("ratio", "measured", "target"), rows),
    ]
    if "compare" in figures:
        lines += ["", *(f"![{title}](docs/figures/{name})" for name, title in PICTURES.items())]
    return "\n".join(lines)


def _number(ratio: float) -> str:
    return f"{ratio:.1f}" if ratio >= 10 else f"{ratio:.2f}"  # noqa: PLR2004 - three digits are enough


def ratios(figures: Figures) -> Iterator[tuple[str, float, str]]:
    """Yield each promised ratio that was measured: its name, its value, and the target."""
    for name, of in RATIOS.items():
        if name in figures:
            yield from of(figures[name])


def _of_calls(figures: dict[str, Any]) -> Iterator[tuple[str, float, str]]:
    get, put = figures["get"], figures["put"]
    core = get["CloudCached"]
    yield "`get`, CPU: boto3 / CloudCached", get["boto3"]["cpu_ms"] / core["cpu_ms"], "5 or more"
    yield (
        "`get`, median time: CloudCached / raw HTTP",
        core["p50_ms"] / get["raw HTTP, unsigned"]["p50_ms"],
        "1.6 or less",
    )
    if "obstore" in get:  # not on every machine
        yield "`get`, CPU: CloudCached / bare obstore", core["cpu_ms"] / get["obstore"]["cpu_ms"], "1.25 or less"
    for door in bars.DOORS:
        framework = door.rpartition(" ")[2]
        yield f"`get`, CPU: {framework} / `Client`", get[door]["cpu_ms"] / core["cpu_ms"], "1.15 or less"
    yield "`put`, CPU: boto3 / CloudCached", put["boto3"]["cpu_ms"] / put["CloudCached"]["cpu_ms"], ""
    if "obstore" in put:
        ours, bare = put["CloudCached"]["cpu_ms"], put["obstore"]["cpu_ms"]
        yield "`put`, CPU: CloudCached / bare obstore", ours / bare, ""
    loop = figures["many"]["ratio"]["CloudCached get_many"]
    yield f"{figures['many_entries']:,} entries: boto3 loop / `get_many`", loop, "4 or more"


def _of_bulk(figures: dict[str, Any]) -> Iterator[tuple[str, float, str]]:
    for verb, pair in figures["against_raw"].items():
        yield f"`{verb}`, entries a second: CloudCached / raw HTTP", pair["ratio"]["CloudCached"], "0.75 or more"
    afar = figures["from_afar"]
    what = f"{figures['entries']:,} entries, {figures['latency_ms']:.0f} ms of latency: one by one / `get_many`"
    yield what, afar["times_as_fast"], "20 or more"


def _of_start(figures: dict[str, Any]) -> Iterator[tuple[str, float, str]]:
    for kind, ratio in figures["ratio"].items():
        yield f"first `get` of a process, {kind} credentials: CloudCached / boto3", ratio, "0.5 or less"


def _of_near(figures: dict[str, Any]) -> Iterator[tuple[str, float, str]]:
    hits = next(iter(figures["hits_us"].values()))
    ratio = hits["`Client.get`"] / hits["Django locmem `get`"]
    yield "a hit in the near tier / Django's locmem", ratio, "1 or less"


def _of_growth(figures: dict[str, Any]) -> Iterator[tuple[str, float, str]]:
    get = figures["per_s"]["get"]
    (few, *_), (*_, many) = get, get
    yield f"`get` a second: {int(many):,} entries / {int(few):,}", get[many] / get[few], "about 1"


def _of_files(figures: dict[str, Any]) -> Iterator[tuple[str, float, str]]:
    size = f"a file of {figures['bytes'] / files.MEGABYTE:,.0f} MB"
    for verb, way in (("put", "up"), ("get", "down")):
        yield f"{size} {way}, seconds: CloudCached / boto3", figures["ratio"][verb], "1 or less"
    extra = max(figures[verb]["CloudCached"]["extra_bytes"] for verb in files.VERBS)
    yield f"{size} up or down, peak extra memory, MB", extra / files.MEGABYTE, "256 or less"


RATIOS: dict[str, Callable[[dict[str, Any]], Iterator[tuple[str, float, str]]]] = {
    "bars": _of_calls,
    "bulk": _of_bulk,
    "start": _of_start,
    "near": _of_near,
    "growth": _of_growth,
    **dict.fromkeys(FILES, _of_files),
}
