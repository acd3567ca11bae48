"""States within an epoch, saved on SIGTERM: a loop like that of instructlab.training 0.16.2, stopped at every point.

The loop has the facts of main_ds.py and batch_loss_manager.py: when it asks whether to stop, what it counts, which
steps it skips when it is started again. tests/e2e/test_preemption.py stops the real one.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from multiprocessing import popen_fork
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from utils.files import ROOT
from utils.stages.train import trainer
from utils.stages.train.trainer import Every, StepStates, save_on_sigterm, whole_states

EPOCHS, STEPS, MICRO_BATCHES, BATCH = 3, 4, 2, 10


def save(known: dict[str, int], path: str) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("data.pkl", json.dumps(known))


def load(path: str) -> Any:
    with zipfile.ZipFile(path) as file:
        return json.loads(file.read("data.pkl"))


class Accelerator:
    """The library's; its model is the list of steps taken, as (epoch, number in it)."""

    device = "cpu"
    is_main_process = True

    def __init__(self) -> None:
        self.train_loader = range(1, STEPS + 1)
        self.model: list[tuple[int, int]] = []
        self.batch = (0, 0)

    def take_optimizer_step(self) -> None:
        self.model.append(self.batch)

    def save_state(self, output_dir: str) -> None:
        Path(output_dir).mkdir(parents=True)
        Path(output_dir, "model").write_text(json.dumps(self.model))

    def load_state(self, folder: str) -> None:
        self.model = [(epoch, step) for epoch, step in json.loads(Path(folder, "model").read_text())]


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Modules that the program changes; SIGTERM is as before afterwards."""
    distributed = SimpleNamespace(
        all_reduce=lambda *_: None,
        barrier=lambda: None,
        destroy_process_group=lambda: None,
        broadcast_object_list=lambda found, src, device: None,
        ReduceOp=SimpleNamespace(MAX=0),
    )
    torch = {"tensor": lambda value, device: SimpleNamespace(item=lambda: value), "save": save, "load": load}
    kind = type("Accelerator", (Accelerator,), {"take_optimizer_step": Accelerator.take_optimizer_step})
    modules: dict[str, dict[str, Any]] = {
        "torch": {**torch, "distributed": distributed},
        **{f"{trainer.LIBRARY}.{name}": {} for name in ("on_demand_checkpoint", "utils")},
        f"{trainer.LIBRARY}.accelerator": {"Accelerator": kind},
    }
    for name, content in modules.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(os, "register_at_fork", lambda **_: None)
    monkeypatch.setattr(popen_fork.Popen, "terminate", popen_fork.Popen.terminate)
    before = signal.getsignal(signal.SIGTERM)
    yield {name.rpartition(".")[2]: vars(sys.modules[name]) for name in modules}
    signal.signal(signal.SIGTERM, before)


def train(library: dict[str, Any], output: Path, stop: int, steps: list[tuple[int, int]]) -> int:
    """Train to the end; SIGTERM comes before the question of this number (0: never). Returns how many were asked.

    Raises:
        SystemExit: it was stopped.
    """
    StepStates().install()
    args = SimpleNamespace(output_dir=str(output), current_epoch=0, last_step=0, samples_seen=0)
    accelerator, asked = library["accelerator"]["Accelerator"](), 0
    library["utils"]["load_latest_full_state"](args, accelerator)
    seen, global_step = args.samples_seen, 1

    def stopped(epoch: int) -> None:
        nonlocal asked
        asked += 1
        if asked == stop:
            os.kill(os.getpid(), signal.SIGTERM)
        if library["on_demand_checkpoint"]["check_checkpoint_requested"]():
            given = {"samples_seen": seen, "epoch": epoch, "global_step": global_step, "is_lora": False}
            library["on_demand_checkpoint"]["save_on_demand_checkpoint"](args, accelerator, **given)

    for epoch in range(args.current_epoch, EPOCHS):
        for batch in accelerator.train_loader:
            if global_step <= args.last_step:
                global_step += 1
                continue
            for _ in range(3 * MICRO_BATCHES + 1):  # before forward, before backward, after it; before the step
                stopped(epoch)
            accelerator.batch = (epoch, batch)
            accelerator.take_optimizer_step()
            seen += BATCH
            stopped(epoch)
            steps.append((epoch, seen))  # the line of metrics
            global_step += 1
        state = output / "full_state" / f"epoch_{epoch}"
        accelerator.save_state(str(state))
        save({"current_epoch": epoch, "samples_seen": seen}, f"{state}/{trainer.METADATA}")
    assert accelerator.model == [(epoch, step) for epoch in range(EPOCHS) for step in range(1, STEPS + 1)]
    return asked


ALL = [(number // STEPS, BATCH * (number + 1)) for number in range(EPOCHS * STEPS)]


@pytest.mark.parametrize("stop", range(1, EPOCHS * STEPS * (3 * MICRO_BATCHES + 2) + 1))
def test_no_step_is_lost_or_repeated_wherever_training_is_stopped(
    library: dict[str, Any], tmp_path: Path, stop: int
) -> None:
    steps: list[tuple[int, int]] = []
    try:
        train(library, tmp_path, stop, steps)
        assert steps == ALL, "only after the last step it is too late to stop"
        return
    except SystemExit as error:
        assert error.code == 128 + signal.SIGTERM, "a job that ended well would count as trained"
    assert 1 + stop // (3 * MICRO_BATCHES + 2) >= len(steps) >= (stop - 1) // (3 * MICRO_BATCHES + 2)
    train(library, tmp_path, 0, steps)
    assert steps == ALL


def test_training_stopped_again_and_again_in_an_epoch_loses_nothing(library: dict[str, Any], tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    for _ in range(EPOCHS * STEPS - 1):
        with pytest.raises(SystemExit):
            train(library, tmp_path, 3 * MICRO_BATCHES + 3, steps)  # after one step
    assert Path(whole_states(str(tmp_path))[-1]).name == f"epoch_{EPOCHS - 1}_step_{STEPS - 1}"
    train(library, tmp_path, 0, steps)
    assert steps == ALL


PROGRAM = """
import multiprocessing, os, signal, sys, types
from utils.stages.train.trainer import StepStates
distributed = types.SimpleNamespace(broadcast_object_list=lambda *_, **__: None)
sys.modules["torch"] = types.SimpleNamespace(distributed=distributed)
StepStates().load(types.SimpleNamespace(output_dir=sys.argv[1]), types.SimpleNamespace(device="cpu"))
ready, row = multiprocessing.Pipe(), multiprocessing.Pipe()
def load_rows():
    ready[1].send(1)
    row[1].send(row[1].recv())
    signal.pause()
worker = multiprocessing.get_context("fork").Process(target=load_rows, daemon=True)
worker.start()
ready[0].recv()
os.kill(worker.pid, signal.SIGTERM)
row[0].send("a row")
print(row[0].recv())
"""


def test_processes_that_load_rows_outlive_sigterm_but_not_their_rank(tmp_path: Path) -> None:
    """The local runner ends all processes of a task at once."""
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == ("a row\n", 0), done.stderr


def test_nothing_is_saved_before_a_step_is_taken(library: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        train(library, tmp_path, 1, [])
    assert not list(tmp_path.iterdir())


def test_older_versions_train_without_and_say_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", ["trainer.py", trainer.STATE_ON_SIGTERM, "--seed=1"])
    monkeypatch.setattr(trainer.metadata, "version", lambda _: "0.10.3")
    monkeypatch.setattr(trainer.importlib.util, "find_spec", lambda _: None)
    save_on_sigterm(str(tmp_path))
    assert sys.argv == ["trainer.py", "--seed=1"]
    assert "instructlab-training 0.10.3 saves its state after each epoch only" in capsys.readouterr().out
    state = tmp_path / "full_state" / "epoch_1_step_5"
    state.mkdir(parents=True)
    save({}, f"{state}/{trainer.METADATA}")
    monkeypatch.setattr(sys, "argv", ["trainer.py", trainer.STATE_ON_SIGTERM])
    with pytest.raises(SystemExit, match=r"0\.10\.3 can't continue .*epoch_1_step_5"):
        save_on_sigterm(str(tmp_path))


def test_states_and_checkpoints_within_an_epoch_go_together(
    library: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both change how a state is loaded, so the program has to make its changes in the right order."""
    args = SimpleNamespace(output_dir=str(tmp_path), save_samples=5, samples_seen=0)
    for name in ("leave_versions", "outlast_checkpoints", "save_in_type", "without_flash_attention"):
        monkeypatch.setattr(trainer, name, lambda *_: "")
    monkeypatch.setitem(sys.modules, "packing", SimpleNamespace(pack_in_step=lambda: None))
    monkeypatch.setattr(trainer, "__file__", f"{tmp_path}/trainer.py")
    (tmp_path / "training.json").write_text('{"algorithm": "sft", "dtype": "", "other_dtypes": []}')
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if "multipack" in name else name)
    monkeypatch.setattr(trainer.metadata, "version", lambda _: "0.16.2")
    monkeypatch.setattr(sys, "argv", ["trainer.py", f"--output_dir={tmp_path}", "--on_demand_checkpointing"])

    def main_ds(*_: object, **__: object) -> None:
        accelerator = library["accelerator"]["Accelerator"]()
        library["utils"]["load_latest_full_state"](args=args, accelerator=accelerator)

    monkeypatch.setattr(trainer.runpy, "run_module", main_ds)
    trainer.main()
    assert isinstance(args.save_samples, Every), "checkpoints within an epoch"
    assert "StepStates.ask" in str(signal.getsignal(signal.SIGTERM)), "a state on SIGTERM"
