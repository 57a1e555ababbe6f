"""The benchmarks: that they run, keep what was measured, and that pages show what is kept."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from cloudcached import Client

pytestmark = pytest.mark.checkout

ROOT = Path(__file__).parents[2]
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

    kept = figures()
    assert {name for name in report.RATIOS if name in kept and not list(report.RATIOS[name](kept[name]))} == set()
    assert {*KEPT} - {*report.RATIOS} == {"post", "compare"}
    assert len(list(report.ratios(kept))) >= 13


def test_a_ratio_that_earlier_runs_did_not_measure_is_left_out() -> None:
    from benchmarks import report

    kept = figures()["bars"]
    kept["put"].pop("obstore", None)
    assert not [what for what, *_ in report.ratios({"bars": kept}) if what.startswith("`put`") and "obstore" in what]
    kept["put"]["obstore"] = {**kept["put"]["boto3"], "cpu_ms": kept["put"]["CloudCached"]["cpu_ms"] / 2}
    found = [row for row in report.ratios({"bars": kept}) if row[0] == "`put`, CPU: CloudCached / bare obstore"]
    assert found == [("`put`, CPU: CloudCached / bare obstore", pytest.approx(2), "")]
    assert "| `put` by obstore |" in report.blocks({"bars": kept})["docs/benchmarks.md", "bars"]
    assert "`put`, CPU: CloudCached / bare obstore | 2.00 |" in report.summary({"bars": kept})


def test_bulk_verbs_have_rows_and_bars() -> None:
    from benchmarks import bulk, report

    kept = figures()["bulk"]
    pair = {"entries": 4000, "connections": 4, "median_s": {"raw": 1.0, "CloudCached": 1.25}}
    kept["against_raw"] = {verb: {**pair, "ratio": {"CloudCached": 0.8}} for verb in ("delete_many", "keys")}
    for verb in ("delete_many", "keys"):
        bar = (f"`{verb}`, entries a second: CloudCached / raw HTTP", 0.8, "0.75 or more")
        assert bar in list(report.ratios({"bulk": kept}))
        assert f"| `{verb}` of 4,000 | 4,000/s | 3,200/s | 0.80 |" in bulk.text(kept)
    assert "32 raw connections (4 for `delete_many`)" in bulk.text(kept)


def test_files_have_bars_where_they_were_measured() -> None:
    from benchmarks import report

    kept = {name: of for name, of in figures().items() if name in report.FILES}
    kept["files-large"] = {**kept["files"], "bytes": 5_000_000_000}
    found = {what: wanted for what, _, wanted in report.ratios(kept)}
    for size in ("200", "5,000"):
        assert found[f"a file of {size} MB up, seconds: CloudCached / boto3"] == "1 or less"
        assert found[f"a file of {size} MB down, seconds: CloudCached / boto3"] == "1 or less"
        assert found[f"a file of {size} MB up or down, peak extra memory, MB"] == "256 or less"
    most = max(kept["files"][verb]["CloudCached"]["extra_bytes"] for verb in ("put", "get"))
    assert ("a file of 200 MB up or down, peak extra memory, MB", most / 1e6, "256 or less") in report.ratios(kept)
    assert "a file of" not in report.summary(figures())  # their own page shows them, with their own day
    del kept["files-large"]
    assert len(list(report.ratios(kept))) == 3


def test_files_keep_where_they_were_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a server: files go to a folder, and nothing is measured."""
    from benchmarks import files

    stored: dict[str, bytes] = {}
    ways = {
        "put": lambda key, path: stored.update({key: path.read_bytes()}),
        "get": lambda key, path: path.write_bytes(stored[key]),
        "delete": lambda key, _: stored.pop(key),
    }

    def measure(way: str, verb: str, path: Path) -> dict[str, float]:
        ways[verb]("file", path)
        return {"seconds": 1.0, "cpu_s": 0.5, "extra_bytes": 7_000_000}

    class Server:
        def list_buckets(self) -> dict[str, Any]:
            return {"Buckets": [{"Name": files.BUCKET}]}

    monkeypatch.setenv("BENCHMARK_SERVER", "a folder")
    monkeypatch.setattr(files.boto3, "client", lambda _: Server())
    monkeypatch.setattr(files, "transfers", lambda _: ways)
    monkeypatch.setattr(files, "measure", measure)
    kept = files.run(1_000_000, 2, 0)
    assert set(kept) >= WHERE
    assert {"boto3", "s3transfer"} <= set(kept["versions"]) <= {"boto3", "s3transfer", "obstore"}
    assert f"; {kept['machine']}, a folder, {kept['date']} (boto3 " in files.table(kept)
    del kept["server"]
    assert ", a Ceph gateway on loopback, " in files.table(kept)


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
    assert samples["one"].summary()["calls"] == 2


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


def test_what_a_pair_needs_is_there_before_each_call() -> None:
    from benchmarks.common import pairs

    called: list[str] = []
    calls = {"raw": lambda: called.append("raw"), "ours": lambda: called.append("ours")}
    pairs(calls, 1, before=lambda: called.append("filled"))
    assert called == ["filled", "raw", "filled", "ours", "filled", "raw", "filled", "ours"]


@pytest.mark.real
def test_raw_requests_do_what_the_library_does(server: Any, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The LISTs that ``keys`` sends find each entry, and DeleteObjects removes them."""
    from benchmarks import bulk, raw

    monkeypatch.setattr(raw, "BUCKET", server.bucket)
    cache = Client(s3_url)
    names = [cache.engine.place(f"{number} <&>").object_key for number in range(1_100)]
    cache.put_many({f"{number} <&>": number for number in range(1_100)})
    line = raw.Raw(server.client())
    sent = bulk.listings(cache)
    assert sent[0] == (f"{s3_url.rpartition('/')[2]}/", "")
    assert len(sent) > 1
    found = b"".join(line.list(*each)() for each in sent)
    assert found.count(b"<Key>") == 1_100
    asked: list[bytes] = []
    with monkeypatch.context() as unsent:
        unsent.setattr(raw.Raw, "ask", lambda _, request: asked.append(request) or b"")
        bulk.raw_keys(line, cache)()
    assert len(asked) == len(sent)
    for start in (0, 1_000):
        line.delete_many(names[start : start + 1_000])()
    line._lines.line.close()
    assert list(cache.keys()) == []


def test_a_raw_answer_may_come_in_chunks() -> None:
    from benchmarks import raw

    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n<a/>")
        later = threading.Timer(0.05, theirs.sendall, [b"\n\r\n0\r\n\r\n"])
        later.start()
        assert b"<a/>" in raw._answer(ours)
        later.join()
        theirs.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")  # nothing of the first is left
        assert raw._answer(ours) == b"ok"


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
