"""Models and states in a phase's folder."""

import json
import os
from pathlib import Path

import pytest

from tests.stages.train.phase_folders import save_model, save_state
from utils.stages.train.folder import checkpoints_of, prune_phase
from utils.stages.train.trainer import whole_states


def test_last_checkpoint_is_the_one_with_the_highest_number(tmp_path: Path) -> None:  # trap 10
    for number in (1000, 200, 30):
        save_model(tmp_path / "hf_format" / f"samples_{number}")
    os.utime(tmp_path / "hf_format" / "samples_1000", (1, 1))
    assert [Path(one).name for one in checkpoints_of(str(tmp_path))] == ["samples_30", "samples_200", "samples_1000"]


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
    assert [Path(one).name for one in checkpoints_of(str(tmp_path))] == [f"samples_{number}" for number in left]
    assert (tmp_path / "hf_format" / "samples_40").is_dir()


@pytest.mark.parametrize(
    ("saved", "torn", "newest"),
    [
        (["2", "9", "10"], "11", "10"),
        (["9", "10", "10_step_99"], "11", "10"),  # a step of epoch 10 is before its end
        (["9", "10_step_9", "10_step_12"], "10", "10_step_12"),
        (["0_step_5"], "0_step_6", "0_step_5"),
    ],
)
def test_only_the_newest_complete_full_state_is_kept(tmp_path: Path, saved: list[str], torn: str, newest: str) -> None:
    for epoch in saved:
        save_state(tmp_path, epoch)
    save_state(tmp_path, torn, whole=False)
    prune_phase(str(tmp_path), 0)
    assert [Path(state).name for state in whole_states(str(tmp_path))] == [f"epoch_{newest}"]
    assert (tmp_path / "full_state" / f"epoch_{torn}").is_dir()
