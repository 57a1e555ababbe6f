"""The benchmarks: that they run, keep what was measured, and that pages show what is kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.checkout

ROOT = Path(__file__).parent.parent
#: What each section keeps beside where it ran.
KEPT = {
    "bars": {"rounds", "get", "put", "many_entries", "many"},
    "near": {"rounds", "hits_us", "places_ms"},
    "start": {"first_get_s", "ratio"},
    "post": {"runs", "calls"},
    "bulk": {"entries", "connections", "against_raw", "latency_ms", "from_afar"},
    "compare": {"seconds", "sizes", "threads", "latency", "forwarder_per_s"},
    "growth": {"entries", "threads", "fill_s", "per_s", "clear"},
}
WHERE = {"machine", "versions", "server", "date", "seed"}


def figures() -> dict[str, dict[str, Any]]:
    from benchmarks import report

    return report.kept(report.FIGURES)


def test_pages_show_the_figures_that_are_kept(tmp_path: Path) -> None:
    from benchmarks import report

    for page in ("README.md", "docs/near.md", "docs/benchmarks.md", "docs/faq.md", "docs/files.md"):
        (tmp_path / page).parent.mkdir(exist_ok=True)
        (tmp_path / page).write_text((ROOT / page).read_text(encoding="utf-8"), encoding="utf-8")
    report.write(figures(), tmp_path)
    for page, name in report.blocks(figures()):
        shown = (ROOT / page).read_text(encoding="utf-8")
        assert shown == (tmp_path / page).read_text(encoding="utf-8"), (
            f"{page} ({name}) shows other figures than docs/figures: python -m benchmarks --render"
        )


@pytest.mark.parametrize("section", KEPT)
def test_what_is_kept_says_where_it_was_measured(section: str) -> None:
    kept = figures()[section]
    assert set(kept) == WHERE | KEPT[section]
    assert kept["versions"]


def test_the_readme_shows_little_of_it() -> None:
    from benchmarks import report

    assert 10 <= len(report.summary(figures()).splitlines()) <= 25


def test_every_promised_ratio_is_printed() -> None:
    from benchmarks import report

    assert {name for name in report.RATIOS if not list(report.RATIOS[name](figures()[name]))} == set()
    assert len(list(report.ratios(figures()))) >= 13


def test_a_page_without_marks_is_refused(tmp_path: Path) -> None:
    from benchmarks.common import insert

    page = tmp_path / "page.md"
    page.write_text("no marks", encoding="utf-8")
    with pytest.raises(SystemExit, match="no marks for figures post"):
        insert(page, "text", "post")
    assert page.read_text(encoding="utf-8") == "no marks"


def test_calls_take_turns() -> None:
    from benchmarks.common import in_turns

    called: list[str] = []
    calls = {"one": lambda: called.append("one"), "other": lambda: called.append("other")}
    samples = in_turns(calls, rounds=2, warm_up=1)
    assert called == ["one", "other"] * 3
    assert [len(taken.wall) for taken in samples.values()] == [2, 2]
    assert samples["one"].told()["calls"] == 2


def test_turns_end_with_their_seconds() -> None:
    from benchmarks.common import in_turns

    assert len(in_turns({"": lambda: None}, rounds=10**9, seconds=0)[""].wall) == 1


def test_pairs_change_their_order_and_compare_with_the_first() -> None:
    from benchmarks.common import pairs

    called: list[str] = []
    figures = pairs({"raw": lambda: called.append("raw"), "ours": lambda: called.append("ours")}, 3)
    assert called == ["raw", "ours", "raw", "ours", "ours", "raw", "raw", "ours"]  # the first two are not counted
    assert set(figures["ratio"]) == {"ours"}
    assert [len(runs) for runs in figures["runs_s"].values()] == [3, 3]


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(0.00043, "0.43 us"), (0.0123, "12.3 us"), (0.5, "500 us"), (1.234, "1.23 ms"), (250, "250 ms"), (2500, "2.50 s")],
)
def test_times_are_for_people(milliseconds: float, text: str) -> None:
    from benchmarks.common import duration

    assert duration(milliseconds) == text


def test_pictures_are_drawn_of_what_is_kept(tmp_path: Path) -> None:
    """In a process of its own: matplotlib leaves much behind."""
    pytest.importorskip("matplotlib")
    for name in KEPT:
        (tmp_path / f"{name}.json").write_text((ROOT / "docs" / "figures" / f"{name}.json").read_text())
    _run("--render", "--figures", str(tmp_path))
    drawn = {path.name: path.read_bytes() for path in tmp_path.glob("*.png")}
    assert set(drawn) == {"get-by-size.png", "threads.png", "growth.png"}
    assert all(picture.startswith(b"\x89PNG") for picture in drawn.values())
    assert all((ROOT / "docs" / "figures" / name).exists() for name in drawn)


def test_pictures_leave_out_what_was_not_there(tmp_path: Path) -> None:
    """As on a machine without Debian's servers and without awscrt."""
    pytest.importorskip("matplotlib")
    from benchmarks.compare import SERVERS

    kept = json.loads((ROOT / "docs" / "figures" / "compare.json").read_text())
    for row in (*(row for column in kept["sizes"].values() for row in column.values()), *kept["threads"].values()):
        for name in (*SERVERS, "awscrt"):
            row.pop(name, None)
    (tmp_path / "compare.json").write_text(json.dumps(kept))
    _run("--render", "--figures", str(tmp_path))
    assert {path.name for path in tmp_path.glob("*.png")} == {"get-by-size.png", "threads.png"}


@pytest.mark.parametrize(
    ("arguments", "message"), [(["nonsense"], "no section nonsense"), (["--quick"], "--quick needs --figures")]
)
def test_wrong_command_lines_are_told(arguments: list[str], message: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert message in result.stderr


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("section", KEPT)
def test_each_section_runs(section: str, s3_url: str, tmp_path: Path) -> None:
    """With tiny counts, for what is installed here."""
    _run("--quick", "--figures", str(tmp_path), section)
    kept = json.loads((tmp_path / f"{section}.json").read_text())
    assert set(kept) == WHERE | KEPT[section]
    if section == "growth":
        assert (kept["clear"]["removed"], kept["clear"]["other"]) == (1200, 0)


def _run(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "default"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
