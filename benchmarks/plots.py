"""The pictures: PNG with their own light, neutral background, readable on a white page and on a dark one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

from .common import size_name

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

GROUND, INK, FAINT = "#f3f4f6", "#1f2937", "#c9ced6"
#: Colours that colour-blind readers can distinguish too (Okabe and Ito, darkened), and line styles.
STYLES: dict[str, tuple[str, str]] = {
    "raw HTTP": ("#6b7280", ":"),
    "obstore": ("#0f766e", "--"),
    "CloudCached": ("#c2410c", "-"),
    "CloudCached, near": ("#c2410c", "-."),
    "awscrt": ("#7c3aed", "--"),
    "boto3": ("#0369a1", "-"),
    "flask-caching-s3": ("#0369a1", ":"),
    "django-s3-express-cache's way": ("#a16207", ":"),
    "redis, Django": ("#be185d", "-"),
    "memcached, Django": ("#be185d", "--"),
    "database (SQLite), Django": ("#4d7c0f", "-"),
    "file, Django": ("#4d7c0f", "--"),
    "diskcache": ("#4d7c0f", ":"),
    "locmem, Django": ("#111827", "-."),
}
_RC = {
    "figure.facecolor": GROUND,
    "savefig.facecolor": GROUND,
    "axes.facecolor": GROUND,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "font.size": 10,
}


def draw(figures: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw the pictures that there are figures for; return the files."""
    made = []
    with plt.rc_context(_RC):
        if "compare" in figures:
            made += [_by_size(figures["compare"], folder), _crowds(figures["compare"], folder)]
        if "growth" in figures:
            made.append(_growth(figures["growth"], folder))
    return made


def _by_size(figures: Mapping[str, Any], folder: Path) -> Path:
    sizes = {int(size): column["get"] for size, column in figures["sizes"].items()}
    figure, axes = plt.subplots(figsize=(8.4, 4.6), layout="constrained")
    measured = {name for column in sizes.values() for name in column}
    for name in STYLES:
        if name in measured:  # a server that was not installed is missing
            _line(axes, name, [(size, column[name]["p50_ms"]) for size, column in sizes.items() if name in column])
    axes.set(xscale="log", yscale="log", title="get: median time by size of the value", ylabel="")
    _ticks(axes, "x", sizes, size_name)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda milliseconds, _: _time(milliseconds)))
    _legend(figure, axes)
    return _save(figure, folder / "get-by-size.png")


def _crowds(figures: Mapping[str, Any], folder: Path) -> Path:
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.9), layout="constrained", sharey=True)
    threads = {int(count): row for count, row in figures["threads"].items()}
    shown = [name for name in STYLES if name in next(iter(threads.values())) and name != "CloudCached, near"]
    for name in shown:
        _line(left, name, [(count, row[name]) for count, row in threads.items()])
    left.set(xscale="log", yscale="log", title="gets of 32 bytes a second", xlabel="threads of one process")
    _ticks(left, "x", threads, str)
    by_latency = figures["latency"]
    many = max(next(iter(by_latency.values())), key=int)
    for name in next(iter(by_latency.values()))[many]:
        _line(right, name, [(int(added), row[many][name]) for added, row in by_latency.items()])
    right.set(yscale="log", title=f"the same with {many} threads", xlabel="added latency, ms")
    _ticks(right, "x", [int(added) for added in by_latency], str)
    left.yaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:,.0f}"))
    _legend(figure, left)
    return _save(figure, folder / "threads.png")


def _growth(figures: Mapping[str, Any], folder: Path) -> Path:
    figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
    per_s = figures["per_s"]
    for verb, (colour, dash) in {"get": ("#c2410c", "-"), "put": ("#0369a1", "--")}.items():
        points = [(int(size), rate) for size, rate in per_s[verb].items()]
        axes.plot(*zip(*points, strict=True), color=colour, linestyle=dash, marker="o", markersize=4, label=verb)
    axes.set(xscale="log", title=f"operations a second of {figures['threads']} threads", xlabel="entries in the cache")
    axes.set_ylim(bottom=0)
    _ticks(axes, "x", [int(size) for size in per_s["get"]], "{:,}".format)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:,.0f}"))
    axes.legend()
    return _save(figure, folder / "growth.png")


def _line(axes: Axes, name: str, points: Iterable[tuple[int, float]]) -> None:
    colour, dash = STYLES[name]
    ours = name.startswith("CloudCached")
    x, y = zip(*points, strict=True)
    axes.plot(x, y, color=colour, linestyle=dash, linewidth=2.6 if ours else 1.5, marker="o", markersize=3, label=name)


def _ticks(axes: Axes, axis: str, at: Iterable[int], name: Any) -> None:
    chosen = getattr(axes, f"{axis}axis")
    chosen.set_major_locator(FixedLocator(list(at)))
    chosen.set_minor_locator(NullLocator())
    chosen.set_major_formatter(FuncFormatter(lambda value, _: name(round(value))))


def _time(milliseconds: float) -> str:
    """Return a power of ten of milliseconds as text."""
    for limit, factor, unit in ((1, 1e3, "us"), (1e3, 1, "ms")):
        if milliseconds < limit * 0.999:
            return f"{milliseconds * factor:g} {unit}"
    return f"{milliseconds / 1e3:g} s"


def _legend(figure: Any, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=9, handlelength=2.8)


def _save(figure: Any, path: Path) -> Path:
    figure.savefig(path, dpi=140)
    plt.close(figure)
    return path
