"""Data processing and both training phases with instructlab.training, on a model small enough for seconds."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stages import ROOT, environment, in_stages
from utils.stages.train.folder import checkpoints_of, model_tensors, training_steps

PROGRAM = "tests/e2e/run_training.py"


def run(*arguments: object) -> dict[str, Any]:
    return dict(json.loads(in_stages(PROGRAM, *map(str, arguments))))


def start(log: Path, *arguments: object) -> subprocess.Popen[bytes]:
    command = [os.environ["ILAB_PYTHON"], PROGRAM, *map(str, arguments)]
    with log.open("wb") as file:
        return subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=file, stderr=subprocess.STDOUT)


def wait_for_epoch(process: subprocess.Popen[bytes], data_dir: Path, phase: int, epoch: int, log: Path) -> None:
    state = data_dir / f"phase_{phase}" / "full_state" / f"epoch_{epoch}" / "training_metadata.json"
    deadline = time.monotonic() + 300
    while not state.exists():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.05)


def marker(data_dir: Path, stage: str) -> dict[str, Any]:
    return dict(json.loads((data_dir / "done" / f"{stage}.json").read_text())["result"])


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A volume after data processing."""
    data_dir = tmp_path_factory.mktemp("volume")
    run("volume", data_dir)
    run("data", data_dir)
    return data_dir


@pytest.fixture(scope="module")
def trained(volume: Path) -> Path:
    """The volume after phase 1 (2 epochs) and phase 2 (3 epochs), of which the launcher was killed in the second."""
    run("train", volume, 1, 2)
    log = volume / "killed.log"
    process = start(log, "train", volume, 2, 3)
    wait_for_epoch(process, volume, 2, 0, log)
    process.kill()
    process.wait()
    assert not (volume / "done" / "train_phase_2.json").exists()
    run("train", volume, 2, 3)
    return volume


def test_held_out_questions_are_not_among_the_token_ids(volume: Path) -> None:
    held_out = [json.loads(line) for line in (volume / "processed" / "held_out.jsonl").read_text().splitlines()]
    counts = marker(volume, "data_processing")
    assert counts["knowledge"]["held_out"] + counts["skills"]["held_out"] == len(held_out) == 4
    assert counts["knowledge"]["rows"] == 8 - 2
    assert counts["skills"]["rows"] == (8 - 2) + 3 * (8 - 2)
    rows = [json.loads(line) for line in (volume / "processed/skills/data.jsonl").read_text().splitlines()]
    assert counts["skills"]["tokens"] == sum(len(row["input_ids"]) for row in rows)
    assert counts["skills"]["longest"] == max(row["len"] for row in rows)


def test_rows_without_a_learnable_token_are_dropped_and_counted(volume: Path) -> None:
    """A batch of them gives the loss nan."""
    assert marker(volume, "data_processing")["skills"]["dropped"] == 1
    rows = [json.loads(line) for line in (volume / "processed/skills/data.jsonl").read_text().splitlines()]
    assert all(any(label != -100 for label in row["labels"][1:]) for row in rows)


def test_loss_decreases_in_both_phases(trained: Path) -> None:
    for phase in (1, 2):
        result = marker(trained, f"train_phase_{phase}")
        losses = [loss for _, loss in result["loss"]]
        assert losses[-1] < losses[0]
        assert len(losses) == result["steps"]
        assert result["tokens_per_second"] > 0
        assert (result["launcher"], result["skipped"]) == ("process", False)


def test_phase_1_keeps_its_last_checkpoint_and_phase_2_starts_from_it(trained: Path) -> None:
    assert marker(trained, "train_phase_1")["checkpoints"] == ["phase_1/hf_format/samples_12"]
    command = json.loads((trained / "manifest_2.json").read_text())["command"]
    assert f"--model_name_or_path={trained}/phase_1/hf_format/samples_12" in command
    assert marker(trained, "train_phase_2")["checkpoint"] == "phase_2/hf_format/samples_72"
    assert [Path(one).name for one in checkpoints_of(str(trained / "phase_2"))] == [
        "samples_24",
        "samples_48",
        "samples_72",
    ]


def test_killed_training_repeats_no_finished_epoch(trained: Path) -> None:
    assert len([step for step in training_steps(str(trained / "phase_2")) if step.samples <= 24]) == 6
    log = (trained / "killed.log").read_text()
    assert log.count("Epoch: 0") == 6
    lines = (trained / "phase_2" / "training_params_and_metrics_global0.jsonl").read_text().splitlines()
    assert sum('"epoch": 0' in line for line in lines) == 6


def test_checkpoints_have_the_base_models_tensors(trained: Path) -> None:
    base = model_tensors(str(trained / "model"))
    checkpoint = model_tensors(str(trained / "phase_2/hf_format/samples_72"))
    assert {name: tensor["shape"] for name, tensor in checkpoint.items()} == {
        name: tensor["shape"] for name, tensor in base.items()
    }
    assert not (trained / "phase_2" / "full_state").exists()


def test_finished_phase_returns_at_once(trained: Path) -> None:
    assert run("train", trained, 2, 3)["seconds"] < 2


def test_stacked_training_learns_from_knowledge_and_skills_in_one_phase(volume: Path, tmp_path: Path) -> None:
    for name in ("model", "processed", "done"):
        shutil.copytree(volume / name, tmp_path / name)
    for path in tmp_path.glob("done/train_*"):
        path.unlink()
    counts = marker(tmp_path, "data_processing")
    for phase in (1, 2):
        run("train", tmp_path, phase, 2, "stacked")
    assert marker(tmp_path, "train_phase_1")["skipped"]
    result = marker(tmp_path, "train_phase_2")
    assert result["samples"] == 2 * (counts["knowledge"]["rows"] + counts["skills"]["rows"])
    assert result["tokens"] == 2 * (counts["knowledge"]["tokens"] + counts["skills"]["tokens"])
    assert result["loss"][-1][1] < result["loss"][0][1]


@pytest.fixture
def small_disk(volume: Path, tmp_path: Path) -> Iterator[Path]:
    """The processed volume on a small file system."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=640m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting a file system needs root")
    for name in ("model", "processed", "done"):
        shutil.copytree(volume / name, disk / name)
    (disk / "done" / "train_phase_1.json").unlink(missing_ok=True)
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_disk_that_fills_up_during_training_is_a_clear_failure(small_disk: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = start(log, "train", small_disk, 1, 4)
    wait_for_epoch(process, small_disk, 1, 0, log)
    try:
        with (small_disk / "filler").open("wb") as file:
            while True:
                file.write(bytes(1 << 16))
    except OSError:
        pass
    assert process.wait(300) == 1
    message = log.read_text().rpartition("error: ")[2]
    assert "cause: the disk is full" in message
    assert not (small_disk / "done" / "train_phase_1.json").exists()
    whole = checkpoints_of(str(small_disk / "phase_1"))
    assert all(model_tensors(checkpoint) for checkpoint in whole)
    (small_disk / "filler").unlink()
    run("train", small_disk, 1, 4)
    assert marker(small_disk, "train_phase_1")["checkpoints"] == ["phase_1/hf_format/samples_24"]
