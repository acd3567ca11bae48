"""KFP tries a failed task again, whatever failed: a training that took too long must not take as long again."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from utils.stages.train.late import RETRIES, TooLate, note_late, refuse_repeat

GIVEN = {"timeout": "72h", "seed": 42}
LATE = TooLate("error: the TrainJob t did not start in 3600 s\n  cause: no GPUs")


@pytest.fixture(autouse=True)
def on_kfp(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server gives every executor this variable (argocompiler/common.go, 2.5.0 to 2.17.0)."""
    monkeypatch.setenv("KFP_POD_NAME", "ilab-1")


def attempts(output: str, number: int, given: dict[str, object] = GIVEN) -> Iterator[bool]:
    """Which of so many attempts train."""
    for _ in range(number):
        try:
            refuse_repeat(output, given)
            yield True
        except SystemExit as error:
            assert "training is not tried again by itself" in str(error) and "no GPUs" in str(error)
            yield False


def test_attempts_that_follow_by_themselves_do_not_train_and_the_next_one_does(tmp_path: Path) -> None:
    output = str(tmp_path / "phase_1")
    assert list(attempts(output, 2)) == [True, True]
    note_late(output, GIVEN, LATE)
    assert list(attempts(output, RETRIES + 2)) == [False] * RETRIES + [True, True]


def test_other_parameters_or_the_other_phase_train_at_once(tmp_path: Path) -> None:
    output = str(tmp_path / "phase_1")
    note_late(output, GIVEN, LATE)
    assert list(attempts(output, 1, {**GIVEN, "timeout": "144h"})) == [True]
    assert list(attempts(str(tmp_path / "phase_2"), 1)) == [True]


def test_retry_by_somebody_trains_in_the_end_wherever_the_count_stood(tmp_path: Path) -> None:
    """The last attempt was late, or a run was stopped in between: of the attempts of the next Retry one trains."""
    output = str(tmp_path / "phase_1")
    for passed in range(RETRIES):
        note_late(output, GIVEN, LATE)
        list(attempts(output, passed))
        assert True in attempts(output, RETRIES + 1)


def test_our_own_runners_which_do_not_repeat_it_start_it_again_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KFP_POD_NAME")
    note_late(str(tmp_path / "phase_1"), GIVEN, LATE)
    assert list(attempts(str(tmp_path / "phase_1"), 1)) == [True]


def test_its_message_is_that_of_any_failure() -> None:
    with pytest.raises(SystemExit, match="did not start in 3600 s"):
        raise LATE
