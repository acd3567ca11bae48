"""The arithmetic of `tests.bench.gpu`."""

import json

import pytest

from tests.bench.gpu import FULL, ROWS, TINY, cell, compare_losses
from tests.bench.gpu_figures import (
    LoggedStep,
    Shape,
    difference,
    logged_steps,
    tokens_per_second,
    training_flops,
    utilization,
)
from tests.bench.gpu_training import Measured, samples

GRANITE_7B = Shape("llama", 4096, 11008, 32, 32, 32, 32008)


def test_weights_that_are_multiplied_are_all_but_input_embeddings_and_norms() -> None:
    # Llama 2 of 7B, whose shape granite-7b has, has 6,738,415,616 weights, of them 65 norms of 4096.
    llama = Shape("llama", 4096, 11008, 32, 32, 32, 32000)
    assert llama.multiplied == 6_738_415_616 - 32000 * 4096 - 65 * 4096
    grouped = Shape("llama", 64, 100, 1, 4, 2, 0)
    assert grouped.multiplied == 64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 100


def test_flops_are_six_per_weight_and_token_and_half_the_square_of_attention() -> None:
    weights = 6 * GRANITE_7B.multiplied
    attention = 12 * 32 * 4096 / 2
    assert training_flops(GRANITE_7B, [1000]) == weights * 1000 + attention * 1000**2
    assert training_flops(GRANITE_7B, [1000, 10]) == training_flops(GRANITE_7B, [1000]) + training_flops(
        GRANITE_7B, [10]
    )


def test_utilization_is_known_for_known_cards_only() -> None:
    each = training_flops(GRANITE_7B, [100]) / 100
    full = 989.4e12 / each
    assert utilization(GRANITE_7B, [100, 100], full / 2, "NVIDIA H100 80GB HBM3") == pytest.approx(0.5)
    assert utilization(GRANITE_7B, [100], full, "a card of next year") is None


def logged(second: int, counted: int, samples: int, **other: object) -> str:
    entry = {"num_loss_counted_tokens": counted, "batch_size": samples, "samples_seen": 4, **other}
    return json.dumps({"timestamp": f"2026-11-27T05:00:{second:02}+00:00", **entry})


def test_steps_are_read_from_the_librarys_metrics_without_padding() -> None:
    text = "\n".join([json.dumps({"num_gpus": 1}), logged(1, 90, 10, num_tokens_rank0=200), logged(3, 45, 5)])
    first, second = logged_steps(text)
    assert (first.tokens, second.tokens) == (100, 50)
    assert second.time - first.time == 2


def test_speed_is_on_the_clock_after_the_warm_up() -> None:
    steps = [LoggedStep(0, 999), LoggedStep(60, 999), LoggedStep(61, 100), LoggedStep(64, 300)]
    assert tokens_per_second(steps) == 100
    with pytest.raises(ValueError, match="2 steps are too few"):
        tokens_per_second(steps[:2])


def test_loss_curves_of_different_length_are_not_compared() -> None:
    assert difference([2.0, 1.1], [2.0, 1.0]) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="zip"):
        difference([2.0], [2.0, 1.0])


@pytest.mark.parametrize("factor, allowed", [(1.009, True), (1.02, False)])
def test_a_training_that_was_stopped_must_end_as_the_other_does(factor: float, allowed: bool) -> None:
    made = {"ours": measured([2.0, 1.0]), "preempted": measured([2.0, factor])}
    if allowed:
        assert "preempted 0.90%" in compare_losses(made)
    else:
        with pytest.raises(ValueError, match="2.00%"):
            compare_losses(made)


def measured(losses: list[float]) -> Measured:
    return Measured(1.0, None, 1.0, 1.0, 1, losses)


def test_what_is_not_known_is_a_dash() -> None:
    assert cell(None, ".1%").strip() == "-" and cell(0.5, ".1%").strip() == "50.0%"


def test_samples_fill_whole_steps_and_are_the_same_for_each_row() -> None:
    rows = list(samples(TINY, TINY.llama, 3))
    assert len(rows) == 3 * TINY.batch
    assert rows == list(samples(TINY, TINY.llama, 3))
    assert all(TINY.shortest <= row["len"] == len(row["input_ids"]) <= TINY.longest for row in rows)


def test_every_row_has_steps_that_count_and_stops_before_its_end() -> None:
    for row in ROWS.values():
        for size in (FULL, TINY):
            steps = row.steps or size.steps
            assert steps > 2 and row.stop < steps, row.name
