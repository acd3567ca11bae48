"""OSFT and LoRA in mini-trainer, two ranks on CPU: what a checkpoint holds. test_preemption.py has their states."""

import json
from typing import Any

import pytest

from tests.e2e.stages import in_stages

RANK = 4
OPTIONS = {"osft": {"unfreeze_rank_ratio": 0.25}, "lora": {"r": RANK}}
WIDTH = 32
"""Directions of each matrix of the model."""
ROUNDING = 0.03
"""Of bfloat16, in singular values of what training added, relative to the largest."""


@pytest.fixture(scope="module", params=[*OPTIONS])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    name, folder = request.param, tmp_path_factory.mktemp("volume")
    given = json.dumps(OPTIONS[name])
    return {"name": name, **json.loads(in_stages("tests/e2e/run_algorithms.py", str(folder), name, given))}


def test_checkpoints_have_the_base_models_tensors(trained: dict[str, Any]) -> None:
    """mini-trainer alone adds buffers and tied weights, and switches the cache off for whoever loads the model."""
    assert trained["checkpoints"] == ["phase_2/hf_format/samples_16", "phase_2/hf_format/samples_32"]
    base, checkpoint = trained["tensors"]
    assert checkpoint == base
    assert trained["use_cache"] is True


def test_loss_of_the_checkpoint_is_that_which_training_logs_next(trained: dict[str, Any]) -> None:
    """The adapters are merged, and rows that are packed into one sequence do not see each other."""
    assert trained["checked"] == pytest.approx(trained["logged"][1], rel=1e-3)
    assert trained["logged"][1] != pytest.approx(trained["logged"][0], rel=1e-2)


def test_only_as_many_directions_change_as_were_asked_for(trained: dict[str, Any]) -> None:
    """OSFT: the weakest quarter of the base model's own; LoRA: any few."""
    most = {"osft": WIDTH // 4, "lora": RANK}[trained["name"]]
    for name, (*values, frozen) in trained["changes"].items():
        assert max(values[most:]) < ROUNDING * values[0], name
        assert (frozen < 0.05) == (trained["name"] == "osft"), name
