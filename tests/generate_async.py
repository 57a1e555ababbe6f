"""Write ``cloudcached/_async.py``: a twin that is awaited for each public verb of ``Client``.

Run by ``make generate``; ``test_async.py`` fails when the file is not what this writes.
"""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path

PACKAGE = Path(next(iter(find_spec("cloudcached").submodule_search_locations)))
#: These do no I/O, are properties, or have no twin: ``memoize`` decorates functions of both kinds. ``get_or_put`` is not
#: in client.py: whoever awaits it must not hold a thread of the pool while another computes.
LEFT_OUT = {"encode", "lock", "memoize", "shared", "stats", "url"}

HEADER = '''"""The twins that are awaited, written by tests/generate_async.py from client.py: do not edit."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from ._types import TimeToExpire
from .pool import run

if TYPE_CHECKING:
    from .client import Client
    from .engine import Token
    from .entry import EntryInfo


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
    tree = ast.parse((PACKAGE / "client.py").read_text(encoding="utf-8"))
    client = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Client")
    verbs = [
        node
        for node in client.body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and node.name not in LEFT_OUT
    ]
    return HEADER + "".join(map(twin, verbs))


if __name__ == "__main__":
    (PACKAGE / "_async.py").write_text(generate(), encoding="utf-8")
