"""From the files that a task wrote to its outputs."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from utils.errors import TaskFailed
from utils.foreign_text import read_json
from utils.ir.command import OUTPUT_FILE
from utils.ir.model import Artifact, Outputs, Task
from utils.ir.values import from_text, typed, whole_numbers


def read_outputs(task: Task, root: str | Path, place: Callable[[str], Path] = Path) -> Outputs:
    """The outputs of a task that succeeded, from executor_output.json and the files of output parameters under root.

    As KFP's launcher does (component/launcher_v2.go), it requires every output parameter, and takes the content of an
    artifact from its `custom_path`, if it has one.

    Args:
        place: where a path of the task's own file system is on this machine.

    Raises:
        TaskFailed: a file can't be read, an output is missing, or a value is not of the declared type.
    """
    folder = Path(root)
    report = folder / OUTPUT_FILE
    content = _report(task, report.read_text() if report.is_file() else "")
    files = {name: _text(folder / name, name, task) for name in task.output_parameters if (folder / name).is_file()}
    outputs = _outputs(task, str(root), content, files)
    missing = [name for name in task.output_parameters if name not in outputs.parameters]
    if missing:
        raise TaskFailed(
            f"task {task.id} wrote nothing for its output {', '.join(missing)}",
            "every output parameter needs a value, on a server too",
            "return a value, or write one to the OutputPath",
        )
    for name, path in _custom_paths(content):
        for artifact in outputs.artifacts.get(name, ()):
            _fetch(artifact, folder, place(path), path, task)
    return outputs


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
        return dict(read_json(content)) if content.strip() else {}
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


def _text(path: Path, name: str, task: Task) -> str:
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise TaskFailed(f"task {task.id} wrote no UTF-8 text for its output {name}", str(error)) from error


def _from_file(content: str, kind: str, name: str, task: Task) -> Any:
    """The value in an output parameter's file."""
    try:
        return from_text(content, kind)
    except ValueError as error:
        raise TaskFailed(f"task {task.id} wrote no valid value for its output {name}", str(error)) from error


def _custom_paths(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Output and path of each artifact whose content the task put elsewhere (`Artifact.set_path`)."""
    for name, written in (content.get("artifacts") or {}).items():
        for one in (written.get("artifacts") or ())[:1]:
            path = one.get("custom_path") or one.get("customPath")
            if path:
                yield name, path


def _fetch(artifact: Artifact, root: Path, source: Path, path: str, task: Task) -> None:
    """Bring an artifact's content from the path that its task chose to its place, where later tasks look for it.

    A task that wrote nothing there has an artifact without content, as on a server.
    """
    target = Path(artifact.uri)
    if not target.is_relative_to(root):
        raise TaskFailed(
            f"task {task.id} set both a custom path ({path}) and a URI ({artifact.uri}) for its output {artifact.name}",
            "there is no object store here to upload it to",
            "set the custom path alone",
        )
    if source == target or not source.exists():
        return
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    target.unlink(missing_ok=True)
    try:
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copyfile(source, target)
    except OSError as error:  # copytree's own error is one
        raise TaskFailed(
            f"task {task.id}: the content of {artifact.name} can't be read at {path}", str(error)
        ) from error
