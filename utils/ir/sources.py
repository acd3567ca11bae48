"""Where an input's value comes from: reading the source in the file, and finding its value during the walk."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from utils.ir.model import Artifact, Outputs, RunIds, Source, TaskState
from utils.ir.placeholders import follow_path, parse_path, resolve_constant


class _Missing:
    """No value: the parent does not have this input, or the producer did not write this output."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING = _Missing()

# States of an execution as ML Metadata, and so a server, names them (backend/src/v2/driver/resolve.go); the SDK's own
# documentation has SUCCEEDED, which no server of Kubeflow Pipelines gives.
_COMPLETE, _CANCELED = "COMPLETE", "CANCELED"
# google.rpc.Code, which PipelineTaskFinalStatus.error_code is documented to hold.
_CANCELLED, _UNKNOWN = 1, 2
_SERVER_STATES = {
    TaskState.SUCCEEDED: _COMPLETE,
    TaskState.CANCELED: _CANCELED,
    TaskState.WAITING: TaskState.FAILED.value,
}


@dataclass(frozen=True)
class NodeResult:
    """The result of a task of a DAG. `ran`: it succeeded in this walk, not in an earlier one."""

    state: TaskState
    outputs: Outputs = field(default_factory=Outputs)
    error: str = ""
    ran: bool = False


@dataclass(frozen=True)
class Scope:
    """One DAG being walked: its inputs, and its tasks' results so far.

    `items`: the items of the loops around it, by the name of the input that receives them. `reuse`: results of an
    earlier walk count here. `exiting`: everything in it is part of an exit task.
    """

    path: str
    parameters: Mapping[str, Any]
    artifacts: Mapping[str, list[Artifact]]
    results: dict[str, NodeResult] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    items: Mapping[str, Any] = field(default_factory=dict)
    reuse: bool = True
    exiting: bool = False


def parse_source(spec: Mapping[str, Any]) -> Source:
    """An InputParameterSpec or InputArtifactSpec of the file.

    Raises:
        ValueError: its kind or selector is unknown.
    """
    selector = spec.get("parameterExpressionSelector", "")
    path = parse_path(selector) if selector else ()
    if "runtimeValue" in spec:
        value = spec["runtimeValue"]
        if "constantValue" in value:
            return Source("constant", value=next(iter(value["constantValue"].values())), path=path)
        if "constant" in value:
            return Source("constant", value=value["constant"], path=path)
    for kind in ("componentInputParameter", "componentInputArtifact"):
        if kind in spec:
            return Source("parent", name=spec[kind], path=path)
    for kind, key in (("taskOutputParameter", "outputParameterKey"), ("taskOutputArtifact", "outputArtifactKey")):
        if kind in spec:
            return Source("output", name=spec[kind][key], task=spec[kind]["producerTask"], path=path)
    if "taskFinalStatus" in spec:
        return Source("status", task=spec["taskFinalStatus"]["producerTask"], path=path)
    raise ValueError(f"an input of unknown kind: {', '.join(spec) or 'empty'}")


def find_parameter(source: Source, scope: Scope, job: Mapping[str, str], ids: RunIds) -> Any:
    """The value of a parameter source, or MISSING.

    Raises:
        ValueError: the path into the value leads nowhere.
    """
    value: Any
    if source.kind == "constant":
        value = resolve_constant(source.value, job)
    elif source.kind == "parent":
        value = scope.parameters[source.name] if source.name in scope.parameters else _loop_item(source.name, scope)
    elif source.task not in scope.results:
        value = MISSING
    elif source.kind == "status":
        value = final_status(scope.names.get(source.task, source.task), scope.results[source.task], ids)
    else:
        value = scope.results[source.task].outputs.parameters.get(source.name, MISSING)
    if value is None or value is MISSING:
        return MISSING
    return follow_path(value, source.path)


def _loop_item(name: str, scope: Scope) -> Any:
    """An item of a loop around the DAG, or a part of it ("…-loop-item-subvar-a").

    KFP 2.17 does not always pass an outer loop's item to an inner loop, even if a task in it refers to it.
    """
    if name in scope.items:
        return scope.items[name]
    item, _, part = name.rpartition("-subvar-")
    whole = scope.items.get(item)
    return whole.get(part, MISSING) if isinstance(whole, dict) else MISSING


def find_artifacts(source: Source, scope: Scope) -> list[Artifact]:
    """The artifacts of an artifact source, if any."""
    known = scope.artifacts if source.kind == "parent" else scope.results[source.task].outputs.artifacts
    return list(known.get(source.name, []))


def final_status(name: str, result: NodeResult, ids: RunIds) -> dict[str, Any]:
    """The value of a `PipelineTaskFinalStatus` input. States are a server's: COMPLETE, FAILED, CANCELED."""
    error: dict[str, Any] = {}
    if result.state is not TaskState.SUCCEEDED:
        code = _CANCELLED if result.state is TaskState.CANCELED else _UNKNOWN
        error = {"code": code, "message": result.error}
    return {
        "state": _SERVER_STATES.get(result.state, str(result.state)),
        "pipelineJobName": ids.name,
        "pipelineJobResourceName": ids.id,
        "pipelineTaskName": name,
        "error": error,
    }
