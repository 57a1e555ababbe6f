"""Runs the benchmarks, each in its own process, and writes their figures into the pages.

    python -m benchmarks [SECTION...]            measure, keep the JSON in docs/figures, write the pages and pictures
    python -m benchmarks --render                write pages and pictures again from the JSON
    python -m benchmarks --quick --figures DIR   check that it runs, with tiny counts; JSON and pictures into DIR, no page
    python -m benchmarks growth --entries 1000000 --figures DIR

Needs an S3 server in the environment (``benchmarks/on-ceph`` starts one).
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import time
from pathlib import Path

from . import report


def main() -> None:
    """Run the command line."""
    doc = __doc__ or ""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(report.SECTIONS))
    parser.add_argument("--figures", type=Path, default=report.FIGURES, help="folder of the JSON and the pictures")
    parser.add_argument("--entries", type=int, help="the largest cache of the section growth")
    parser.add_argument("--quick", action="store_true", help="tiny counts: check that it runs")
    parser.add_argument("--render", action="store_true", help="measure nothing; write pages and pictures from the JSON")
    arguments = parser.parse_args()
    unknown = set(arguments.sections) - set(report.SECTIONS)
    if unknown:
        parser.error(f"no section {', '.join(sorted(unknown))}; choose from {', '.join(report.SECTIONS)}")
    ours = arguments.figures.resolve() == report.FIGURES.resolve()
    if arguments.quick and ours:
        parser.error("--quick needs --figures: figures of tiny counts must not replace real ones")
    if not arguments.render:
        for name in arguments.sections or report.SECTIONS:
            _measure(name, arguments)
    figures = report.kept(arguments.figures)
    if importlib.util.find_spec("matplotlib"):
        from . import plots  # noqa: PLC0415 - needs matplotlib

        plots.draw(figures, arguments.figures)
    else:
        print("no pictures: matplotlib is not installed", file=sys.stderr)
    if ours:
        report.write(figures)
    for what, measured, target in report.ratios(figures):
        print(f"{measured:8.2f}  {what}" + (f"  (target: {target})" if target else ""))


def _measure(name: str, arguments: argparse.Namespace) -> None:
    """Run a section in its own process, so that the threads of one do not add to the CPU time of another."""
    began = time.monotonic()
    command = [sys.executable, "-m", f"benchmarks.{name}", "--json", str(arguments.figures / f"{name}.json")]
    if arguments.quick:
        command.append("--quick")
    if name == "growth" and arguments.entries:
        command += ["--entries", str(arguments.entries)]
    print(f"{name} ...", file=sys.stderr, flush=True)
    subprocess.run(command, check=True)  # noqa: S603 - ourselves
    print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
