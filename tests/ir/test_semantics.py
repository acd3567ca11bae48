"""Every pipeline of the semantics table: compiled by KFP, walked by us, executed by KFP's own executor."""

from pathlib import Path

import pytest

from tests.ir.memory_runner import walk
from tests.ir.semantics import compose, conditions, exits, loops
from tests.ir.semantics.case import Case

CASES = [*compose.CASES, *conditions.CASES, *loops.CASES, *exits.CASES]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_runs_as_the_documentation_says(case: Case, tmp_path: Path) -> None:
    walked = walk(case.pipeline, tmp_path, case.arguments)

    assert walked.result.state is case.state, walked.result.error
    assert set(walked.runner.ran) == case.ran
    for task_id, inputs in case.given.items():
        assert walked.inputs(task_id) == inputs
        assert [type(value) for value in walked.inputs(task_id).values()] == [
            type(inputs[name]) for name in walked.inputs(task_id)
        ]
    for task_id, made in case.made.items():
        assert walked.outputs[task_id].parameters["Output"] == made
    if case.outputs:
        assert dict(walked.result.outputs.parameters) == case.outputs


def test_the_table_is_large_enough() -> None:
    assert len(CASES) >= 40
    assert len({case.name for case in CASES}) == len(CASES)
