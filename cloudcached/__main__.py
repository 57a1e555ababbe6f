"""``python -m cloudcached``, and the command ``cloudcached``."""

from __future__ import annotations

import sys
from importlib.util import find_spec


def main() -> None:
    """Run the command line, if its packages are installed, and exit with its code."""
    missing = [name for name in ("click", "rich") if find_spec(name) is None]
    if missing:
        sys.exit(_without(missing))
    from .cli import main as run  # noqa: PLC0415 - needs what was looked for above

    run()


def _without(missing: list[str]) -> int:
    wanted = " and ".join(missing)
    sys.stderr.write(f"cloudcached: the command line needs {wanted}: pip install 'cloudcached[cli]'\n")
    return 2


if __name__ == "__main__":
    main()
