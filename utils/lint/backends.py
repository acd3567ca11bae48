"""The supported backends, and the messages with which each parses a pipeline, from the protos of its version.

`schemas/` holds the proto definitions of published packages as JSON; `python -m utils.lint.update` writes them.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    json_format,
    message_factory,
    struct_pb2,
    timestamp_pb2,
)
from google.rpc import status_pb2

SCHEMAS = Path(__file__).parent / "schemas"
# The version that `Backend.additions` are taken from.
_NEWEST = "2.16.1"
_NEVER_READ = frozenset({"enabledSharedMemory", "podAffinity"})


@dataclass(frozen=True)
class Backend:
    """A supported backend.

    Attributes:
        name: the product's version, as users know it.
        version: of the Kubeflow Pipelines backend in it.
        pipeline_spec: version of kfp-pipeline-spec with the backend's protos.
        kubernetes: version of kfp-kubernetes with the backend's protos.
        additions: fields and enum values that the product adds to these, each as "Message.field".
        unread_settings: fields of a task's Kubernetes settings that are in these protos, and that neither driver nor
            compiler reads (backend/src/v2).
        metadata_per_task: a task's labels and annotations apply to its own pods. 2.5.0 makes one pod template for all
            tasks without a retry policy, from the first that it compiles (argocompiler/container.go:
            addContainerExecutorTemplate).
        task_final_status: its compiler accepts a `PipelineTaskFinalStatus` (2.5.0: "task final status not supported
            yet", backend/src/v2/compiler/argocompiler/dag.go).
        hides_renamed_tasks: its dashboard looks for a task's execution by the display name, and the server names the
            execution by the task's key (since 2.14): where the two differ, logs, inputs and outputs are not found.
    """

    name: str
    version: str
    pipeline_spec: str
    kubernetes: str
    additions: tuple[str, ...] = ()
    unread_settings: frozenset[str] = _NEVER_READ
    metadata_per_task: bool = True
    task_final_status: bool = True
    hides_renamed_tasks: bool = False

    def message(self, name: str) -> Any:
        """The protobuf message class of a full name such as `ml_pipelines.PipelineSpec`."""
        pool = _pool(self)
        return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


# Newest first. OpenShift AI 3.0 to 3.3 took features of later releases into 2.14.3. The API packages had numbers of
# their own before 2.14: for backend 2.5.0 those current in April 2025 (kfp-pipeline-spec 0.7.0 of May has workspaces).
BACKENDS = (
    Backend("Kubeflow Pipelines 2.17", "2.17.0", "2.17.0", "2.17.0"),
    Backend("OpenShift AI 3.5", "2.16.1", "2.16.1", "2.16.1", hides_renamed_tasks=True),
    Backend("OpenShift AI 3.4", "2.16.0", "2.16.0", "2.16.0", hides_renamed_tasks=True),
    Backend(
        "OpenShift AI 3.0 to 3.3",
        "2.14.3",
        "2.14.3",
        "2.14.3",
        (
            "ComponentSpec.task_config_passthroughs",
            "TaskConfigPassthrough",
            "TaskConfigPassthroughType",
            "ParameterType.ParameterTypeEnum.TASK_CONFIG",
            "SecretAsEnv.optional",
        ),
        hides_renamed_tasks=True,
    ),
    Backend(
        "OpenShift AI 2.25",
        "2.5.0",
        "0.6.0",
        "1.5.0",
        unread_settings=_NEVER_READ | {"nodeAffinity"},
        metadata_per_task=False,
        task_final_status=False,
    ),
)


@cache
def _pool(backend: Backend) -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for module in (any_pb2, duration_pb2, struct_pb2, timestamp_pb2, status_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    for package, version in (("kfp-pipeline-spec", backend.pipeline_spec), ("kfp-kubernetes", backend.kubernetes)):
        file = _schema(package, version)
        if backend.additions:
            _add(file, _schema(package, _NEWEST), backend.additions)
        pool.AddSerializedFile(file.SerializeToString())
    return pool


def _schema(package: str, version: str) -> descriptor_pb2.FileDescriptorProto:
    data = json.loads((SCHEMAS / f"{package}-{version}.json").read_text())
    if "same_as" in data:
        return _schema(package, data["same_as"])
    return json_format.ParseDict(data, descriptor_pb2.FileDescriptorProto())


def _add(
    file: descriptor_pb2.FileDescriptorProto, newer: descriptor_pb2.FileDescriptorProto, names: tuple[str, ...]
) -> None:
    """Put the named messages, fields and enum values of `newer` into `file`."""
    have = {message.name: message for message in file.message_type}
    for message in newer.message_type:
        if message.name in names:
            file.message_type.append(message)
        elif message.name in have:
            ours = have[message.name]
            for field in (f for f in message.field if f"{message.name}.{f.name}" in names):
                added = ours.field.add()
                added.CopyFrom(field)
                if field.proto3_optional:
                    added.oneof_index = len(ours.oneof_decl)
                    ours.oneof_decl.add(name=f"_{field.name}")
            for enum, our_enum in zip(message.enum_type, ours.enum_type, strict=False):
                prefix = f"{message.name}.{enum.name}"
                our_enum.value.extend(v for v in enum.value if f"{prefix}.{v.name}" in names)
