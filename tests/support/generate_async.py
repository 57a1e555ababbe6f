"""Write ``cloudcached/_async.py``: a twin that is awaited for each public verb of ``Client``.

Run by ``make generate``; ``test_async.py`` fails when the file is not what this writes.
"""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path

PACKAGE = Path(next(iter(find_spec("cloudcached").submodule_search_locations)))
#: These do no I/O, are properties, or have no twin: ``memoize`` decorates functions of both kinds, and what ``open``
#: returns is no awaitable file. ``get_or_put`` is not
#: in client.py: whoever awaits it must not hold a thread of the pool while another computes.
LEFT_OUT = {"encode", "latencies", "listen", "lock", "memoize", "open", "shared", "stats", "url"}

MIXED = ("Client", "FileVerbs")

HEADER = '''"""The twins that are awaited, written by tests/support/generate_async.py from client.py and files.py: do not edit."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from ._types import FileSource, FileTarget, Progress, TimeToExpire
from .pool import run

if TYPE_CHECKING:
    from .client import Client
    from .entry import EntryInfo
    from .seen import Token


class AsyncTwins:
    """Each verb of ``Client`` with an ``a`` before its name, run on the shared thread pool."""
'''


def twin(function: ast.FunctionDef) -> str:
    """Return the source of one twin."""
    returns = ast.unparse(function.returns) if function.returns else "None"
    call = f"self_.{function.name}"
    listed = returns.startswith("Iterator[")
    if listed:
        returns = returns.replace("Iterator[", "list[", 1)
    names = [argument.arg for argument in function.args.args[1:]]
    names += [f"{argument.arg}={argument.arg}" for argument in function.args.kwonlyargs]
    arguments = "".join(f", {name}" for name in names)
    target = f"lambda: list({call}({', '.join(names)}))" if listed else f"{call}{arguments}"
    return (
        f"\n    async def a{function.name}({ast.unparse(function.args)}) -> {returns}:\n"
        f'        """Await ``{function.name}`` on the shared pool."""\n'
        f'        self_ = cast("Client", self)\n'
        f"        return await run({target})\n"
    )


def generate() -> str:
    """Return the whole module."""
    modules = [ast.parse((PACKAGE / name).read_text(encoding="utf-8")) for name in ("client.py", "files.py")]
    classes = [node for tree in modules for node in tree.body if isinstance(node, ast.ClassDef) and node.name in MIXED]
    verbs = [
        node
        for mixed in classes
        for node in mixed.body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and node.name not in LEFT_OUT
    ]
    return HEADER + "".join(map(twin, verbs))


if __name__ == "__main__":
    (PACKAGE / "_async.py").write_text(generate(), encoding="utf-8")
