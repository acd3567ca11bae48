"""Training that is stopped at random steps ends as training that is not: two ranks, SIGTERM and SIGKILL.

With instructlab-training 0.16, and by OSFT and LoRA, SIGTERM costs no step that was taken; SIGKILL, and 0.10, those of
an epoch. ILAB_SEED draws other steps.
"""

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stages import in_stages

SEED = int(os.environ.get("ILAB_SEED", "1"))
TERM, KILL = 15, 9
EPOCHS, STEPS = 3, 10


def train(folder: Path, signals: list[tuple[int, int]], algorithm: str = "sft") -> dict[str, Any]:
    return dict(json.loads(in_stages("tests/e2e/run_preemption.py", str(folder), json.dumps(signals), algorithm)))


@pytest.fixture(scope="module")
def signals() -> list[tuple[int, int]]:
    """For each start a signal, most are SIGTERM, one is SIGKILL, and after how many steps, in random order."""
    draw = random.Random(SEED)
    numbers = [TERM, TERM, TERM, KILL]
    draw.shuffle(numbers)
    return [(number, draw.randint(1, 6)) for number in numbers]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, signals: list[tuple[int, int]]) -> dict[str, Any]:
    return train(tmp_path_factory.mktemp("stopped"), signals)


def test_loss_curve_and_checkpoints_are_those_of_an_uninterrupted_training(
    tmp_path: Path, stopped: dict[str, Any], signals: list[tuple[int, int]]
) -> None:
    whole = train(tmp_path, [])
    assert len(whole["logs"]) == 1 and len(stopped["logs"]) == 1 + len(signals), signals
    assert len(whole["loss"]) == EPOCHS * STEPS
    assert stopped["loss"] == pytest.approx(whole["loss"], rel=1e-3), signals
    assert list(stopped["weights"]) == list(whole["weights"]), "no checkpoint more, and none less"
    for name, norm in whole["weights"].items():
        assert stopped["weights"][name] == pytest.approx(norm, rel=1e-5), (name, signals)


def test_sigterm_costs_no_step_and_the_log_says_what_it_costs(
    stopped: dict[str, Any], signals: list[tuple[int, int]]
) -> None:
    log, seen = stopped["logs"][0], stopped["seen"]
    if "after each epoch only" in log:
        assert "interrupted, training repeats the epoch it was in" in log
        return
    assert "saves its state on SIGTERM: interrupted, training continues at its step" in log
    repeated = sum(after <= before for before, after in zip(seen, seen[1:], strict=False))
    assert repeated <= sum(number == KILL for number, _ in signals), (signals, seen)
    saved = ["SIGTERM: training continues after step" in log for log in stopped["logs"]]
    assert saved == [number == TERM for number, _ in signals] + [False], signals


@pytest.mark.parametrize("algorithm", ["osft", "lora"])
def test_other_algorithms_continue_at_their_step(tmp_path: Path, algorithm: str) -> None:
    """After SIGTERM in the first and the second epoch, and SIGKILL."""
    whole, stopped = (tmp_path / name for name in ("whole", "stopped"))
    whole.mkdir()
    stopped.mkdir()
    signals = [(TERM, 4), (TERM, 8), (KILL, 2)]
    expected, found = train(whole, [], algorithm), train(stopped, signals, algorithm)
    assert len(found["logs"]) == 1 + len(signals)
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-4)
    assert list(found["weights"]) == list(expected["weights"])
    saved = ["SIGTERM: training continues after step" in log for log in found["logs"]]
    assert saved == [True, True, False, False]
