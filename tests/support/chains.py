"""What the tests of settings and keys share."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from cloudcached.config import Config
from cloudcached.stores.boto3.chain import Target, locate
from cloudcached.stores.boto3.session import Sessions


def target(bucket: str = "bucket", sse: Mapping[str, str] | None = None, **s3: str) -> Target:
    """Return where boto3's chain leads with these settings."""
    config = Config.parse(f"s3://{bucket}", {"s3": s3, **({"sse": sse} if sse else {})})
    return locate(config, Sessions(s3, 5.0))


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until *condition* holds."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def run(script: str, **variables: str) -> str:
    """Run *script* in a process of its own, which must be content, and return what it prints."""
    folders = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)],
        env={**os.environ, "PYTHONPATH": folders, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout
