"""Strict parsing with a backend's protos that names every rejected field, not only the first."""

from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from utils.lint.backends import Backend
from utils.lint.findings import Finding, Severity

# Values that mean the same as an absent field: ignoring such a field changes nothing.
_UNSET: tuple[Any, ...] = (None, False, 0, "", [], {})


def parse_spec(document: Mapping[str, Any], backend: Backend) -> Iterator[Finding]:
    """What the backend's API server and compiler reject in the first document, the pipeline spec."""

    def finding(path: str, problem: str) -> Finding:
        what = f"{problem}: the server rejects the pipeline"
        remedy = "compile without this feature, or run on a backend that has it"
        return Finding(Severity.ERROR, path, what, remedy, (backend.name,))

    whole = {key: value for key, value in document.items() if key != "deploymentSpec"}
    for path, problem, _ in _refused(whole, backend.message("ml_pipelines.PipelineSpec"), ""):
        yield finding(path, problem)
    # To the API server it is a Struct; the compiler then parses it strictly with a message of its own.
    deployment = backend.message("ml_pipelines.PipelineDeploymentConfig")
    for path, problem, _ in _refused(document.get("deploymentSpec", {}), deployment, "deploymentSpec"):
        yield finding(path, problem)


def parse_platform(document: Mapping[str, Any], backend: Backend) -> Iterator[Finding]:
    """What the backend drops, rejects or ignores in the second document, the Kubernetes platform."""
    dropped = "the server silently drops the whole platform document: no volume, no Secret, no toleration"
    for path, problem, _ in _refused(document, backend.message("ml_pipelines.PlatformSpec"), ""):
        remedy = "compile without this feature, or run on a backend that has it"
        yield Finding(Severity.ERROR, f"platform: {path}", f"{problem}: {dropped}", remedy, (backend.name,))
    config = backend.message("kfp_kubernetes.KubernetesExecutorConfig")
    for name, executor in executors(document).items():
        path = f"platforms.kubernetes.deploymentSpec.executors.{name}"
        for place, problem, value in _refused(executor, config, path):
            if problem != _UNKNOWN:
                yield Finding(
                    Severity.ERROR,
                    f"platform: {place}",
                    f"{problem}: the task's driver fails",
                    "correct the value",
                    (backend.name,),
                )
            elif value not in _UNSET:
                yield Finding(
                    Severity.WARNING,
                    f"platform: {place}",
                    f"{problem}: silently ignored, the task runs without it",
                    "remove it, or run on a backend that supports it",
                    (backend.name,),
                )


def executors(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The Kubernetes settings of each executor in the platform document."""
    node: Any = document
    for key in ("platforms", "kubernetes", "deploymentSpec", "executors"):
        node = node.get(key) if isinstance(node, Mapping) else None
    return node if isinstance(node, Mapping) else {}


_UNKNOWN = "unknown field"


def _refused(value: Any, message: Any, path: str) -> Iterator[tuple[str, str, Any]]:
    """Path, problem and value of everything in `value` that is not valid JSON of the message class."""
    descriptor: Descriptor = message.DESCRIPTOR
    if not isinstance(value, Mapping):
        yield path, f"expected a mapping, got {type(value).__name__}", value
        return
    taken: dict[str, str] = {}
    for key, item in value.items():
        here = f"{path}.{key}" if path else str(key)
        field = descriptor.fields_by_camelcase_name.get(key) or descriptor.fields_by_name.get(key)
        if field is None:
            yield here, _UNKNOWN, item
            continue
        if item is None:
            continue
        oneof = field.containing_oneof
        if oneof is not None and taken.setdefault(oneof.name, key) != key:
            yield here, f"excludes {taken[oneof.name]}, which is also set", item
        yield from _field_refused(item, field, message, here)


def _field_refused(item: Any, field: FieldDescriptor, message: Any, path: str) -> Iterator[tuple[str, str, Any]]:
    inner = field.message_type
    if inner is not None and inner.GetOptions().map_entry:
        values = inner.fields_by_name["value"]
        if values.message_type is not None and not _well_known(values.message_type) and isinstance(item, Mapping):
            for key, entry in item.items():
                yield from _refused(entry, message_factory.GetMessageClass(values.message_type), f"{path}.{key}")
            return
    elif inner is not None and not _well_known(inner):
        inner_message = message_factory.GetMessageClass(inner)
        if not field.is_repeated:
            yield from _refused(item, inner_message, path)
        elif isinstance(item, list):
            for index, entry in enumerate(item):
                yield from _refused(entry, inner_message, f"{path}[{index}]")
        else:
            yield path, f"expected a list, got {type(item).__name__}", item
        return
    try:
        json_format.ParseDict({field.json_name: item}, message())
    except json_format.ParseError as error:
        yield path, f"not a value of the type expected there ({_first_line(error)})", item


def _well_known(descriptor: Descriptor) -> bool:
    return descriptor.full_name.startswith("google.")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".")
