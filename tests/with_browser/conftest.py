"""A browser (Debian's chromium, by Playwright) in front of the demo's two sites."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
ARGUMENTS = (
    "--no-sandbox",  # tests may run as root
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
    "--proxy-server=direct://",
)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Give the path of the browser; without one, skip on a laptop and fail on CI."""
    path = shutil.which("chromium")
    if path is None:
        (pytest.fail if "CI" in os.environ else pytest.skip)("needs chromium (Debian: apt install chromium)")
    return path


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """Start it. Playwright keeps an event loop running in this thread, which asynchronous tests of other files must not meet."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def sites(chromium: str, loopback_only: None) -> Iterator[dict[str, str]]:
    """Start the demo as its user does, on free ports; give the addresses of its sites."""
    inherited = {name: value for name, value in os.environ.items() if name not in {"CLOUDCACHED_URL", "ONCE"}}
    with subprocess.Popen(
        [sys.executable, "-m", "example_project.demo"],
        cwd=ROOT,
        env={"ISING_EFFORT": "0.02", **inherited, "PORT": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as demo:
        lines = []
        while not lines or not lines[-1].startswith("Ctrl-C"):
            lines.append(demo.stdout.readline())
            assert lines[-1], f"the demo has ended: {''.join(lines)}"
        yield {
            name.lower(): address
            for name, address in re.findall(r"^(Django|Flask) +(\S+)/$", "".join(lines), re.MULTILINE)
        }
        demo.terminate()
        assert demo.wait(30) == 0


class Visitor:
    """A page of the browser, and all that went wrong on it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.wrong: list[str] = []
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("requestfailed", lambda request: self.wrong.append(f"failed: {request.url} {request.failure}"))
        page.on("console", lambda line: self.wrong.append(line.text) if line.type in {"error", "warning"} else None)
        page.on(
            "response",
            lambda answer: self.wrong.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None,
        )


@pytest.fixture
def visitor(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Visitor]:
    """Give a visitor with a fresh context; ``param`` are the options of that. Nothing may have gone wrong at the end."""
    context = browser.new_context(**{"viewport": {"width": 1000, "height": 760}, **getattr(request, "param", {})})
    context.set_default_timeout(20_000)
    seen = Visitor(context.new_page())
    yield seen
    # What a page has under way when it is left is broken off, and no failure.
    wrong = [line for line in seen.wrong if "ERR_ABORTED" not in line]
    context.close()
    assert wrong == []


@pytest.fixture(scope="session")
def figures() -> Path | None:
    """Give the folder where pictures are kept for the documents, where the environment names one."""
    return Path(os.environ["CLOUDCACHED_FIGURES"]) if "CLOUDCACHED_FIGURES" in os.environ else None
