"""The stages' code travels with prerequisites and data import; later tasks import it from the volume."""

import ast
import dataclasses
import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.compile import CARRIERS, compile_pipeline, component_text
from utils.cli.compile import our_pipeline
from utils.files import ROOT
from utils.packing import slim_files

LOADED = "import utils.messages, sys; print(utils.messages.__file__)"


@pytest.fixture(scope="module")
def executors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    file = tmp_path_factory.mktemp("ours") / "pipeline.yaml"
    compile_pipeline(our_pipeline(), file)
    found: dict[str, Any] = next(yaml.load_all(file.read_text(), yaml.CSafeLoader))["deploymentSpec"]["executors"]
    return found


class Volume:
    """A run's volume, and the tasks' functions up to where they call their stage."""

    def __init__(self, folder: Path, executors: dict[str, Any]) -> None:
        self.folder = folder
        self.executors = executors

    def run(self, task: str, ask: str = "1") -> subprocess.CompletedProcess[str]:
        """Run a task's function until all is imported and the code lies on the volume; then `ask`."""
        container = self.executors[f"exec-{task}"]["container"]
        (function,) = [one for one in ast.parse(container["command"][-1]).body if isinstance(one, ast.FunctionDef)]
        end = max(n for n, one in enumerate(function.body) if isinstance(one, ast.ImportFrom)) + 1
        puts = [n for n, one in enumerate(function.body) if ast.unparse(one).startswith("put_on_volume(")]
        lines = [f"data_dir = {str(self.folder)!r}", *map(ast.unparse, function.body[: max([end, *puts]) + bool(puts)])]
        variables = {one["name"]: one["value"] for one in container["env"]}
        command = [sys.executable, "-B", "-c", "\n".join([*lines, ask])]
        # Outside of the checkout: whatever is imported came with the task or from the volume.
        return subprocess.run(command, env=variables, cwd=self.folder.parent, capture_output=True, text=True)

    def fill(self) -> None:
        """Run both tasks that bring code."""
        for task in CARRIERS:
            done = self.run(task)
            assert done.returncode == 0, done.stderr

    @property
    def code(self) -> Path:
        """What the tasks after data import import."""
        sizes = {found: len(list(found.rglob("*.py"))) for found in self.folder.glob("code/*")}
        return max(sizes, key=lambda found: sizes[found])


@pytest.fixture
def volume(tmp_path: Path, executors: dict[str, Any]) -> Volume:
    (tmp_path / "volume").mkdir()
    return Volume(tmp_path / "volume", executors)


ON_VOLUME = [
    "sdg",
    "data-processing",
    "train-knowledge",
    "train-skills",
    "mt-bench",
    "final-eval",
    "publish",
    "report",
]


def test_prerequisites_unpack_the_code_and_later_tasks_import_it_from_the_volume(volume: Volume) -> None:
    volume.fill()
    first, second = volume.code.parent.iterdir()
    assert {len(first.name), len(second.name)} == {16}, "nothing unfinished stays"
    for task in ON_VOLUME:
        done = volume.run(task, LOADED)
        assert done.stdout == f"{volume.code}/utils/messages.py\n", done.stderr
    assert not list(volume.code.rglob("__pycache__"))


def test_repeated_prerequisites_leave_intact_code_unchanged(volume: Volume) -> None:
    volume.fill()
    files = [path for path in volume.code.rglob("*") if path.is_file()]
    before = [(path.stat().st_ino, path.stat().st_mtime_ns) for path in files]
    volume.fill()
    assert [(path.stat().st_ino, path.stat().st_mtime_ns) for path in files] == before


def change(volume: Volume) -> None:
    with (volume.code / "utils/stages/marker.py").open("a") as file:
        file.write("\nprint('foreign')\n")


def add(volume: Volume) -> None:
    (volume.code / "utils/foreign.py").write_text("print('foreign')\n")


def remove(volume: Volume) -> None:
    (volume.code / "utils/messages.py").unlink()


def rename(volume: Volume) -> None:
    (volume.code / "utils/messages.py").rename(volume.code / "utils/messages_.py")


def join(volume: Volume) -> None:
    """The bytes of all files in a row stay the same, with the name of the second among them."""
    first, second = sorted(volume.code.rglob("*.py"))[1:3]
    first.write_bytes(first.read_bytes() + second.name.encode() + second.read_bytes())
    second.unlink()


def add_bytecode(volume: Volume) -> None:
    (volume.code / "utils/__pycache__").mkdir()
    (volume.code / "utils/__pycache__/messages.cpython-311.pyc").write_bytes(b"foreign")


@pytest.mark.parametrize("tamper", [change, add, remove, rename, join, add_bytecode])
def test_code_that_was_changed_is_not_imported_and_prerequisites_restore_it(volume: Volume, tamper: Any) -> None:
    volume.fill()
    tamper(volume)
    done = volume.run("sdg", "print('ran')")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {volume.code} is changed\n  next: ")
    volume.fill()
    assert volume.run("sdg", "print('ran')").stdout == "ran\n"


def test_each_of_the_two_parts_is_checked_where_it_is_used(volume: Volume) -> None:
    """Data import takes what it does not bring from what prerequisites have brought."""
    volume.run("prerequisites")
    (first,) = volume.folder.glob("code/*")
    next(first.rglob("messages.py")).write_text("print('foreign')\n")
    done = volume.run("data-import", "print('ran')")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {first} is changed\n")
    volume.fill()
    assert volume.run("sdg", "print('ran')").stdout == "ran\n"


def test_a_volume_without_code_says_what_to_run(volume: Volume) -> None:
    done = volume.run("sdg")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {volume.folder}/code/") and "is missing" in done.stderr
    assert "next: run the prerequisites again" in done.stderr


@pytest.mark.parametrize("task", ["create-volume", "clean-up"])
def test_tasks_without_the_volume_carry_what_they_need(volume: Volume, task: str) -> None:
    done = volume.run(task, LOADED)
    assert done.returncode == 0 and done.stdout.endswith("/utils/messages.py\n"), done.stderr
    assert list(volume.folder.iterdir()) == []


def test_a_name_that_a_stage_takes_from_another_module_is_carried() -> None:
    files = slim_files(["utils.stages.train.stage.TrainingPhase"])
    assert b"class TrainingPhase" in files["utils/stages/train/training.py"]


def test_a_traceback_names_files_and_lines_of_the_repository(volume: Volume) -> None:
    volume.fill()
    ask = "import traceback; from utils.stages.marker import read_marker\ntry: read_marker(1, 2)\n"
    done = volume.run("publish", ask + "except TypeError as error: print(traceback.extract_tb(error.__traceback__)[1])")
    source = (ROOT / "utils/stages/marker.py").read_text().splitlines()
    line = next(number for number, text in enumerate(source, 1) if "path = _path(data_dir" in text)
    assert f"{volume.code}/utils/stages/marker.py, line {line} in read_marker" in done.stdout, done.stderr


def test_components_hand_parameters_to_their_stage_in_the_order_of_its_fields() -> None:
    """They do so by position, for the size of the file: a name at another's place would be another value."""
    checked = 0
    for file in sorted((ROOT / "components").glob("*.py")):
        tree = ast.parse(file.read_text())
        imported = {
            alias.name: str(node.module)
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        for call in [node for node in ast.walk(tree) if isinstance(node, ast.Call)]:
            name = ast.unparse(call.func)
            if name[0].isupper() and imported.get(name, "").startswith("utils.stages"):
                kind = getattr(importlib.import_module(imported[name]), name)
                fields = [field.name for field in dataclasses.fields(kind)]
                assert [ast.unparse(argument) for argument in call.args] == fields, file.name
                checked += 1
    assert checked >= 9


def test_prerequisites_find_rules_parameters_in_the_tasks_input(volume: Volume) -> None:
    """The component's text names only what it hands on; the rest is in the executor's input."""
    given = {"inputs": {"parameterValues": {"train_seed": 7, "mmlu_tasks": ["a"], "train_node_selectors": {}}}}
    ask = f"sys.argv[1:] = ['--executor_input', {json.dumps(given)!r}, '--function_to_execute', 'prerequisites']\n"
    done = volume.run(
        "prerequisites", ask + "from utils.stages.prerequisites.stage import input_of_task; print(input_of_task())"
    )
    assert ast.literal_eval(done.stdout) == given["inputs"]["parameterValues"], done.stderr
    text = component_text(volume.executors["exec-prerequisites"]["container"])
    assert "train_seed" not in text and "secret_names: str" in text
