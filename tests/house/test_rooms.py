"""The picture of the rooms is that of the imports, and draws none that leads up."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
DRAW = ROOT / "docs" / "draw_rooms.py"

pytestmark = pytest.mark.checkout


@pytest.fixture(scope="module")
def rooms() -> ModuleType:
    """Give the module that draws."""
    spec = importlib.util.spec_from_file_location("draw_rooms", DRAW)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["rooms-light.svg", "rooms-dark.svg"])
def test_the_picture_is_that_of_the_code(rooms: ModuleType, name: str) -> None:
    kept = (ROOT / "docs" / "figures" / name).read_text(encoding="utf-8")
    assert kept == rooms.pictures()[name], "make rooms draws it again"


def test_every_run_draws_the_same(rooms: ModuleType) -> None:
    draw = f"import sys; sys.path.insert(0, {str(DRAW.parent)!r}); from draw_rooms import pictures; print(*pictures().values())"
    runs = {
        subprocess.run(
            [sys.executable, "-c", draw], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in "12"
    }
    assert runs == {" ".join(rooms.pictures().values()) + "\n"}


def test_imports_lead_down_to_another_floor(rooms: ModuleType) -> None:
    found = rooms.arrows()
    floor = rooms.floors(found)
    assert sum(map(len, found.values())) > len(found)
    assert [(room, other) for room, others in found.items() for other in others if floor[other] >= floor[room]] == []


def test_what_is_not_drawn_follows_from_what_is(rooms: ModuleType) -> None:
    found = rooms.arrows()
    kept = rooms.drawn(found)

    def reached(room: str) -> set[str]:
        return kept[room].union(*map(reached, kept[room]))

    assert all(kept[room] <= found[room] <= reached(room) for room in found)
    assert sum(map(len, kept.values())) < sum(map(len, found.values())) / 2


def test_a_circle_of_rooms_is_refused(rooms: ModuleType) -> None:
    with pytest.raises(ValueError, match="in a circle: a -> b -> a"):
        rooms.floors({"a": {"b"}, "b": {"c", "a"}, "c": set()})


def test_neither_rooms_nor_arrows_cross_a_room(rooms: ModuleType) -> None:
    house = rooms.House()
    for room, floor in house.floor.items():
        x = house.middle(room)
        for other, others_floor in house.floor.items():
            if other != room and others_floor == floor:
                assert abs(house.middle(other) - x) > rooms.WIDTH, (room, other)
        for end in house.arrows[room]:
            crossed = [name for name, there in house.floor.items() if house.floor[end] < there < floor]
            assert all(abs(house.middle(name) - house.middle(end)) > rooms.WIDTH // 2 for name in crossed), (room, end)


def floors_of_the_layers() -> list[set[str]]:
    """Return the rooms of each floor as tests/house/test_layers.py has them, from the ground up."""
    tree = ast.parse((Path(__file__).parent / "test_layers.py").read_text(encoding="utf-8"))
    found = next(
        node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "FLOORS"
    )
    rooms = [{name for name in floor if not name.startswith("__")} for floor in ast.literal_eval(found)]
    return [floor for floor in rooms if floor]


def test_the_picture_has_the_floors_that_are_kept(rooms: ModuleType) -> None:
    floor = rooms.floors(rooms.arrows())
    drawn = [{room for room, number in floor.items() if number == level} for level in range(max(floor.values()) + 1)]
    assert drawn[: len(floors_of_the_layers())] == floors_of_the_layers()


def test_the_page_has_the_floors_that_are_kept() -> None:
    text = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| (\d+) \| ([^|]+) \|", text.partition("\n## Floors\n")[2].partition("\n## ")[0], re.MULTILINE
    )
    told = {int(number): set(re.findall(r"`(\w+)`", names)) - {"__main__"} for number, names in rows}
    kept = floors_of_the_layers()
    assert [told[number] for number in range(len(kept))] == kept
    assert len(told) == len(kept) + 1  # and the frameworks on top
