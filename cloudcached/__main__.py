"""``python -m cloudcached``, and the command ``cloudcached``; the commands of Django and Flask begin here too."""

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
    """Run the command line, if its packages are installed, and exit with its code.

    Without *arguments* those of this process. url, options: the cache that is meant, as ``Client`` takes them; without
    a URL the command line and the environment name it.
    """
    missing = _missing()
    if missing:
        sys.exit(_without(missing))
    from .cli import main as run  # noqa: PLC0415 - needs what was looked for above

    run(arguments, url=url, options=options, prog_name=prog_name)


def summary() -> str:
    """Return the verbs with what they do, one a line, or what to install to have them."""
    missing = _missing()
    if missing:
        return f"  {_advice(missing)}"
    from .cli import summary as verbs  # noqa: PLC0415

    return verbs()


def _missing() -> list[str]:
    return [name for name in ("click", "rich") if find_spec(name) is None]


def _advice(missing: list[str]) -> str:
    return f"the command line needs {' and '.join(missing)}: pip install 'cloudcached[cli]'"


def _without(missing: list[str]) -> int:
    sys.stderr.write(f"cloudcached: {_advice(missing)}\n")
    return 2


if __name__ == "__main__":
    main()
