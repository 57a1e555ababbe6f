"""Write ``docs/cli.md``: what ``--help`` says of each verb.

Run by ``make generate``; ``test_cli_page.py`` fails when the file is not what this writes.
"""

from __future__ import annotations

from pathlib import Path

import click

from cloudcached.cli import verbs
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

The same verbs work on the caches of a site, with its settings and its keys:

<!-- not run: needs a site of yours; tests/with_django/test_command.py runs such -->
```sh
python manage.py cloudcached --cache default ls      # Django: an alias of CACHES, and "cloudcached_django" installed
flask cloudcached ls                                 # Flask: the cache of the app; --cache URL where it has several
```

There a key is that of the entry: `:1:greeting` for Django's `cache.get("greeting")` (`KEY_PREFIX:VERSION:key`), and with
the `CACHE_KEY_PREFIX` for Flask (`flask_cache_` where none is set). `call_command("cloudcached", ...)` raises
`CommandError` with the exit code as its `returncode`.

What people read goes to a terminal as tables and colours, and to a pipe as plain text; `--json` is for programs. Errors
are one line on standard error. Completion: `cloudcached completion --help`.

## Exit codes

| code | meaning |
|---|---|
| 0 | done, or the answer is yes |
| 1 | the answer is no: no such entry, a promise that does not hold |
| 2 | the command line or the configuration is wrong, or an extra is missing |
| 3 | the store cannot be asked: not reached, no such bucket, access denied |
| 130 | interrupted |
"""


def page() -> str:
    """Return the whole page."""
    settings = {**verbs.context_settings, "terminal_width": 100}
    context = click.Context(verbs, info_name="cloudcached", obj=Target("", {}), **settings)
    parts = [HEADER]
    for name, command in sorted(verbs.commands.items()):
        with click.Context(command, info_name=name, parent=context, terminal_width=100) as inner:
            parts.append(f"## {name}\n\n```text\n{command.get_help(inner)}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
