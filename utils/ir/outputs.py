"""From the files that a task wrote to its outputs."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from utils.errors import TaskFailed
from utils.ir.command import OUTPUT_FILE
from utils.ir.model import Artifact, Outputs, Task
from utils.ir.values import typed, whole_numbers


def read_outputs(task: Task, root: str | Path) -> Outputs:
    """The outputs of a task that succeeded, from executor_output.json and the files of output parameters under root.

    Raises:
        TaskFailed: the file can't be read, or a value is not of the declared type.
    """
    folder = Path(root)
    report = folder / OUTPUT_FILE
    content = _report(task, report.read_text() if report.is_file() else "")
    files = {name: (folder / name).read_text() for name in task.output_parameters if (folder / name).is_file()}
    return _outputs(task, str(root), content, files)


def message_outputs(task: Task, root: str, message: str) -> Outputs:
    """The outputs that a task that succeeded reported in `message`, the text of its executor_output.json.

    Args:
        root: directory of its artifacts as the container sees it.

    Raises:
        TaskFailed: the text is not JSON, or a value is not of the declared type.
    """
    return _outputs(task, root, _report(task, message), {})


def value_outputs(task: Task, root: str, value: str) -> Outputs:
    """The outputs of a task with one output parameter; `value` is the content of that parameter's file.

    Raises:
        TaskFailed: the value is not of the declared type.
    """
    return _outputs(task, root, {}, {name: value for name in task.output_parameters})


def _report(task: Task, content: str) -> dict[str, Any]:
    try:
        return dict(json.loads(content)) if content.strip() else {}
    except (ValueError, TypeError) as error:
        raise TaskFailed(f"task {task.id} wrote no valid {OUTPUT_FILE}", str(error)) from error


def _outputs(task: Task, root: str, content: Mapping[str, Any], files: Mapping[str, str]) -> Outputs:
    """Outputs from executor_output.json and, for those that it does not name, from the files of output parameters."""
    values = dict(content.get("parameterValues") or {})
    for name, kind in task.output_parameters.items():
        if name not in values and name in files:
            values[name] = _from_file(files[name], kind, name, task)
    for name in values.keys() & task.output_parameters.keys():
        try:
            values[name] = typed(values[name], task.output_parameters[name])
        except ValueError as error:
            raise TaskFailed(f"task {task.id} returned a wrong type for its output {name}", str(error)) from error
    written = content.get("artifacts") or {}
    artifacts = {
        name: [
            _merged(Artifact(name, kind, f"{root}/{name}"), one)
            for one in written.get(name, {}).get("artifacts") or [{}]
        ]
        for name, kind in task.output_artifacts.items()
    }
    return Outputs({name: value for name, value in values.items() if name in task.output_parameters}, artifacts)


def _merged(artifact: Artifact, written: Mapping[str, Any]) -> Artifact:
    return replace(
        artifact,
        name=written.get("name") or artifact.name,
        uri=written.get("uri") or artifact.uri,
        metadata=whole_numbers(written.get("metadata") or {}),
    )


def _from_file(content: str, kind: str, name: str, task: Task) -> Any:
    """An output parameter's file: a string unchanged, anything else as JSON."""
    if kind == "STRING":
        return content
    try:
        return json.loads(content)
    except ValueError as error:
        raise TaskFailed(f"task {task.id} wrote no valid JSON for its output {name}", str(error)) from error
