"""Checkpoints in the base model's type: what accelerate saves, and that scores do not change beyond noise."""

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stages import in_stages


def run(name: str, folder: Path) -> dict[str, Any]:
    return dict(json.loads(in_stages("tests/e2e/run_dtype.py", name, str(folder))))


def test_checkpoint_has_the_type_and_a_full_state_keeps_float32(tmp_path: Path) -> None:
    found = run("saved", tmp_path)
    types = found["types"]
    assert types.pop("model.norm.weight") == "F32"
    assert {*types.values()} == {"BF16"} and len(types) == 19
    assert found["config"] == "bfloat16"
    assert (found["state"], found["trained"]) == (["torch.float32"], ["torch.float32"])
    assert 0 < found["differs"] < 0.01


def test_tied_weights_are_saved_once_and_large_models_in_parts(tmp_path: Path) -> None:
    found = run("saved", tmp_path)
    assert {"lm_head.weight", "model.embed_tokens.weight"} & {*found["types"]} == {"model.embed_tokens.weight"}
    parts = [name for name in found["files"] if name.endswith(".safetensors")]
    assert len(parts) > 1 and "model.safetensors.index.json" in found["files"]


def test_ranks_of_fsdp_save_the_same_type(tmp_path: Path) -> None:
    types = run("ranks", tmp_path)["types"]
    assert types.pop("model.norm.weight") == "F32"
    assert {*types.values()} == {"BF16"} and len(types) == 19


def test_killed_while_saving_leaves_a_whole_checkpoint_or_none(tmp_path: Path) -> None:
    found = run("killed", tmp_path)
    assert found["points"] >= 4
    assert found["whole"] == ["BF16", "bfloat16"]
    assert sorted(found["left"]) == [[], found["whole"]] or found["left"] == [[]]


def test_scores_do_not_change_beyond_noise(tmp_path: Path) -> None:
    """Of a model of 135 million parameters, on the CPU in float32. On a GPU both are computed in bfloat16."""
    found = run("scores", tmp_path)
    long, short = found["float32"], found["bfloat16"]
    assert short["bytes"] == pytest.approx(long["bytes"] / 2, rel=0.01)
    changes = [after - before for before, after in zip(long["nll"], short["nll"], strict=True)]
    assert any(changes)
    # Nats per token. The questions themselves differ by far more.
    assert abs(statistics.fmean(changes)) < 0.01 * statistics.stdev(long["nll"])
    assert max(map(abs, changes)) < 0.03
