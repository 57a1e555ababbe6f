"""Run the blocks of one page as a reader would type them, in a process of their own.

    python tests/support/docs_page.py docs/PAGE.md

One namespace for all Python of the page. ``settings.py`` blocks configure a real Django site, whose system checks must
find nothing; ``urlpatterns`` that a block sets are that site's. Commands must print what the page shows. Prints one
JSON line for each block that fails.
"""

from __future__ import annotations

import ast
import asyncio
import configparser
import doctest
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
import time
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import docs_site
import yaml
from click.testing import CliRunner
from docs_blocks import Block, blocks_of

from cloudcached.cli import command_line
from cloudcached.runtime.clock import SystemClock

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_CHECKER = doctest.OutputChecker()
_FLAGS = doctest.ELLIPSIS


class Page:
    """A page that is being read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.module = types.ModuleType("page")
        sys.modules["page"] = self.module  # what a block defines can be pickled
        self.names = vars(self.module)
        self.exit_code = 0

    def run(self, block: Block) -> None:
        """Run one block. Raises what is wrong with it."""
        kind = _KINDS.get(block.language)
        if kind is None:
            raise AssertionError(f"nothing is known to do with a block of {block.language or 'no language'!r}")
        run, check = kind
        if (check if block.reason else run) is None:
            raise AssertionError("such a block is run" if block.reason else "say why by <!-- not run: REASON -->")
        if block.reason:
            check(block)
        else:
            run(self, block)
        docs_site.take_urls(self.names)

    def python(self, block: Block) -> None:
        """Run a session with prompts, settings of Django, or plain code, which may await."""
        if ">>> " in block.code:
            self._session(block)
        elif block.title == "settings.py":
            given: dict[str, Any] = {}
            exec(_compiled(block), given)
            docs_site.configure({name: value for name, value in given.items() if name.isupper()})
        else:
            code = _compiled(block)
            outcome = eval(code, self.names)
            if inspect.iscoroutine(outcome):
                asyncio.run(outcome)

    def _session(self, block: Block) -> None:
        test = doctest.DocTestParser().get_doctest(block.code, {}, block.place, block.page, block.line - 1)
        test.globs = self.names
        told: list[str] = []
        result = doctest.DocTestRunner(optionflags=_FLAGS, verbose=False).run(test, out=told.append, clear_globs=False)
        assert result.failed == 0, "".join(told)

    def console(self, block: Block) -> None:
        """Run commands, and compare what they print; of a block without any output only that none of them fails."""
        commands = _commands(block)
        shows = any(wanted for _, wanted in commands)
        for command, wanted in commands:
            printed = self._printed(shlex.split(command))
            if shows:
                assert _CHECKER.check_output(wanted, printed, _FLAGS), f"$ {command}\nprints\n{printed}"
            assert wanted or self.exit_code == 0, f"$ {command}\nends with {self.exit_code}:\n{printed}"

    def _printed(self, words: list[str]) -> str:
        if words == ["echo", "$?"]:
            return f"{self.exit_code}\n"
        if words[0] == "export":
            os.environ.update(word.split("=", 1) for word in words[1:])
            return ""
        if words[0] == "cloudcached":
            result = CliRunner().invoke(command_line, words[1:], prog_name="cloudcached", input="y\n")  # where it asks
        elif words[0] == "flask":
            result = self.names["app"].test_cli_runner().invoke(args=words[1:])
        elif words[:2] == ["python", "manage.py"]:
            self.exit_code = 0
            return docs_site.manage(words[2:])
        else:
            raise AssertionError(f"{words[0]} is no command that can be run here")
        self.exit_code = result.exit_code
        return result.output

    def template(self, block: Block) -> None:
        """Render a template with all names of the page."""
        if block.language.endswith("jinja"):
            with self.names["app"].test_request_context():
                self.names["rendered"] = self.names["app"].jinja_env.from_string(block.code).render(self.names)
        else:
            self.names["rendered"] = docs_site.render(block.code, self.names)


def _compiled(block: Block) -> types.CodeType:
    # Line numbers of the page, for tracebacks and warnings.
    code = "\n" * (block.line - 1) + block.code
    return compile(code, block.page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


def _commands(block: Block) -> list[tuple[str, str]]:
    """Return each command of a block with what it prints; a line that ends in a backslash goes on."""
    assert block.code.startswith("$ "), "a console block begins with $ and a command"
    parts = re.split(r"^\$ ", block.code.replace("\\\n", ""), flags=re.MULTILINE)[1:]
    return [(command, printed) for command, _, printed in (part.partition("\n") for part in parts)]


# What is looked at in blocks that are not run


def _check_python(block: Block) -> None:
    if ">>> " in block.code:
        for example in doctest.DocTestParser().get_examples(block.code):
            compile(example.source, block.page, "single")
    else:
        _compiled(block)


def _check_console(block: Block) -> None:
    """Split the commands as a shell does, and let ``cloudcached`` parse its own."""
    for command, _ in _commands(block):
        words = shlex.split(command)
        if words[0] == "cloudcached":
            name, verb, rest = command_line.resolve_command(click.Context(command_line), words[1:])
            assert verb is not None
            verb.make_context(name, list(rest))


def _check_shell(block: Block) -> None:
    subprocess.run(["bash", "-n"], input=block.code, text=True, check=True)


def _parsed(parse: Callable[[str], object]) -> tuple[Callable[[Page, Block], None], Callable[[Block], None]]:
    def check(block: Block) -> None:
        parse(block.code)

    return (lambda _, block: check(block)), check


def _policy_or_any(text: str) -> object:
    """Parse JSON; what is a policy of IAM or a lifecycle must be one to AWS's mock too."""
    content = json.loads(text)
    if isinstance(content, dict):
        docs_site.check_aws(content)
    return content


def _no_code(text: str) -> None:
    """Refuse what should be a block of Python, and be run."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return
    code = (ast.Assign, ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Call)
    found = [node for node in tree.body if isinstance(getattr(node, "value", node), code) or isinstance(node, code)]
    assert not found, "this is Python: let the block say so"


_KINDS: dict[str, tuple[Callable[[Page, Block], None] | None, Callable[[Block], None]]] = {
    "python": (Page.python, _check_python),
    "hidden": (Page.python, _check_python),
    "console": (Page.console, _check_console),
    "sh": (None, _check_shell),
    "bash": (None, _check_shell),
    "html+django": (Page.template, None),
    "html+jinja": (Page.template, None),
    "json": _parsed(_policy_or_any),
    "toml": _parsed(tomllib.loads),
    "yaml": _parsed(yaml.safe_load),
    "ini": _parsed(lambda text: configparser.ConfigParser().read_string(text)),
    "text": _parsed(_no_code),
}


def main(path: Path) -> None:
    """Run all blocks, and tell of those that fail. The clock stands still, so that a page can say what is left."""
    now = float(int(time.time()))
    SystemClock.time = staticmethod(lambda: now)  # type: ignore[method-assign,assignment]
    page = Page(path)
    for block in blocks_of(path):
        try:
            page.run(block)
        except Exception:  # noqa: BLE001 - the others are run too, and this one is told of
            print(json.dumps({"place": block.place, "error": traceback.format_exc(limit=-4)}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
