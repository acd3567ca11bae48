"""What the server refuses when a run is created: status and message, or None."""

from collections.abc import Mapping
from typing import Any

Refusal = tuple[int, dict[str, str]] | None

_TYPES: dict[str, tuple[Any, str]] = {
    "STRING": (str, "string"),
    "NUMBER_INTEGER": ((int, float), "double or integer"),
    "NUMBER_DOUBLE": ((int, float), "double or integer"),
    "BOOLEAN": (bool, "bool"),
    "LIST": (list, "list"),
    "STRUCT": (dict, "struct"),
}


def refused(status: int, message: str) -> tuple[int, dict[str, str]]:
    return status, {"error": message, "message": message}


def check_spec(spec: Mapping[str, Any], release: tuple[int, int]) -> Refusal:
    """What creating a run, or uploading a version, refuses of a pipeline spec."""
    if not spec.get("pipelineInfo", {}).get("name"):
        return refused(400, "invalid v2 pipeline spec: name is empty")
    if spec.get("schemaVersion") != "2.1.0":
        return refused(400, "KFP only supports schema version 2.1.0")
    if release < (2, 14) and "taskFinalStatus" in str(spec):
        why = 'compiling DAG "root": failed to add implicit deps: task final status not supported yet'
        return refused(500, f"Failed to create a new run: Failed to compile job: InternalError: {why}")
    return None


def check_parameters(spec: Mapping[str, Any], values: Mapping[str, Any]) -> Refusal:
    """What creating a run refuses of its parameters."""
    known = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    for name, parameter in known.items():
        if name not in values:
            if not parameter.get("isOptional") and "defaultValue" not in parameter:
                text = f"parameter {name} is not optional, yet has neither default value nor user provided value"
                return refused(400, text)
            continue
        kind, words = _TYPES[parameter["parameterType"]]
        fits = isinstance(values[name], kind) and (kind is bool or not isinstance(values[name], bool))
        if not fits:
            return refused(400, f"input parameter {name} requires type {words}, but the parameter value is not")
    extra = sorted(set(values) - set(known))
    if extra:
        return refused(400, f"parameter(s) provided are not required by pipeline: {', '.join(extra)}")
    return None
