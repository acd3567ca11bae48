"""What one backend's server or dashboard does not do with a file that its parser takes."""

from collections.abc import Iterator, Mapping
from typing import Any

from utils.lint.backends import Backend
from utils.lint.findings import Finding, Severity
from utils.lint.parse import executors
from utils.lint.rules import dags


def check(spec: Mapping[str, Any], platform: Mapping[str, Any], backend: Backend) -> Iterator[Finding]:
    """Findings on both documents that concern this backend."""
    for name, executor in executors(platform).items():
        for field in sorted(backend.unread_settings & set(executor if isinstance(executor, Mapping) else ())):
            yield Finding(
                Severity.WARNING,
                f"platform: platforms.kubernetes.deploymentSpec.executors.{name}.{field}",
                "this server takes it and does not read it: the task runs without it",
                "do without it",
                (backend.name,),
            )
    for path, component in dags(spec):
        for key, task in component["dag"].get("tasks", {}).items():
            here = f"{path}.dag.tasks.{key}"
            if not backend.task_final_status:
                yield from _final_status(here, task, backend)
            if backend.hides_renamed_tasks:
                yield from _display_name(here, key, task, backend)


def _final_status(path: str, task: Mapping[str, Any], backend: Backend) -> Iterator[Finding]:
    for name, source in task.get("inputs", {}).get("parameters", {}).items():
        if isinstance(source, Mapping) and "taskFinalStatus" in source:
            yield Finding(
                Severity.ERROR,
                f"{path}.inputs.parameters.{name}",
                "PipelineTaskFinalStatus is unknown to this server: it refuses to create a run (HTTP 500, task final "
                "status not supported yet)",
                "have the exit task find out by itself how the run went, without this input",
                (backend.name,),
            )


def _display_name(path: str, key: str, task: Mapping[str, Any], backend: Backend) -> Iterator[Finding]:
    name = task.get("taskInfo", {}).get("name", key)
    if name != key:
        yield Finding(
            Severity.WARNING,
            f"{path}.taskInfo.name",
            f"the display name {name!r} differs from the task's key {key!r}: the dashboard does not find the task's "
            "logs, inputs, outputs and artifacts",
            "leave the display name as it is, and name the component's function as the task shall be called",
            (backend.name,),
        )
