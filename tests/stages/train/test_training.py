"""The training command, checkpoints on disk, the room they need, and what a phase reports."""

import json
import math
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from utils.stages.train.training import (
    checkpoints_of,
    phase_result,
    prune_phase,
    require_training_room,
    seconds_of,
    start_phase,
    torchrun_arguments,
    training_steps,
    whole_states,
)


def describe(data_dir: Path, **changes: object) -> dict:
    values = {
        "model": str(data_dir / "model"), "data": str(data_dir / "data.jsonl"), "output": str(data_dir / "phase_2"),
        "rows": 100, "epochs": 3, "batch": 10, "learning_rate": 2e-5, "warmup_steps": 5, "save_samples": 0,
        "max_batch_len": 5000, "seed": 42, "keep": 0, "cpu_offload": True, "chat_template": "", "nodes": 1, "gpus": 0,
        "flash_attention": False,
    }  # fmt: skip
    return {**values, **changes}


def save_model(folder: Path, name: str = "model.embed_tokens.weight", shape: tuple = (2, 2)) -> None:
    folder.mkdir(parents=True)
    size = 4 * math.prod(shape)
    header = json.dumps({name: {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(size))
    (folder / "config.json").write_text("{}")


def save_state(output: Path, epoch: int, whole: bool = True) -> None:
    folder = output / "full_state" / f"epoch_{epoch}"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "training_metadata.json", "w") as file:
        file.writestr("data.pkl", b"x")
    if not whole:
        torn = (folder / "training_metadata.json").read_bytes()[:-20]
        (folder / "training_metadata.json").write_bytes(torn)


def save_steps(output: Path, entries: list[dict]) -> None:
    output.mkdir(exist_ok=True)
    lines = [json.dumps(e) + "\n" for e in [{"model_name_or_path": "x"}, *entries]]
    (output / "training_params_and_metrics_global0.jsonl").write_text("".join(lines))


def step(samples: int, loss: float = 1.0) -> dict:
    return {"samples_seen": samples, "avg_loss": loss, "batch_size": 10, "overall_throughput": 5.0}


def test_durations() -> None:
    assert seconds_of("30m") == 1800
    with pytest.raises(SystemExit, match="'30 minutes' is not a valid duration"):
        seconds_of("30 minutes")


def test_command_on_cpu() -> None:
    arguments = torchrun_arguments(describe(Path("/data"), full_state=True))
    assert arguments[:4] == ["--nnodes=1", "--nproc_per_node=1", "--standalone", "/data/phase_2/cpu_main_ds.py"]
    assert {
        "--model_name_or_path=/data/model", "--num_epochs=3", "--effective_batch_size=10", "--learning_rate=2e-05",
        "--num_warmup_steps=5", "--save_samples=0", "--seed=42", "--checkpoint_at_epoch", "--disable_flash_attn",
        "--accelerate_full_state_at_epoch", "--distributed_training_framework=fsdp", "--max_batch_len=5000",
    } <= set(arguments)  # fmt: skip
    assert not [argument for argument in arguments if "offload" in argument]


@pytest.mark.parametrize("gpus", [0, 8])
def test_the_chat_template_of_the_run_is_handed_to_the_trainer(gpus: int) -> None:
    given = describe(Path("/data"), full_state=False, gpus=gpus, chat_template="/data/chat_template/template.py")
    assert "--chat-tmpl-path=/data/chat_template/template.py" in torchrun_arguments(given)
    own = torchrun_arguments({**given, "chat_template": ""})
    assert not [argument for argument in own if "chat" in argument]


def test_command_in_several_pods_with_gpus() -> None:
    options = {"nodes": 3, "gpus": 8, "flash_attention": True, "full_state": False}
    arguments = torchrun_arguments(describe(Path("/data"), **options))
    assert arguments[:2] == ["--nnodes=3", "--nproc_per_node=8"]  # trap 11: GPUs asked for are GPUs used
    assert arguments[2:4] == ["--node_rank=$(RANK)", "--rdzv_endpoint=$(MASTER_ADDR):$(MASTER_PORT)"]
    assert arguments[4:6] == ["-m", "instructlab.training.main_ds"]
    assert {"--cpu_offload_params_fsdp", "--cpu_offload_optimizer"} <= set(arguments)
    assert not {"--disable_flash_attn", "--accelerate_full_state_at_epoch"} & set(arguments)


def test_last_checkpoint_is_the_one_with_the_highest_number(tmp_path: Path) -> None:  # trap 10
    for number in (1000, 200, 30):
        save_model(tmp_path / "hf_format" / f"samples_{number}")
    os.utime(tmp_path / "hf_format" / "samples_1000", (1, 1))
    assert checkpoints_of(str(tmp_path)) == ["samples_30", "samples_200", "samples_1000"]


def test_no_checkpoint_is_an_empty_list(tmp_path: Path) -> None:  # trap 11: no `max() arg is an empty sequence`
    (tmp_path / "hf_format").mkdir()
    assert checkpoints_of(str(tmp_path)) == []


@pytest.mark.parametrize("damage", ["cut", "no weights", "no config", "missing shard", "cut header"])
def test_incomplete_checkpoint_does_not_count(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "hf_format" / "samples_10"
    save_model(folder)
    weights = folder / "model.safetensors"
    match damage:
        case "cut":
            weights.write_bytes(weights.read_bytes()[:-3])
        case "cut header":
            weights.write_bytes(weights.read_bytes()[:20])
        case "no weights":
            weights.unlink()
        case "no config":
            (folder / "config.json").unlink()
        case "missing shard":
            index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
            (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert checkpoints_of(str(tmp_path)) == []


@pytest.mark.parametrize(("keep", "left"), [(0, [10, 20, 30]), (1, [30]), (2, [20, 30]), (5, [10, 20, 30])])
def test_retention_keeps_the_newest_checkpoints(tmp_path: Path, keep: int, left: list[int]) -> None:  # trap 22
    for number in (10, 20, 30):
        save_model(tmp_path / "hf_format" / f"samples_{number}")
    (tmp_path / "hf_format" / "samples_40").mkdir()  # being written
    prune_phase(str(tmp_path), keep)
    assert checkpoints_of(str(tmp_path)) == [f"samples_{number}" for number in left]
    assert (tmp_path / "hf_format" / "samples_40").is_dir()


def test_only_the_newest_complete_full_state_is_kept(tmp_path: Path) -> None:
    for epoch in (2, 9, 10):
        save_state(tmp_path, epoch)
    save_state(tmp_path, 11, whole=False)
    prune_phase(str(tmp_path), 0)
    assert [Path(state).name for state in whole_states(str(tmp_path))] == ["epoch_10"]
    assert (tmp_path / "full_state" / "epoch_11").is_dir()


Room = Callable[[float], None]


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Room:
    def has(free: float) -> None:
        usage = shutil.disk_usage("/")._replace(free=int(free))
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)

    return has


MODEL_FLOAT32 = 4 * 64 * 64


def test_training_that_does_not_fit_the_disk_is_refused_with_numbers(tmp_path: Path, room: Room) -> None:  # trap 22
    save_model(tmp_path / "model", shape=(64, 64))
    room(1.9 * MODEL_FLOAT32)
    with pytest.raises(
        SystemExit, match=r"training needs 0\.0 GiB at .*phase_2, 0\.0 GiB are free\n.*2 checkpoints of"
    ):
        start_phase(describe(tmp_path))


@pytest.mark.parametrize(
    ("changes", "models", "kept", "full_state"),
    [
        ({}, 2.9, 1, False),  # of three checkpoints one, and one that is being written
        ({}, 3, 3, False),  # all three fit, full states don't
        ({}, 10.9, 3, False),
        ({}, 11, 3, True),  # and two full states of four times a checkpoint
        ({"epochs": 1}, 1, 1, False),  # nothing to resume in one epoch
        ({"epochs": 1}, 11, 1, False),
        ({"keep": 1}, 2, 1, False),
        ({"keep": 1}, 10, 1, True),
        ({"keep": 2}, 2.9, 1, False),
        ({"keep": 5}, 11, 3, True),
        ({"save_samples": 100}, 6, 6, False),  # a checkpoint each 100 samples besides those of 3 epochs
        ({"save_samples": 100}, 5.9, 4, False),
    ],
)
def test_room_decides_how_many_checkpoints_are_kept_and_whether_training_can_be_resumed(
    tmp_path: Path, room: Room, changes: dict, models: float, kept: int, full_state: bool
) -> None:
    save_model(tmp_path / "model", shape=(64, 64))
    room(models * MODEL_FLOAT32)
    training = describe(tmp_path, **changes)
    assert start_phase(training) == {**training, "kept": kept, "full_state": full_state}


def save_taxonomy(data_dir: Path, kind: str) -> None:
    (data_dir / "taxonomy" / kind / "leaf").mkdir(parents=True)
    (data_dir / "taxonomy" / kind / "leaf" / "qna.yaml").touch()


@pytest.mark.parametrize(("kind", "models"), [("knowledge", 3), ("compositional_skills", 2)])
def test_a_volume_too_small_for_both_phases_is_refused_before_the_first(
    tmp_path: Path, room: Room, capsys: pytest.CaptureFixture, kind: str, models: int
) -> None:  # trap 22
    """Phase 1, of a taxonomy with knowledge, leaves a checkpoint; phase 2 needs two."""
    save_model(tmp_path / "model", shape=(64, 64))
    save_taxonomy(tmp_path, kind)
    room(models * MODEL_FLOAT32)
    require_training_room(str(tmp_path))
    assert f"room for {models} checkpoints of" in capsys.readouterr().out
    room(models * MODEL_FLOAT32 - 1)
    with pytest.raises(SystemExit, match=rf"GiB are free\n.*{models} checkpoints of (.|\n)*larger k8s_storage_size"):
        require_training_room(str(tmp_path))
    # Started again on the volume, what it holds of the phases counts as room.
    save_model(tmp_path / "phase_1" / "hf_format" / "samples_100", shape=(64, 64))
    require_training_room(str(tmp_path))


def default_of(parameter: str) -> Any:
    spec = next(yaml.load_all(Path("pipeline.yaml").read_text(), yaml.CSafeLoader))
    return spec["root"]["inputDefinitions"]["parameters"][parameter]["defaultValue"]


def test_defaults_fit_each_other_for_a_7b_model(tmp_path: Path, room: Room) -> None:  # trap 22
    """granite-7b has 6.74e9 parameters; a file system takes up to 6 % of a volume."""
    shape, size = (6_740_000_000,), int(default_of("k8s_storage_size").removesuffix("Gi")) << 30
    save_model(tmp_path / "model")
    header = json.dumps({"w": {"dtype": "BF16", "shape": shape, "data_offsets": [0, 2 * shape[0]]}}).encode()
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(len(header).to_bytes(8, "little") + header)
    os.truncate(weights, 8 + len(header) + 2 * shape[0])  # a file with a hole takes no room here
    save_taxonomy(tmp_path, "knowledge")
    free = 0.94 * size - 2 * shape[0]
    room(free)
    require_training_room(str(tmp_path))
    epochs = {phase: default_of(f"train_num_epochs_phase_{phase}") for phase in (1, 2)}
    assert start_phase(describe(tmp_path, epochs=epochs[1], keep=1))["kept"] == 1
    room(free - 4 * shape[0])  # what phase 1 left
    assert start_phase(describe(tmp_path, epochs=epochs[2], keep=default_of("train_keep_checkpoints")))["kept"] == 1


def test_missing_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="there is no whole model in"):
        start_phase(describe(tmp_path))


def test_interrupted_training_keeps_its_complete_epochs_and_nothing_else(tmp_path: Path) -> None:
    save_model(tmp_path / "model")
    training, output = describe(tmp_path), tmp_path / "phase_2"
    start_phase(training)
    save_model(output / "hf_format" / "samples_100")
    (output / "hf_format" / "samples_200").mkdir()
    save_state(output, 0)
    save_state(output, 1, whole=False)
    start_phase(training)
    assert [p.name for p in (output / "hf_format").iterdir()] == ["samples_100"]
    assert [p.name for p in (output / "full_state").iterdir()] == ["epoch_0"]


@pytest.mark.parametrize("change", [{"seed": 1}, {"learning_rate": 1e-4}, {"batch": 20}])
def test_remains_of_another_training_are_deleted(tmp_path: Path, change: dict) -> None:
    save_model(tmp_path / "model")
    output = tmp_path / "phase_2"
    start_phase(describe(tmp_path))
    save_model(output / "hf_format" / "samples_100")
    save_state(output, 0)
    start_phase(describe(tmp_path, **change))
    assert [p.name for p in output.iterdir()] == ["training.json"]


def test_repeated_steps_count_once_and_a_truncated_line_not_at_all(tmp_path: Path) -> None:
    save_steps(tmp_path, [step(10, 3.0), step(20, 9.0), step(20, 2.0), step(30, 1.0)])
    with (tmp_path / "training_params_and_metrics_global0.jsonl").open("a") as file:
        file.write('{"samples_seen": 40, "avg_l')
    assert [s["loss"] for s in training_steps(str(tmp_path))] == [3.0, 2.0, 1.0]
    assert training_steps(str(tmp_path / "nowhere")) == []


def test_phase_result(tmp_path: Path) -> None:
    training = describe(tmp_path, output=str(tmp_path), epochs=2)
    for number in (1000, 2000):
        save_model(tmp_path / "hf_format" / f"samples_{number}")
    save_steps(tmp_path, [step(samples, 5 - samples / 1000) for samples in range(1, 2001)])
    result = phase_result(training, tokens=3000)
    assert result["checkpoints"] == ["samples_1000", "samples_2000"]
    assert (result["steps"], result["samples"], result["tokens"]) == (2000, 2000, 6000)
    assert result["tokens_per_second"] == 1.5  # each step took 2 s
    assert len(result["loss"]) == 500
    assert result["loss"][-1] == [2000, 3.0]


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
    save_model(tmp_path / "hf_format" / f"samples_{checkpoint}", name=name)
    save_steps(tmp_path, [step(10), step(20, loss)])
    with pytest.raises(SystemExit, match=message):
        phase_result(describe(tmp_path, output=str(tmp_path)), tokens=10)
