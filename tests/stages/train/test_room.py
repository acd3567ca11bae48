"""Room on the volume: what training is refused, and what it keeps."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.stages.train.phase_folders import described, save_model
from utils.stages.train.folder import Room, recorded_room, require_training_room, start_phase

HasRoom = Callable[[float], None]


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> HasRoom:
    def has(free: float) -> None:
        usage = shutil.disk_usage("/")._replace(free=int(free))
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)

    return has


MODEL_FLOAT32 = 4 * 64 * 64


def test_training_that_does_not_fit_the_disk_is_refused_with_numbers(tmp_path: Path, room: HasRoom) -> None:  # trap 22
    save_model(tmp_path / "model", shape=(64, 64))
    room(1.9 * MODEL_FLOAT32)
    with pytest.raises(
        SystemExit, match=r"training needs 0\.0 GiB at .*phase_2, 0\.0 GiB are free\n.*2 checkpoints of"
    ):
        start_phase(described(tmp_path))


@pytest.mark.parametrize(
    ("changes", "models", "kept", "full_state"),
    [
        ({}, 2.9, 1, False),  # of three checkpoints one, and one that is being written
        ({}, 3, 3, False),  # all three fit, full states don't
        ({}, 10.9, 3, False),
        ({}, 11, 3, True),  # and two full states of four times a checkpoint
        ({"num_epochs": 1}, 8.9, 1, False),
        ({"num_epochs": 1}, 9, 1, True),  # a step of one epoch
        ({"keep_checkpoints": 1}, 2, 1, False),
        ({"keep_checkpoints": 1}, 10, 1, True),
        ({"keep_checkpoints": 2}, 2.9, 1, False),
        ({"keep_checkpoints": 5}, 11, 3, True),
        ({"save_samples": 100}, 6, 6, False),  # a checkpoint each 100 samples besides those of 3 epochs
        ({"save_samples": 100}, 5.9, 4, False),
    ],
)
def test_room_decides_how_many_checkpoints_are_kept_and_whether_training_can_be_resumed(
    tmp_path: Path, room: HasRoom, changes: dict[str, Any], models: float, kept: int, full_state: bool
) -> None:
    save_model(tmp_path / "model", shape=(64, 64))
    room(models * MODEL_FLOAT32)
    training = described(tmp_path, **changes)
    assert start_phase(training) == Room(kept, full_state)
    assert recorded_room(training.output) == Room(kept, full_state)


def save_taxonomy(data_dir: Path, kind: str) -> None:
    leaf = data_dir / "taxonomy" / kind / "arts" / "writing" / "leaf"
    leaf.mkdir(parents=True)
    (leaf / "qna.yaml").touch()


@pytest.mark.parametrize(("kind", "models"), [("knowledge", 3), ("compositional_skills", 2)])
def test_a_volume_too_small_for_both_phases_is_refused_before_the_first(
    tmp_path: Path, room: HasRoom, capsys: pytest.CaptureFixture, kind: str, models: int
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


def test_defaults_fit_each_other_for_a_7b_model(tmp_path: Path, room: HasRoom) -> None:  # trap 22
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
    assert start_phase(described(tmp_path, num_epochs=epochs[1], keep_checkpoints=1)).kept == 1
    room(free - 4 * shape[0])  # what phase 1 left
    assert (
        start_phase(
            described(tmp_path, num_epochs=epochs[2], keep_checkpoints=default_of("train_keep_checkpoints"))
        ).kept
        == 1
    )


def test_missing_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="there is no whole model in"):
        start_phase(described(tmp_path))
