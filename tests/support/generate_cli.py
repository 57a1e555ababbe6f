"""Write ``docs/cli.md``: the ``--help`` of each command.

Run by ``make generate``; ``tests/cli/test_page.py`` fails if the file differs from what this writes.
"""

from __future__ import annotations

from pathlib import Path

import click

from cloudcached.cli import command_line
from cloudcached.cli.target import Target

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"

HEADER = """\
# The command line

<!-- written by tests/support/generate_cli.py (make generate): do not edit -->

<!-- not run: installs packages, and asks a bucket of yours -->
```sh
pip install "cloudcached[cli]"
cloudcached ls s3://bucket/prefix           # the URL is the first argument,
export CLOUDCACHED_URL=s3://bucket/prefix   # or is in the environment
export CLOUDCACHED_SIGNING_KEY=...          # what the entries are signed with
cloudcached get page
```

The same commands work on the caches of a site, with its settings and its signing key:

<!-- not run: needs a site of yours; tests/with_django/test_command.py runs such -->
```sh
python manage.py cloudcached --cache default ls      # Django: an alias of CACHES, and "cloudcached_django" installed
flask cloudcached ls                                 # Flask: the cache of the app; --cache URL where it has several
```

There, give the full key of the entry: for Django's `cache.get("greeting")` it is `:1:greeting` (`KEY_PREFIX:VERSION:key`);
for Flask it begins with the `CACHE_KEY_PREFIX` (`flask_cache_` by default). `call_command("cloudcached", ...)` raises
`CommandError` with the exit code as its `returncode`.

Output is tables and colours on a terminal, plain text in a pipe, and JSON for programs with `--json`. Errors are one
line on standard error. For shell completion see `cloudcached completion --help`.

## Exit codes

| code | meaning |
|---|---|
| 0 | success, or the answer is yes |
| 1 | the answer is no: no such entry, or a promise does not hold |
| 2 | the command line or the configuration is wrong, or an extra is missing |
| 3 | the store is unavailable: unreachable, no such bucket, or access denied |
| 130 | interrupted |
"""


def page() -> str:
    """Return the complete page."""
    settings = {**command_line.context_settings, "terminal_width": 100}
    context = click.Context(command_line, info_name="cloudcached", obj=Target("", {}), **settings)
    parts = [HEADER]
    for name, command in sorted(command_line.commands.items()):
        with click.Context(command, info_name=name, parent=context, terminal_width=100) as inner:
            parts.append(f"## {name}\n\n```text\n{command.get_help(inner)}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
