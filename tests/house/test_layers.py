"""The shape of the code: floors, borders of foreign libraries, sizes.

A module imports only from lower floors. Read from the source, so that nothing need be importable.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

import cloudcached

#: The rooms (folders of ``cloudcached``, and the files beside them) from the ground up: a room imports from itself and
#: from the floors below its own. A new file in a room needs no entry here.
FLOORS = (
    ("errors", "_types", "prices"),
    ("entry", "runtime"),
    ("config",),
    ("stores",),
    ("engine", "doctor"),
    ("near", "coordination", "files"),
    ("client",),
    ("maintenance", "metrics", "testing", "__init__"),
    ("status", "cli"),
    ("__main__",),
)
#: Who may import what; the others may not.
BORDERS = {
    "boto3": ("cloudcached.stores.boto3",),
    "botocore": ("cloudcached.stores.boto3",),
    "blake3": ("cloudcached.entry.signing",),
    "opentelemetry": ("cloudcached.metrics.opentelemetry",),
    "prometheus_client": ("cloudcached.metrics.prometheus",),
    "diskcache": ("cloudcached.near.raw_disk",),
    "pickle": ("cloudcached.entry.values", "cloudcached.errors"),  # errors: the name of an exception
    "hmac": ("cloudcached.entry.signing", "cloudcached.stores.wire.request"),
    # boto3.container: one plain request to the credentials of a container, which is not S3
    "socket": ("cloudcached.stores.wire", "cloudcached.stores.boto3.container", "cloudcached.testing.server"),
    "ssl": ("cloudcached.stores.wire",),
    "django": ("cloudcached_django",),
    "flask": ("cloudcached_flask",),
    "flask_caching": ("cloudcached_flask",),
    "cachelib": ("cloudcached_flask",),
    "moto": ("cloudcached.testing.server",),
    "pytest": ("cloudcached.testing.plugin",),
}
#: What does I/O or tells the time: nothing of it in ``entry``.
EFFECTS = {"asyncio", "http", "random", "socket", "subprocess", "threading", "time", "urllib.request"}
MAX_FILE, MAX_FUNCTION = 420, 60


def sources(package: str) -> Iterator[tuple[str, Path]]:
    """Yield the dotted name and the path of each module of a package."""
    spec = find_spec(package)
    assert spec is not None
    for root in spec.submodule_search_locations or ():
        for path in sorted(Path(root).rglob("*.py")):
            parts = (package, *path.relative_to(root).with_suffix("").parts)
            yield ".".join(parts), path


@cache
def parsed(path: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(module: str, path: Path) -> Iterator[str]:
    """Yield the absolute name of each module, or name in a module, that *module* imports.

    Anywhere: within functions and under ``TYPE_CHECKING`` too, where a circle hides from Python but not from readers.
    """
    package = module.split(".")[:-1]
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            prefix = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{prefix}.{alias.name}" for alias in node.names)


CORE = dict(sources("cloudcached"))
ADAPTERS = {**dict(sources("cloudcached_django")), **dict(sources("cloudcached_flask"))}
ALL = {**CORE, **ADAPTERS}
#: What the adapters may import: the public names, the status page, and the command line that theirs are made of.
PUBLIC = {*cloudcached.__all__, "__main__.main", "__main__.summary", "status.StatusPage"}


def core_module(name: str) -> str | None:
    """Return the core's module that an imported name lies in: ``client`` for ``cloudcached.client.Client``."""
    parts = name.split(".")
    if parts[0] != "cloudcached":
        return None
    for end in range(len(parts), 0, -1):
        for module in (".".join(parts[:end]), ".".join([*parts[:end], "__init__"])):
            if module in CORE:
                return module.removeprefix("cloudcached.")
    return None


def room_of(module: str) -> str:
    """Return the room that a core module lies in: ``stores`` for ``stores.boto3.store``."""
    return module.partition(".")[0]


def floor_of(room: str) -> int:
    """Return a room's floor."""
    for floor, rooms in enumerate(FLOORS):
        if room in rooms:
            return floor
    message = f"{room} has no floor yet: give it one in FLOORS"
    raise AssertionError(message)


@cache
def neighbours(module: str) -> frozenset[str]:
    """Return the core modules that a core module imports."""
    full = f"cloudcached.{module}"
    return frozenset(found for name in imports(full, CORE[full]) if (found := core_module(name)) and found != module)


@pytest.mark.parametrize("full", CORE)
def test_imports_go_down(full: str) -> None:
    room = room_of(full.removeprefix("cloudcached."))
    others = {room_of(name) for name in neighbours(full.removeprefix("cloudcached."))} - {room}
    assert [other for other in sorted(others) if floor_of(other) >= floor_of(room)] == []


def test_the_rooms_are_all_there_is() -> None:
    rooms = {room_of(full.removeprefix("cloudcached.")) for full in CORE}
    assert rooms == {room for floor in FLOORS for room in floor}
    assert len([full for full in CORE if full.count(".") == 1]) == 7


def test_no_cycle() -> None:
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path, module])
        if module not in done:
            for name in neighbours(module):
                visit(name, (*path, module))
            done.add(module)

    for full in CORE:
        visit(full.removeprefix("cloudcached."), ())


@pytest.mark.parametrize("full", [full for full in CORE if full.startswith("cloudcached.entry.")])
def test_entries_have_no_effects(full: str) -> None:
    found = {name for name in imports(full, CORE[full]) for effect in EFFECTS if f"{name}.".startswith(f"{effect}.")}
    assert found == set()


@pytest.mark.parametrize("full", ALL)
def test_foreign_libraries_stay_behind_their_border(full: str) -> None:
    for name in imports(full, ALL[full]):
        allowed = BORDERS.get(name.split(".", maxsplit=1)[0])
        if allowed is not None:
            assert any(f"{full}.".startswith(f"{border}.") for border in allowed), f"{full} imports {name}"


@pytest.mark.parametrize("full", ADAPTERS)
def test_adapters_import_public_names_only(full: str) -> None:
    own = full.split(".", maxsplit=1)[0]
    for name in imports(full, ADAPTERS[full]):
        top, _, rest = name.partition(".")
        if top.startswith("cloudcached") and top != own:
            assert top == "cloudcached", f"adapters do not import each other: {name}"
            assert not rest or rest in PUBLIC, f"{name} is not public"


def our_files() -> Iterator[Path]:
    """Yield every Python file of the packages, and of the tests and the example beside this file."""
    yield from ALL.values()
    tests = Path(__file__).parents[1]
    for folder in (tests, tests.parent / "example_project"):
        yield from sorted(folder.rglob("*.py"))


def code_lines(path: Path) -> int:
    """Count the lines of a file that are code or comments, without docstrings and blank lines.

    Nor the signatures under ``@overload``: they say again, for type checkers, what the one below them says.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    left_out = {number for number, line in enumerate(lines, 1) if not line.strip()}
    for node in ast.walk(parsed(path)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            left_out.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
        decorators = getattr(node, "decorator_list", [])
        if any(ast.unparse(decorator) == "overload" for decorator in decorators):
            left_out.update(range(decorators[0].lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines) - len(left_out)


def test_files_and_functions_fit_on_a_few_screens() -> None:
    too_long = []
    for path in our_files():
        lines = code_lines(path)
        if lines > MAX_FILE:
            too_long.append(f"{path}: {lines} lines")
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > MAX_FUNCTION:
                    too_long.append(f"{path}:{node.lineno} {node.name}: {lines} lines")
    assert too_long == []


def test_no_error_is_swallowed_whole() -> None:
    swallowed = []
    for path in our_files():
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ExceptHandler) and catches_all(node.type) and all(map(does_nothing, node.body)):
                swallowed.append(f"{path}:{node.lineno}")
            if (
                isinstance(node, ast.Call)
                and ast.unparse(node.func).endswith("suppress")
                and any(map(catches_all, node.args))
            ):
                swallowed.append(f"{path}:{node.lineno}")
    assert swallowed == []


def catches_all(node: ast.expr | None) -> bool:
    """Whether an ``except`` of this type takes everything."""
    kinds = node.elts if isinstance(node, ast.Tuple) else [node]
    return any(kind is None or ast.unparse(kind) in ("Exception", "BaseException") for kind in kinds)


def does_nothing(node: ast.stmt) -> bool:
    """Whether a statement has no effect."""
    return isinstance(node, ast.Pass | ast.Continue) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    )
