"""What a phase will cost is estimated from the model's size and its tokens, before it begins."""

from pathlib import Path

import pytest

from tests.stages.train.phase_folders import save_model
from utils.stages.train.estimate import EFFICIENCY, PEAK, h100_hours, tell_estimate, weights_of


def test_hours_are_those_of_six_operations_per_weight_and_token() -> None:
    """7 billion weights and 40 million tokens, ten times: 1.68e19 operations."""
    assert h100_hours(7 * 10**9, 10 * 40 * 10**6) * 3600 * PEAK * EFFICIENCY == pytest.approx(1.68e19)
    assert h100_hours(7 * 10**9, 10 * 40 * 10**6) == pytest.approx(15.7, abs=0.05)


def test_estimate_is_told_before_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_model(tmp_path / "model", shape=(1000, 2000))
    assert weights_of(f"{tmp_path}/model") == 2_000_000
    assert tell_estimate(f"{tmp_path}/model", 5 * 10**12) == round(h100_hours(2_000_000, 5 * 10**12), 4) == 56.1735
    assert capsys.readouterr().out == (
        "estimate: 56.2 GPU-hours on H100, if training reaches 30 % of its peak "
        "(0.002 billion weights, 5e+06 million tokens)\n"
    )


def test_model_of_unknown_size_has_no_estimate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tell_estimate(f"{tmp_path}/model", 1000) == 0
    assert capsys.readouterr().out == ""
