"""Draw the rooms of the house from its imports: ``docs/figures/rooms-light.svg`` and ``rooms-dark.svg``.

Run by ``make rooms``, and by ``make generate``; ``tests/house/test_rooms.py`` fails when the pictures are not what this
draws. It reads the source and imports nothing of it, so that any Python can run it.

A folder is a room; so is a file at the top of ``cloudcached``. A room stands on the floor above the highest one that it
imports from, so no arrow leads up; rooms that import each other in a circle cannot be drawn. An arrow is left out where
others lead from its one end to its other, or nobody could read the rest.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from html import escape
from itertools import chain
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
FIGURES = ROOT / "docs" / "figures"
PACKAGES = ("cloudcached", "cloudcached_django", "cloudcached_flask", "example_project")
#: Files without a room of their own.
WITHIN = {"__init__": "client", "__main__": "cli"}


class Room(NamedTuple):
    """How a room is drawn; its floor follows from the imports."""

    #: From the left; arrows that skip floors come down in the column of the room they lead to.
    column: float
    #: ``core`` is the cache itself, ``wing`` is what nobody needs to read to change it, ``site`` is a framework's.
    kind: str
    #: Two lines at most; the folders within the room follow a blank at the end.
    text: tuple[str, ...]


ROOMS = {
    "errors": Room(0.5, "core", ("the exception tree",)),
    "_types": Room(1.5, "core", ("types that all rooms share",)),
    "prices": Room(4, "wing", ("what S3 bills",)),
    "entry": Room(0.5, "core", ("the bytes of an entry: pure,", "no I/O, no clock, no threads")),
    "runtime": Room(1.5, "core", ("clock, pool, forks, budgets,", "counters: nothing of S3")),
    "config": Room(0.5, "core", ("URL and options,", "checked once, frozen")),
    "stores": Room(1, "core", ("where bytes live: the port,", "memory.py, ")),
    "engine": Room(1, "core", ("entries on a store; the only", "place that sends again")),
    "doctor": Room(3, "wing", ("what a bucket really does,", "which promises hold there")),
    "near": Room(0, "wing", ("what this process and", "this machine hold")),
    "coordination": Room(1, "wing", ("several callers, one result:", "locks, get_or_put, memoize")),
    "files": Room(2, "wing", ("values that are too large", "for memory")),
    "client": Room(1, "core", ("Client: every method", "on one page")),
    "testing": Room(1, "wing", ("a clock, faults, a server", "for tests of your own")),
    "maintenance": Room(3, "wing", ("purge, lifecycle rules,", "policies, a survey, a bench")),
    "metrics": Room(4, "wing", ("Prometheus,", "OpenTelemetry")),
    "cli": Room(2, "wing", ("the command", "cloudcached")),
    "status": Room(3.5, "wing", ("the status page",)),
    "cloudcached_django": Room(2, "site", ("a backend for CACHES,", "on public names only")),
    "cloudcached_flask": Room(3.5, "site", ("a backend for Flask-Caching,", "on public names only")),
    "example_project": Room(3.5, "site", ("two sites to play with",)),
}

#: What is drawn in which colour: the room's fill, edge and name; then texts, arrows, and the bands of the floors.
LIGHT = {
    "core": ("#d5f0ec", "#00796b", "#004d40"),
    "wing": ("#f4f5f7", "#8c959f", "#24292f"),
    "site": ("#fff1dc", "#c77700", "#6b3f00"),
    "text": "#424a53",
    "arrow": "#57606a",
    "band": "#5b6b7b",
}
DARK = {
    "core": ("#0f3d38", "#4db6ac", "#b2fff4"),
    "wing": ("#262b33", "#768390", "#e6edf3"),
    "site": ("#46300d", "#e0a03c", "#ffdca3"),
    "text": "#c3ccd6",
    "arrow": "#9aa7b4",
    "band": "#9fb3c8",
}
KINDS = {"core": "the cache itself", "wing": "wings, which can be left unread", "site": "for frameworks"}

WIDTH, HEIGHT, STEP, GAP = 196, 66, 216, 42
LEFT, TOP, LEGEND = 56, 12, 64


def modules() -> dict[str, Path]:
    """Return the files of the packages by their dotted names, ``__init__`` included."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            found[".".join(path.relative_to(ROOT).with_suffix("").parts)] = path
    return found


def room_of(module: str) -> str:
    """Return the room that a module lies in."""
    package, _, rest = module.partition(".")
    name = rest.partition(".")[0] if package == "cloudcached" else package
    return WITHIN.get(name, name)


def imported(module: str, path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    """Yield the modules of the packages that *module* imports anywhere, also for type checkers alone."""
    package = module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{start}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            tries = chain.from_iterable(
                (".".join(parts[:end]), ".".join([*parts[:end], "__init__"])) for end in range(len(parts), 0, -1)
            )
            yield from [found for found in tries if found in known][:1]


def arrows() -> dict[str, set[str]]:
    """Return for each room the others that it imports from. Raises ``LookupError`` for one that is not in ``ROOMS``."""
    known = modules()
    found: dict[str, set[str]] = {}
    for module, path in known.items():
        here = room_of(module)
        found.setdefault(here, set()).update(map(room_of, imported(module, path, known)))
        found[here].discard(here)
    if set(found) != set(ROOMS):
        raise LookupError(f"ROOMS does not agree with the folders: {sorted(set(found) ^ set(ROOMS))}")
    return found


def floors(found: Mapping[str, set[str]]) -> dict[str, int]:
    """Return each room's floor, 0 for those that import nothing. Raises ``ValueError`` for a circle."""
    floor: dict[str, int] = {}

    def climb(room: str, path: tuple[str, ...]) -> int:
        if room in path:
            raise ValueError("rooms import each other in a circle: " + " -> ".join([*path, room]))
        if room not in floor:
            floor[room] = 1 + max((climb(other, (*path, room)) for other in sorted(found[room])), default=-1)
        return floor[room]

    for room in sorted(found):
        climb(room, ())
    return floor


def drawn(found: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Return the arrows that do not follow from others."""

    def reached(room: str) -> set[str]:
        return found[room].union(*map(reached, found[room]))

    return {room: others - set().union(*map(reached, others)) for room, others in found.items()}


class House:
    """Where everything is in the picture, in pixels."""

    def __init__(self) -> None:
        self.imports = arrows()
        self.floor = floors(self.imports)
        self.arrows = drawn(self.imports)
        self.top = max(self.floor.values())
        self.width = LEFT + round(STEP * max(room.column for room in ROOMS.values())) + WIDTH + 16
        self.bottom = TOP + (self.top + 1) * (HEIGHT + GAP) - GAP
        self.height = self.bottom + LEGEND

    def y(self, floor: int) -> int:
        """Return where the rooms of a floor begin."""
        return TOP + (self.top - floor) * (HEIGHT + GAP)

    def middle(self, room: str) -> int:
        """Return the middle of a room, from the left."""
        return LEFT + round(STEP * ROOMS[room].column) + WIDTH // 2

    def start(self, room: str, other: str) -> int:
        """Return where the arrow to *other* leaves a room: side by side, in the order of where they lead."""
        order = sorted(self.arrows[room], key=lambda name: (self.middle(name), -self.floor[name]))
        return self.middle(room) + round((order.index(other) - (len(order) - 1) / 2) * 22)


def path_of(house: House, room: str, other: str) -> str:
    """Return the way of an arrow: a curve through the gap below the room, then straight down."""
    x, end = house.start(room, other), house.middle(other)
    y, below = house.y(house.floor[room]) + HEIGHT, house.y(house.floor[room] - 1)
    last = house.y(house.floor[other]) - 3
    return f"M{x} {y} C{x} {below - 10} {end} {y + 4} {end} {below - 7} L{end} {last}"


def box(house: House, room: str, colours: Mapping[str, tuple[str, str, str] | str]) -> Iterator[str]:
    """Yield a room."""
    spec = ROOMS[room]
    fill, edge, ink = colours[spec.kind]
    x, y = house.middle(room) - WIDTH // 2, house.y(house.floor[room])
    folder = ROOT / room if spec.kind == "site" else ROOT / "cloudcached" / room
    name = f"{room}/" if folder.is_dir() else f"{room}.py"
    inner = sorted(f"{path.name}/" for path in folder.glob("*/") if any(path.glob("__init__.py")))
    lines = list(spec.text)
    if lines[-1].endswith(" "):
        lines[-1] += ", ".join(inner)
    yield f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="9" fill="{fill}" stroke="{edge}"/>'
    first = y + (25 if len(lines) > 1 else 31)
    yield f'<text x="{house.middle(room)}" y="{first}" class="name" fill="{ink}">{escape(name)}</text>'
    for number, line in enumerate(lines):
        yield f'<text x="{house.middle(room)}" y="{first + 17 + 14 * number}" class="text">{escape(line)}</text>'


def picture(house: House, colours: Mapping[str, tuple[str, str, str] | str]) -> str:
    """Return the picture in these colours."""
    count = sum(map(len, house.imports.values()))
    shown = sum(map(len, house.arrows.values()))
    said = (
        f"{len(ROOMS)} rooms on {house.top + 1} floors. An arrow leads from a room to one that it imports from."
        f" Of {count} the {shown} are drawn that do not follow from others."
    )
    style = (
        "text{font-family:ui-sans-serif,system-ui,'Segoe UI','Helvetica Neue',Arial,'DejaVu Sans',sans-serif;"
        "text-anchor:middle}.name{font:600 14.5px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace}"
        f".text{{font-size:11.5px;fill:{colours['text']}}}.left{{text-anchor:start}}"
    )
    tip = f'<path d="M0 .5 L7.5 4 L0 7.5 Z" fill="{colours["arrow"]}"/>'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {house.width} {house.height}" role="img">',
        "<title>The rooms of CloudCached</title>",
        f"<desc>{said}</desc>",
        f"<style>{style}</style>",
        f'<marker id="tip" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="7" markerHeight="7" orient="auto">{tip}</marker>',
    ]
    for floor in range(house.top + 1):
        y = house.y(floor)
        lines.append(
            f'<rect x="6" y="{y - 8}" width="{house.width - 12}" height="{HEIGHT + 16}" rx="12"'
            f' fill="{colours["band"]}" fill-opacity=".08"/>'
        )
        lines.append(f'<text x="28" y="{y + HEIGHT // 2 + 5}" class="text" style="font-size:15px">{floor}</text>')
    lines.append(f'<g fill="none" stroke="{colours["arrow"]}" stroke-width="1.4" marker-end="url(#tip)">')
    for room in ROOMS:
        lines += [f'<path d="{path_of(house, room, other)}"/>' for other in ROOMS if other in house.arrows[room]]
    lines.append("</g>")
    for room in ROOMS:
        lines += box(house, room, colours)
    x, y = LEFT, house.bottom + 24
    for kind, text in KINDS.items():
        fill, edge, _ = colours[kind]
        lines.append(f'<rect x="{x}" y="{y}" width="15" height="15" rx="4" fill="{fill}" stroke="{edge}"/>')
        lines.append(f'<text x="{x + 22}" y="{y + 12}" class="text left">{text}</text>')
        x += 54 + 6 * len(text)
    lines.append(f'<text x="{LEFT}" y="{y + 34}" class="text left">{said}</text>')
    return "\n".join([*lines, "</svg>", ""])


def pictures() -> dict[str, str]:
    """Return the text of each file."""
    house = House()
    return {"rooms-light.svg": picture(house, LIGHT), "rooms-dark.svg": picture(house, DARK)}


if __name__ == "__main__":
    for name, text in pictures().items():
        (FIGURES / name).write_text(text, encoding="utf-8")
