"""The stages' code travels with data import and lies on the volume for later tasks: what each finds there."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.compile import compile_pipeline
from utils.cli.compile import our_pipeline


@pytest.fixture(scope="module")
def executors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    file = tmp_path_factory.mktemp("ours") / "pipeline.yaml"
    compile_pipeline(our_pipeline(), file)
    found: dict[str, Any] = next(yaml.load_all(file.read_text(), yaml.CSafeLoader))["deploymentSpec"]["executors"]
    return found


class Volume:
    """A run's volume, and the tasks' sources as KFP's executor starts them."""

    def __init__(self, folder: Path, executors: dict[str, Any]) -> None:
        self.folder = folder
        self.executors = executors

    def load(self, task: str, ask: str) -> subprocess.CompletedProcess[str]:
        """Load the code of a task and print a Python expression that uses it."""
        container = self.executors[f"exec-{task}"]["container"]
        # A folder of its own, as mktemp makes it in the container.
        source = self.folder.parent / task / "ephemeral_component.py"
        source.parent.mkdir(exist_ok=True)
        source.write_text(f"{container['command'][-1]}\nprint({ask})\n")
        message = {"inputs": {"parameterValues": {"data_dir": str(self.folder)}}}
        variables = {one["name"]: one["value"] for one in container["env"]}
        command = [sys.executable, str(source), "--executor_input", json.dumps(message)]
        return subprocess.run(command, env=variables, capture_output=True, text=True)

    @property
    def code(self) -> Path:
        (found,) = self.folder.glob("code/*/stage_code.py")
        return found


@pytest.fixture
def volume(tmp_path: Path, executors: dict[str, Any]) -> Volume:
    (tmp_path / "volume").mkdir()
    return Volume(tmp_path / "volume", executors)


def test_data_import_puts_the_code_there_and_later_tasks_use_it(volume: Volume) -> None:
    assert volume.load("data-import", "data_import.__name__").stdout == "data_import\n"
    assert list(volume.code.parent.iterdir()) == [volume.code], "nothing unfinished stays"
    for task, name in [("sdg", "sdg"), ("train-skills", "train"), ("report", "report"), ("publish", "archive_key")]:
        done = volume.load(task, f"{name}.__code__.co_filename")
        assert done.stdout == f"{volume.code}\n", done.stderr


def test_data_import_again_changes_no_file_that_is_right(volume: Volume) -> None:
    volume.load("data-import", "1")
    before = volume.code.stat()
    assert volume.load("data-import", "1").returncode == 0
    after = volume.code.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_data_import_again_mends_what_was_changed(volume: Volume) -> None:
    volume.load("data-import", "1")
    volume.code.write_text("torn")
    volume.load("data-import", "1")
    assert volume.load("mt-bench", "mt_bench.__name__").returncode == 0


def test_a_volume_without_code_says_what_to_run(volume: Volume) -> None:
    done = volume.load("sdg", "1")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {volume.folder}/code/") and "is missing" in done.stderr
    assert "next: run data-import of this version on it; finished work stays" in done.stderr


def test_code_that_was_changed_does_not_run(volume: Volume) -> None:
    volume.load("data-import", "1")
    with volume.code.open("a") as file:
        file.write("\nprint('foreign')\n")
    done = volume.load("sdg", "1")
    assert (done.returncode, done.stdout) == (1, "")
    assert "is changed" in done.stderr


def test_tasks_without_the_volume_have_what_they_need(volume: Volume) -> None:
    for task, name in [("prerequisites", "run_checks"), ("create-volume", "create_claim"), ("clean-up", "clean_up")]:
        assert volume.load(task, f"{name}.__name__").stdout == f"{name}\n"
    assert list(volume.folder.iterdir()) == []
