"""A home with real runs: pipelines compiled by kfp, tasks as real processes."""

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from utils.cli.main import main
from utils.files import ROOT
from utils.runners.local.keeper import processes_of

DEADLINE = 20.0


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the compiled pipelines; parallel test workers share it, since kfp is slow to import."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "packages"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            words = [sys.executable, "-m", "tests.runners.local.pipelines", str(folder)]
            subprocess.run(words, cwd=ROOT, check=True)
            (folder / "done").touch()
    return folder


def wait_for(condition: Callable[[], Any]) -> Any:
    """The condition's value once it is true."""
    deadline = time.monotonic() + DEADLINE
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)
    return value


@dataclass
class Home:
    """A home of the command, with a claim `shared` that pipelines write to."""

    path: Path
    packages: Path

    @property
    def data(self) -> Path:
        return self.path / "claims" / "shared"

    def run_dir(self, run_id: str) -> Path:
        return self.path / "runs" / run_id

    def words(self, *words: str) -> list[str]:
        return [*words, "--home", str(self.path)]

    def run_words(self, pipeline: str, run_id: str, *more: str) -> list[str]:
        package = str(self.packages / f"{pipeline}.yaml")
        return self.words("run", "--package", package, "--run-id", run_id, "--grace", "2", *more)

    def call(self, *words: str, **options: Any) -> Result:
        """Run the command in this process."""
        return CliRunner().invoke(main, self.words(*words), **options)

    def run(self, pipeline: str, run_id: str, *more: str) -> Result:
        return CliRunner().invoke(main, self.run_words(pipeline, run_id, *more))

    def run_json(self, pipeline: str, run_id: str, *more: str) -> dict[str, Any]:
        result = self.run(pipeline, run_id, "--output", "json", *more)
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Run the command in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "utils.cli.main", *words],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def tasks(self, run_id: str) -> dict[str, str]:
        """State of each task of a run, by the task's own name."""
        found = json.loads(self.call("status", run_id, "--output", "json").stdout)
        return {task["id"].split("/")[-1]: task["state"] for task in found["task_list"]}

    def ids(self, name: str) -> list[int]:
        """Ids of a hanging task and of its child, once it has written them."""
        return [
            int(word) for word in wait_for(lambda: (self.data / name).exists() and self.data / name).read_text().split()
        ]

    def lines(self, name: str) -> list[str]:
        file = self.data / name
        return file.read_text().split() if file.exists() else []

    def processes(self, run_id: str) -> set[int]:
        return processes_of(str(self.run_dir(run_id)))


@pytest.fixture
def home(tmp_path: Path, packages: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    for name in ("ILAB_HOME", "ILAB_PYTHON", "ILAB_SECRETS", "ILAB_MAX_PARALLEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    made = Home(tmp_path / "home", packages)
    made.data.mkdir(parents=True)
    return made


def is_alive(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the second when it ends between opening and reading
        return False
