"""Outputs of a task from the files that it wrote."""

import json
from pathlib import Path

import pytest

from tests.ir.test_command import TASK
from utils.errors import TaskFailed
from utils.ir.model import Artifact
from utils.ir.outputs import read_outputs


def test_outputs_are_typed(tmp_path: Path) -> None:
    report = {"parameterValues": {"score": 1, "count": 3.0, "rows": [1.0], "undeclared": 1}}
    (tmp_path / "executor_output.json").write_text(json.dumps(report))
    (tmp_path / "note").write_text("5")
    outputs = read_outputs(TASK, tmp_path)
    assert repr(dict(sorted(outputs.parameters.items()))) == "{'count': 3, 'note': '5', 'rows': [1], 'score': 1.0}"
    assert outputs.artifacts == {"model": [Artifact("model", "system.Model", f"{tmp_path}/model", {})]}


def test_value_in_the_executor_output_wins_over_a_file(tmp_path: Path) -> None:
    (tmp_path / "executor_output.json").write_text('{"parameterValues": {"count": 3}}')
    (tmp_path / "count").write_text("no number")
    assert read_outputs(TASK, tmp_path).parameters == {"count": 3}


def test_output_artifacts_keep_their_own_metadata_and_uri(tmp_path: Path) -> None:
    one = {"name": "best", "uri": "s3://elsewhere", "metadata": {"loss": 0.5, "epoch": 2.0}}
    (tmp_path / "executor_output.json").write_text(json.dumps({"artifacts": {"model": {"artifacts": [one]}}}))
    assert read_outputs(TASK, tmp_path).artifacts["model"] == [
        Artifact("best", "system.Model", "s3://elsewhere", {"loss": 0.5, "epoch": 2})
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("executor_output.json", "{", "no valid executor_output.json"),
        ("executor_output.json", '{"parameterValues": {"count": "three"}}', "wrong type for its output count"),
        ("count", "three", "no valid JSON for its output count"),
        ("count", "3.5", "wrong type for its output count"),
    ],
)
def test_invalid_outputs_fail_the_task(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(TaskFailed, match=message):
        read_outputs(TASK, tmp_path)
