"""instructlab.training in several ranks, each sample trained on, in both versions: `make e2e` and `make e2e-images`."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stages import in_stages
from tests.stages.train.phase_folders import described
from utils.stages.train.training import torchrun_arguments

PROGRAM = "tests/e2e/run_ranks.py"
# Lengths like those of 3000 generated samples: 330 tokens on average, the longest 3900.
SKEWED = [min(3900, max(30, int(random.Random(seed).lognormvariate(5.4, 0.9)))) for seed in range(2999)] + [3900]


CASES: dict[str, dict[str, Any]] = {
    f"{name}, {kind}": {"lengths": lengths, "batch": batch, "limit": limit, "ranks": ranks, "flash": kind == "packed"}
    for kind in ("packed", "padded")
    for name, lengths, batch, limit, ranks in [
        ("the pipeline's defaults", SKEWED, 128, 5000, 4),
        ("the batch is the whole data set", SKEWED[-150:], 150, 5000, 4),
        ("a few rows are left over", SKEWED[-130:], 128, 3900, 8),
        ("more GPUs than samples", [100] * 3 + [4000], 8, 4096, 8),
    ]
}


def run(*arguments: object) -> Any:
    return json.loads(in_stages(PROGRAM, *map(str, arguments)))


@pytest.fixture(scope="module")
def packed() -> dict[str, dict[str, Any]]:
    return dict(zip(CASES, run("pack", json.dumps([*CASES.values()])), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_each_sample_is_trained_on_and_fits(packed: dict[str, dict[str, Any]], name: str) -> None:
    """Trap 69a: 0.10.3 alone trains on 45 % with the first numbers, and never ends with the second when padded."""
    made, lengths = packed[name], CASES[name]["lengths"]
    assert max(share["tokens"] for share in made["shares"]) <= CASES[name]["limit"]
    learnt = sum(share["learnt"] for share in made["shares"])
    copied = max(0, CASES[name]["ranks"] - len(lengths)) * min(lengths)  # 0.10 needs a sample on each GPU
    assert sum(lengths) <= learnt <= sum(lengths) + copied
    assert made["batches"] % made["micro_batches"] == 0, "all optimizer steps are whole"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    def train(lengths: list[int], **changes: Any) -> dict[str, Any]:
        folder: Path = tmp_path_factory.mktemp("volume")
        return {"data_dir": folder, **run("train", folder, lengths, json.dumps(changes))}

    return train


def test_two_nodes_train_on_each_sample_in_step(trained: Callable[..., dict[str, Any]]) -> None:
    lengths = [90] + [30] * 10
    result = trained(lengths, effective_batch_size=3840, max_batch_len=100)
    assert (result["samples"], result["tokens"], result["steps"]) == (22, 2 * sum(lengths), 2)
    assert result["tokens_per_second"] > 0
    assert result["loss"][-1][1] < result["loss"][0][1]
    assert result["checkpoints"] == ["phase_2/hf_format/samples_11", "phase_2/hf_format/samples_22"]


def test_fewer_samples_than_ranks_are_trained_on(trained: Callable[..., dict[str, Any]]) -> None:
    assert trained([40], num_epochs=1)["samples"] in (1, 2)  # 0.10 needs a copy for the second rank


def test_checkpoints_are_saved_each_time_that_as_many_samples_were_seen(
    trained: Callable[..., dict[str, Any]],
) -> None:
    """0.16.2 alone would save at 10 and 20 samples, where epochs end anyway: no other batch ends at a multiple."""
    result = trained([30] * 10, effective_batch_size=4, save_samples=5)
    assert len(result["checkpoints"]) >= 4
    assert result["checkpoints"][-1] == "phase_2/hf_format/samples_20"


def test_cards_without_flash_attention_are_those_that_the_library_refuses() -> None:
    """It raises on them unless it is told to do without; here no image has the package itself."""
    refused = [("Tesla T4", 7, 5, ""), ("Tesla V100", 7, 0, ""), ("NVIDIA B200", 10, 0, ""), ("MI100", 9, 8, "gfx908")]
    supported = [("NVIDIA A100", 8, 0, ""), ("NVIDIA H100", 9, 0, ""), ("AMD MI300X", 9, 4, "gfx942:sramecc+:xnack-")]
    found = run("attention", json.dumps([*refused, *supported]))
    assert found[:4] == [f"the library does not support it on {name}" for name, *_ in refused]
    assert found[4:] == ["this image does not have it (No module named 'flash_attn')"] * 3


def test_nodes_with_one_gpu_each_share_one_model() -> None:  # trap 69a
    """torch takes a node's GPUs for one group: alone in it, a rank never hears of the others."""
    given = described(Path("/data"), nodes=2, gpus=1)
    ours = run("shard", json.dumps(torchrun_arguments(given, full_state=False)))["weights"]
    assert ours[0] == ours[1]
    library = run("shard", "[]")["weights"]
    assert library[0] != library[1], "the library's default has changed: FULL_SHARD may no longer be needed"
