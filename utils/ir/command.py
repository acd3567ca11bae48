"""From a task to the command that runs it."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from utils.errors import TaskFailed
from utils.ir.model import Artifact, RunIds, Task
from utils.ir.placeholders import job_values
from utils.ir.values import text

_PLACEHOLDER = re.compile(r"\{\{\$(.*?)\}\}")
_REFERENCE = re.compile(
    r"\.(inputs|outputs)\.(parameters|artifacts)\[['\"]+([^'\"\]]+)['\"]+\]"
    r"(?:\.(value|output_file|path|uri|name|metadata)(?:\[['\"]+([^'\"\]]+)['\"]+\])?)?"
)
OUTPUT_FILE = "executor_output.json"
# Where KFP mounts a remote artifact; anything else is already a path.
_REMOTE = {"gs://": "/gcs/", "minio://": "/minio/", "s3://": "/s3/"}


def runs_executor(command: Iterable[Any]) -> bool:
    """Whether a command runs KFP's executor: a Python function, whose outputs are reported in one file."""
    return any("kfp.dsl.executor_main" in str(part) for part in command)


def executor_input(
    task: Task, root: str, inputs: Mapping[str, Any] | None = None, output_file: str = ""
) -> dict[str, Any]:
    """KFP's ExecutorInput message as JSON values: what a task is given and where its outputs go.

    Args:
        task: the task.
        root: directory (or URI) under which the outputs go; each parameter's file and each artifact takes its name.
        inputs: parameter values instead of the task's own, if a runner rewrote paths.
        output_file: where KFP's executor writes the outputs; "" for a file under root.
    """
    outputs = {
        "parameters": {name: {"outputFile": f"{root}/{name}"} for name in task.output_parameters},
        "artifacts": {
            name: {"artifacts": [_runtime_artifact(Artifact(name, kind, f"{root}/{name}"))]}
            for name, kind in task.output_artifacts.items()
        },
        "outputFile": output_file or f"{root}/{OUTPUT_FILE}",
    }
    given = dict(task.inputs if inputs is None else inputs)
    artifacts = {name: {"artifacts": [_runtime_artifact(one) for one in many]} for name, many in task.artifacts.items()}
    message = {"inputs": {"parameterValues": given, "artifacts": artifacts}, "outputs": outputs}
    itself = {"{{$}}": json.dumps(message), **_output_file(message)}
    values = {name: itself.get(value, value) if isinstance(value, str) else value for name, value in given.items()}
    return {"inputs": {"parameterValues": values, "artifacts": artifacts}, "outputs": outputs}


def resolve_command(task: Task, message: Mapping[str, Any], ids: RunIds) -> list[str]:
    """The task's command and arguments with every placeholder filled in from the ExecutorInput `message`.

    Raises:
        TaskFailed: a placeholder names something that the task doesn't have.
    """
    known = {**job_values(ids, task.id, task.name), **_output_file(message), "{{$}}": json.dumps(message)}
    present = {**message["inputs"]["parameterValues"], **message["inputs"]["artifacts"]}
    result: list[str] = []
    for template in (*task.command, *task.args):
        for element in _expand(_structure(template), present):
            result.append(_PLACEHOLDER.sub(lambda match: _fill(match, known, message, task), element))
    return result


def _runtime_artifact(artifact: Artifact) -> dict[str, Any]:
    return {
        "name": artifact.name,
        "type": {"schemaTitle": artifact.type, "schemaVersion": "0.0.1"},
        "uri": artifact.uri,
        "metadata": dict(artifact.metadata),
    }


def _output_file(message: Mapping[str, Any]) -> dict[str, str]:
    path = message["outputs"]["outputFile"]
    return {"{{$.outputs.output_file}}": path, "{{$.outputMetadataUri}}": path}


def _structure(template: Any) -> Any:
    """A Concat or IfPresent, which the compiled file holds as JSON text; other text as it is."""
    if isinstance(template, str) and template.startswith(('{"Concat": ', '{"IfPresent": ')):
        return json.loads(template)
    return template


def _expand(element: Any, present: Mapping[str, Any]) -> list[str]:
    """The command's elements that one template gives: none for an IfPresent that is absent, several for a list."""
    if element is None:
        return []
    if isinstance(element, str):
        return [element]
    if isinstance(element, Sequence):
        return [one for part in element for one in _expand(part, present)]
    if "Concat" in element:
        return ["".join(_expand(element["Concat"], present))]
    choice = element["IfPresent"]
    return _expand(choice["Then"] if present.get(choice["InputName"]) is not None else choice.get("Else"), present)


def _fill(match: re.Match[str], known: Mapping[str, str], message: Mapping[str, Any], task: Task) -> str:
    if match[0] in known:
        return known[match[0]]
    reference = _REFERENCE.fullmatch(match[1])
    if not reference:
        raise TaskFailed(f"task {task.id} uses the unknown placeholder {match[0]}")
    side, kind, name, field, key = reference.groups()
    try:
        if kind == "parameters":
            values = message["inputs"]["parameterValues"] if side == "inputs" else message["outputs"]["parameters"]
            return text(values.get(name)) if side == "inputs" else values[name]["outputFile"]
        artifacts = message[side]["artifacts"][name]["artifacts"]
    except KeyError as error:
        raise TaskFailed(f"task {task.id} has nothing for its placeholder {match[0]}") from error
    if field is None:
        return json.dumps(artifacts)
    if field == "metadata" and key:
        return text(artifacts[0]["metadata"].get(key, ""))
    return _local_path(artifacts[0]["uri"]) if field == "path" else text(artifacts[0][field])


def _local_path(uri: str) -> str:
    for scheme, mount in _REMOTE.items():
        if uri.startswith(scheme):
            return mount + uri.removeprefix(scheme)
    return uri.removeprefix("file://")
