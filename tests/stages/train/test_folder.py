"""A phase's folder: what an interrupted training leaves, its steps, and what a finished phase reports."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.stages.train.phase_folders import described, save_model, save_state, save_steps, step
from utils.stages.results import Trained
from utils.stages.train.folder import Room, Step, start_phase, trained_phase, training_steps


def test_interrupted_training_keeps_its_complete_epochs_and_nothing_else(tmp_path: Path) -> None:
    save_model(tmp_path / "model")
    training, output = described(tmp_path), tmp_path / "phase_2"
    start_phase(training)
    save_model(output / "hf_format" / "samples_100")
    (output / "hf_format" / "samples_200").mkdir()
    save_state(output, 0)
    save_state(output, 1, whole=False)
    start_phase(training)
    assert [p.name for p in (output / "hf_format").iterdir()] == ["samples_100"]
    assert [p.name for p in (output / "full_state").iterdir()] == ["epoch_0"]


def test_training_that_an_earlier_version_began_is_resumed(tmp_path: Path) -> None:
    """The record as versions before this one wrote it: under other names the phase would start anew."""
    save_model(tmp_path / "model")
    output = tmp_path / "phase_2"
    save_state(output, 0)
    record = {
        "model": f"{tmp_path}/model", "data": f"{tmp_path}/processed/skills/data.jsonl", "output": str(output),
        "rows": 100, "epochs": 3, "batch": 10, "learning_rate": 2e-05, "warmup_steps": 5, "save_samples": 0,
        "max_batch_len": 5000, "seed": 42, "keep": 0, "cpu_offload": True, "chat_template": "", "nodes": 1, "gpus": 0,
        "kept": 3, "full_state": True,
    }  # fmt: skip
    (output / "training.json").write_text(json.dumps(record))
    assert start_phase(described(tmp_path)) == Room(kept=3, full_state=True)
    assert [p.name for p in (output / "full_state").iterdir()] == ["epoch_0"]
    later = {"dtype": "float32", "other_dtypes": {}, "algorithm": "sft", "algorithm_options": {}}
    assert json.loads((output / "training.json").read_text()) == {**record, **later}


CHANGES = [{"seed": 1}, {"learning_rate": 1e-4}, {"effective_batch_size": 20}, {"algorithm": "lora"}]


@pytest.mark.parametrize("change", CHANGES)
def test_remains_of_another_training_are_deleted(tmp_path: Path, change: dict) -> None:
    save_model(tmp_path / "model")
    output = tmp_path / "phase_2"
    start_phase(described(tmp_path))
    save_model(output / "hf_format" / "samples_100")
    save_state(output, 0)
    start_phase(described(tmp_path, **change))
    assert [p.name for p in output.iterdir()] == ["training.json"]
    save_state(output, 0)
    start_phase(described(tmp_path))
    assert [p.name for p in output.iterdir()] == ["training.json"], "nor is it the other way round"


def test_repeated_steps_count_once_and_a_truncated_line_not_at_all(tmp_path: Path) -> None:
    save_steps(tmp_path, [step(10, 3.0), step(20, 9.0), step(20, 2.0), step(30, 1.0)])
    with (tmp_path / "training_params_and_metrics_global0.jsonl").open("a") as file:
        file.write('{"samples_seen": 40, "avg_l')
    assert [one.loss for one in training_steps(str(tmp_path))] == [3.0, 2.0, 1.0]
    assert training_steps(str(tmp_path / "nowhere")) == []


def test_phase_result_has_checkpoint_steps_and_loss(tmp_path: Path) -> None:
    training = described(tmp_path, num_epochs=2, rows=1000, launcher="process")
    for number in (1000, 2000):
        save_model(tmp_path / "phase_2" / "hf_format" / f"samples_{number}")
    save_steps(tmp_path / "phase_2", [step(samples, 5 - samples / 1000) for samples in range(1, 2001)])
    result = trained_phase(training, tokens=3000)
    checkpoints = ["phase_2/hf_format/samples_1000", "phase_2/hf_format/samples_2000"]
    assert len(result.loss) == 500
    assert result.loss[-1] == (2000, 3.0)
    assert replace(result, loss=[]) == Trained(
        phase=2, launcher="process", skipped=False, reason="", device="cpu", checkpoint=checkpoints[-1],
        checkpoints=checkpoints, steps=2000, samples=2000, tokens=6000,
        tokens_per_second=1.5,  # each step took 2 s
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "checkpoint", "loss", "message"),
    [
        ("module.embed.weight", 20, 1.0, r"named module\.\*"),
        ("embed.weight", 10, 1.0, "left no whole checkpoint"),
        ("embed.weight", 20, math.nan, "the loss is not a number"),
    ],
)
def test_diverged_or_incomplete_training_fails(
    tmp_path: Path, name: str, checkpoint: int, loss: float, message: str
) -> None:
    save_model(tmp_path / "phase_2" / "hf_format" / f"samples_{checkpoint}", name=name)
    save_steps(tmp_path / "phase_2", [step(10), step(20, loss)])
    with pytest.raises(SystemExit, match=message):
        trained_phase(described(tmp_path), tokens=10)


def test_phase_that_saw_fewer_than_95_percent_of_its_samples_fails_and_says_why(tmp_path: Path) -> None:  # trap 69a
    """Training 0.10, by itself, sees 47 % of 3000 samples with 128 per step, 4 GPUs and 5000 tokens per batch."""
    for seen in (285, 284):
        shutil.rmtree(tmp_path / "phase_2", ignore_errors=True)
        save_model(tmp_path / "phase_2" / "hf_format" / f"samples_{seen}")
        save_steps(tmp_path / "phase_2", [step(seen)])
        if seen == 284:
            with pytest.raises(SystemExit, match=r"284 of 300 samples(.|\n)*raise train_max_batch_len"):
                trained_phase(described(tmp_path), tokens=100)
        else:
            assert trained_phase(described(tmp_path), tokens=100).tokens == 285, "tokens that were trained on"


def test_speed_of_a_phase_without_a_throughput_is_unknown(tmp_path: Path) -> None:
    save_model(tmp_path / "phase_2" / "hf_format" / "samples_300")
    start = {"num_gpus": 4, "grad_accum": 1, "samples_per_gpu": 0}
    save_steps(tmp_path / "phase_2", [start, step(300) | {"overall_throughput": 0.0}])
    assert trained_phase(described(tmp_path), tokens=100).tokens_per_second == 0.0


def test_micro_batches_of_training_0_10_are_one_step(tmp_path: Path) -> None:
    """Lines as 0.10.3 logs them for 2 GPUs: a throughput of 4 samples on each, whatever the micro-batch held."""
    start = {"num_gpus": 2, "grad_accum": 2, "samples_per_gpu": 4, "packing_max_batch_len": 100}
    micro = {"overall_throughput": 4.0, "batch_size": 5}
    lines = [{**micro, "samples_seen": 5 * n, "total_loss": float(n)} for n in (1, 2, 3, 4, 5)]
    save_steps(tmp_path, [start, *lines[:3], start, *lines[2:]])  # killed within its second step
    assert training_steps(str(tmp_path)) == [Step(10, 1.5, 4.0), Step(20, 3.5, 4.0)]


def test_steps_without_a_throughput_count_no_time(tmp_path: Path) -> None:
    """0.10 computes samples_per_gpu by whole division."""
    line = {"samples_seen": 5, "total_loss": 1.0, "batch_size": 5, "overall_throughput": 0.0}
    save_steps(tmp_path, [{"num_gpus": 4, "grad_accum": 1, "samples_per_gpu": 0}, line])
    assert training_steps(str(tmp_path)) == [Step(5, 1.0, 0.0)]
