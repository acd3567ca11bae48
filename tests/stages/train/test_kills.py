"""Training that is killed at any point, or whose disk is full there, ends as training that is not (trap 64).

The stage, the launcher and the program of the ranks have points alike; `ILAB_KILL_POINTS=all` tries every one.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.kubernetes_api import KubernetesApi
from tests.kills import kill_faults, tree
from tests.stages.train import torchrun
from tests.stages.train.phase_folders import PHASE, save_model, save_steps, step
from utils.names import CPU_PROGRAMS
from utils.stages.train.stage import TrainingPhase, train_phase

# Starts the program in a session of its own, as torchrun does, and ends it on SIGTERM.
TORCHRUN = """
import signal, subprocess, sys
first = next(i for i, word in enumerate(sys.argv) if word.endswith(".py") and i)
worker = subprocess.Popen([sys.executable, *sys.argv[first:]], start_new_session=True)
def stop(*_):
    worker.kill()
    sys.exit(1)
signal.signal(signal.SIGTERM, stop)
sys.exit(worker.wait())
"""


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchrun, and the library on CPU."""
    torchrun.put_in_place(TORCHRUN, tmp_path, monkeypatch)
    programs = tmp_path / "programs"
    programs.mkdir()
    shutil.copyfile(Path(__file__).with_name("library.py"), programs / "main_ds.py")
    monkeypatch.setenv(CPU_PROGRAMS, str(programs))


def phase(
    tmp_path: Path, **changes: Any
) -> tuple[Path, Callable[[], None], Callable[[], object], Callable[[], object]]:
    """A volume, and what kill_faults needs for a phase on it."""
    volume = tmp_path / "volume"
    counts = {"rows": 20, "tokens": 1000, "longest": 60}
    values = {
        **PHASE,
        "progress": True,
        "flash_attention": True,
        "strategy": "phased",
        "checkpoint_dtype": "auto",
        "algorithm": "sft",
        "algorithm_options": {},
        "store_secret_dir": "",
        "data_dir": str(volume),
        "num_warmup_steps": 0,
        "effective_batch_size": 10,
        **changes,
    }
    given = TrainingPhase(**{field.name: values[field.name] for field in fields(TrainingPhase)})

    def prepare() -> None:
        save_model(volume / "model")
        (volume / "done").mkdir()
        result = {"knowledge": counts, "skills": counts}
        (volume / "done/data_processing.json").write_text(json.dumps({"inputs_hash": "a", "result": result}))

    def seen() -> object:
        result = json.loads((volume / "done/train_phase_1.json").read_text())["result"]
        metrics = "phase_1/training_params_and_metrics"  # steps that were repeated are there twice
        return tree(volume, "done/", metrics), {name: v for name, v in result.items() if name != "tokens_per_second"}

    return volume, prepare, lambda: train_phase(given, str(tmp_path / "manifest.json")), seen


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("full", [False, True], ids=["killed", "full"])
def test_training_on_this_machine_ends_the_same(tmp_path: Path, full: bool) -> None:
    volume, prepare, work, seen = phase(tmp_path, launcher="process", keep_checkpoints=2)
    tried, faults = kill_faults(volume, prepare, work, seen, full)
    assert tried and faults == []


@pytest.mark.parametrize("full", [False, True], ids=["killed", "full"])
def test_training_in_pods_ends_the_same(
    tmp_path: Path, api: KubernetesApi, monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    """Killed, the stage finds the job that it made."""
    volume, prepare, work, seen = phase(tmp_path, launcher="pytorchjob", num_epochs=2, keep_checkpoints=1)
    output, answer = volume / "phase_1", api.answer
    api.job_states.append("Succeeded")

    def prepared() -> None:
        prepare()
        api.objects.clear()

    def train_at_once(method: str, path: str, *more: Any) -> tuple[int, Any]:
        status, found = answer(method, path, *more)
        if (method, status) == ("POST", 201) and path.endswith("/pytorchjobs"):
            for samples in (20, 40):
                save_model(output / f"hf_format/samples_{samples}")
            save_steps(output, [step(10 * number) for number in range(1, 5)])
        return status, found

    monkeypatch.setattr(api, "answer", train_at_once)
    tried, faults = kill_faults(volume, prepared, work, seen, full)
    assert tried and faults == []
