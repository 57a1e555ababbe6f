"""The entry point of ``python -m cloudcached``, of the command ``cloudcached``, and of Django's and Flask's commands."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any, NoReturn


def main(
    arguments: Sequence[str] | None = None,
    *,
    url: str = "",
    options: Mapping[str, Any] | None = None,
    prog_name: str = "cloudcached",
) -> NoReturn:
    """Run the command line, and exit with its exit code: 2 if the packages of the extra ``cli`` are not installed.

    arguments: default to those of this process. url, options: the cache to work on, as ``Client`` takes them. Without
    a URL, the command line or the environment names the cache.
    """
    missing = _missing()
    if missing:
        sys.exit(_without(missing))
    from .cli import main as run  # noqa: PLC0415 - needs the packages that were looked for above

    run(arguments, url=url, options=options, prog_name=prog_name)


def summary() -> str:
    """Return one line per command, its name and its purpose, or the packages to install first."""
    missing = _missing()
    if missing:
        return f"  {_advice(missing)}"
    from .cli import summary as of_commands  # noqa: PLC0415

    return of_commands()


def _missing() -> list[str]:
    return [name for name in ("click", "rich") if find_spec(name) is None]


def _advice(missing: list[str]) -> str:
    return f"the command line needs {' and '.join(missing)}: pip install 'cloudcached[cli]'"


def _without(missing: list[str]) -> int:
    sys.stderr.write(f"cloudcached: {_advice(missing)}\n")
    return 2


if __name__ == "__main__":
    main()
