"""Imports run one way between the rooms of the project, and runners know no stage."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from utils.files import ROOT

SHARED = {"utils.errors", "utils.names", "utils.messages", "utils.durations"}
ALLOWED = {
    "utils/names.py": set(),
    "utils/messages.py": set(),
    "utils/durations.py": set(),
    "utils/cluster": SHARED,
    "utils/ir": {*SHARED, "utils.foreign_text"},
    "utils/stages": {*SHARED, "utils.cluster"},
    "utils/runners": {*SHARED, "utils.cluster", "utils.ir", "utils.queues", "utils.cpu", "utils.foreign_text"},
    "components": {*SHARED, "utils.stages", "utils.images", "utils.packing", "utils.queues"},
}
STAGES = {path.stem.replace("_", "-") for path in (ROOT / "components").glob("[a-z]*.py")}


def files(room: str) -> list[Path]:
    path = ROOT / room
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def rooms_imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"utils.{alias.name}" for alias in node.names] if node.module == "utils" else [node.module]
        for name in names:
            if name.split(".")[0] in ("utils", "components", "pipeline"):
                yield ".".join(name.split(".")[: 2 if name.startswith("utils.") else 1])


def texts(file: Path) -> Iterator[str]:
    """The strings in a module's code."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@pytest.mark.parametrize("room", ALLOWED)
def test_room_imports_only_what_it_may(room: str) -> None:
    own = room.removesuffix(".py").replace("/", ".")
    found = {(file.relative_to(ROOT), name) for file in files(room) for name in rooms_imported(file)}
    assert [pair for pair in sorted(found) if pair[1] not in ALLOWED[room] | {own}] == []


@pytest.mark.parametrize("room", ["utils/runners", "utils/ir", "utils/cluster"])
def test_room_names_no_stage(room: str) -> None:
    assert "data-import" in STAGES
    named = [f"{file.relative_to(ROOT)}: {text}" for file in files(room) for text in texts(file) if text in STAGES]
    assert named == []
