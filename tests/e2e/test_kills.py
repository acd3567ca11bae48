"""Stages with the real libraries, killed anywhere and started again (ILAB_KILL_POINTS=all)."""

import json
import os
from pathlib import Path

import pytest

from tests.e2e.stages import in_stages


def test_stages_that_were_killed_end_as_those_that_were_not(tmp_path: Path) -> None:
    """Trap 64. Of ten requests to the teacher, those that were under way are asked again, two at most.

    On a disk that is full from any point on, also between the last sample and the marker, what is finished is found.
    """
    seen = json.loads(in_stages("tests/e2e/run_kills.py", str(tmp_path)))
    assert [seen[stage]["faults"] for stage in ("processed", "generated", "full")] == [[], [], []]
    assert 10 <= seen["generated"]["requests"] <= 12


def test_evaluations_that_were_killed_or_had_no_room_end_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ILAB_KILL_POINTS", os.environ.get("ILAB_KILL_POINTS", "4"))  # seconds each: a real harness
    seen = json.loads(in_stages("tests/e2e/run_kills_evaluation.py", str(tmp_path)))
    for how in ("killed", "full"):
        for tried, faults in seen[how].values():
            assert tried and faults == []
