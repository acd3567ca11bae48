"""Room on the volume: what training is refused, and what it keeps."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.stages.train.phase_folders import described, save_model, save_state
from utils.stages.train.folder import Room, recorded_room, require_training_room, saved_types, start_phase

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
    require_training_room(str(tmp_path), "auto")
    assert f"room for {models} checkpoints of" in capsys.readouterr().out
    room(models * MODEL_FLOAT32 - 1)
    with pytest.raises(SystemExit, match=rf"GiB are free\n.*{models} checkpoints of (.|\n)*larger k8s_storage_size"):
        require_training_room(str(tmp_path), "auto")
    # Started again on the volume, what it holds of the phases counts as room.
    save_model(tmp_path / "phase_1" / "hf_format" / "samples_100", shape=(64, 64))
    require_training_room(str(tmp_path), "auto")


def default_of(parameter: str) -> Any:
    spec = next(yaml.load_all(Path("pipeline.yaml").read_text(), yaml.CSafeLoader))
    return spec["root"]["inputDefinitions"]["parameters"][parameter]["defaultValue"]


@pytest.mark.parametrize(
    ("gib", "kept", "full_states"),
    [
        (60, 1, (False, False)),
        (int(default_of("k8s_storage_size").removesuffix("Gi")), 4, (False, False)),
        (170, 10, (False, False)),
        (260, 10, (True, False)),
        (380, 10, (True, True)),
    ],
)
def test_volumes_for_a_7b_model_are_those_of_the_guide(
    tmp_path: Path, room: HasRoom, gib: int, kept: int, full_states: tuple[bool, bool]
) -> None:  # trap 22
    """granite-7b has 6.74e9 parameters; a file system takes up to 6 % of a volume. docs/openshift.md has the table."""
    keeps = {1: "the last", 4: "the newest 4", 10: "all ten"}[kept]
    assert f"\n| {gib}Gi | {keeps} |" in Path("docs/openshift.md").read_text()
    shape = (6_740_000_000,)
    save_model(tmp_path / "model")
    header = json.dumps({"w": {"dtype": "BF16", "shape": shape, "data_offsets": [0, 2 * shape[0]]}}).encode()
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(len(header).to_bytes(8, "little") + header)
    os.truncate(weights, 8 + len(header) + 2 * shape[0])  # a file with a hole takes no room here
    save_taxonomy(tmp_path, "knowledge")
    free = 0.94 * (gib << 30) - 2 * shape[0]
    room(free)
    require_training_room(str(tmp_path), "auto")
    epochs = {phase: default_of(f"train_num_epochs_phase_{phase}") for phase in (1, 2)}
    first = start_phase(described(tmp_path, num_epochs=epochs[1], keep_checkpoints=1))
    room(free - 2 * shape[0])  # what phase 1 left
    keep = default_of("train_keep_checkpoints")
    second = start_phase(described(tmp_path, num_epochs=epochs[2], keep_checkpoints=keep))
    assert (first.kept, second.kept) == (1, kept)
    assert (first.full_state, second.full_state) == full_states
    assert (first.dtype, second.dtype) == ("bfloat16", "bfloat16")


@pytest.mark.parametrize(
    ("tensors", "config", "wanted", "saved"),
    [
        ({"a": "BF16", "b": "BF16"}, {}, "auto", ("bfloat16", {})),
        ({"a": "F16"}, {"torch_dtype": "float16"}, "auto", ("float16", {})),
        ({"a": "F32"}, {}, "auto", ("float32", {})),
        ({"a": "F32"}, {"dtype": "float32"}, "auto", ("float32", {})),
        # Training 0.10 saved float32 beside a config that says bfloat16.
        ({"a": "F32"}, {"torch_dtype": "bfloat16"}, "auto", ("bfloat16", {})),
        ({"a": "F32"}, {"dtype": "bfloat16"}, "auto", ("bfloat16", {})),
        ({"a": "F32"}, {"dtype": "float8"}, "auto", ("float32", {})),
        ({"a": "BF16"}, {"dtype": "float32"}, "auto", ("bfloat16", {})),
        # Biases of experts, in some models; scales of quantized weights, which training does not cast.
        ({"a": "BF16", "bias": "F32"}, {}, "auto", ("bfloat16", {"bias": "float32"})),
        ({"a": "F8_E4M3", "scale": "BF16"}, {}, "auto", ("bfloat16", {})),
        ({"a": "U8"}, {}, "auto", ("float32", {})),
        ({"a": "BF16", "bias": "F32"}, {}, "float32", ("float32", {})),
        ({"a": "F32"}, {}, "bfloat16", ("bfloat16", {})),
    ],
)
def test_checkpoints_have_the_base_models_type_unless_a_parameter_says_otherwise(
    tmp_path: Path, tensors: dict[str, str], config: dict[str, str], wanted: str, saved: tuple[str, dict[str, str]]
) -> None:
    header, end = dict[str, Any](), 0
    for name, dtype in tensors.items():
        shape = [2] if name == "bias" else [8, 8]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + 256]}
        end += 256
    text = json.dumps(header).encode()
    (tmp_path / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(end))
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert saved_types(str(tmp_path), wanted) == saved


def test_float32_takes_twice_the_room(tmp_path: Path, room: HasRoom) -> None:
    save_model(tmp_path / "model", shape=(64, 64), dtype="BF16")
    save_taxonomy(tmp_path, "knowledge")
    room(3 * MODEL_FLOAT32 / 2)
    require_training_room(str(tmp_path), "auto")
    assert start_phase(described(tmp_path)) == Room(3, False, "bfloat16")
    with pytest.raises(SystemExit, match="larger k8s_storage_size"):
        require_training_room(str(tmp_path), "float32")
    with pytest.raises(SystemExit, match="larger k8s_storage_size"):
        start_phase(described(tmp_path, checkpoint_dtype="float32"))


def test_training_that_an_earlier_version_began_is_resumed_with_room_for_its_float32_checkpoints(
    tmp_path: Path, room: HasRoom
) -> None:
    save_model(tmp_path / "model", shape=(64, 64), dtype="BF16")
    room(100 * MODEL_FLOAT32)
    training = described(tmp_path)
    start_phase(training)
    record = Path(training.output, "training.json")
    before = {name: value for name, value in json.loads(record.read_text()).items() if "dtype" not in name}
    record.write_text(json.dumps(before))
    save_model(Path(training.output, "hf_format", "samples_100"), shape=(64, 64))
    save_state(Path(training.output), 0)
    room(2 * MODEL_FLOAT32)
    assert recorded_room(training.output).dtype == "float32"
    assert start_phase(training) == Room(3, False, "bfloat16")
    room(1.5 * MODEL_FLOAT32)
    assert start_phase(training) == Room(1, False, "bfloat16")
    assert Path(training.output, "hf_format", "samples_100").is_dir()


def test_missing_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="there is no whole model in"):
        start_phase(described(tmp_path))
