"""What one backend's server or dashboard does not support although its parser accepts it."""

from collections.abc import Iterator, Mapping
from typing import Any

from utils.lint.backends import Backend
from utils.lint.findings import Finding, Severity
from utils.lint.parse import executors
from utils.lint.rules import dags
from utils.names import LABEL_PREFIX


def check(spec: Mapping[str, Any], platform: Mapping[str, Any], backend: Backend) -> Iterator[Finding]:
    """Findings on both documents that concern this backend."""
    for name, executor in executors(platform).items():
        for field in sorted(backend.unread_settings & set(executor if isinstance(executor, Mapping) else ())):
            yield Finding(
                Severity.WARNING,
                f"platform: platforms.kubernetes.deploymentSpec.executors.{name}.{field}",
                "this server accepts it but ignores it: the task runs without it",
                "remove it",
                (backend.name,),
            )
    if not backend.metadata_per_task:
        yield from _shared_metadata(spec, platform, backend)
    for path, component in dags(spec):
        for key, task in component["dag"].get("tasks", {}).items():
            here = f"{path}.dag.tasks.{key}"
            if not backend.task_final_status:
                yield from _final_status(here, task, backend)
            if backend.hides_renamed_tasks:
                yield from _display_name(here, key, task, backend)


def _shared_metadata(spec: Mapping[str, Any], platform: Mapping[str, Any], backend: Backend) -> Iterator[Finding]:
    tasks = [task for _, component in dags(spec) for task in component["dag"].get("tasks", {}).values()]
    used = [task.get("componentRef", {}).get("name") for task in tasks if not task.get("retryPolicy")]
    labels = {spec.get("components", {}).get(name, {}).get("executorLabel") for name in used} - {None}
    settings = executors(platform)
    found = {name: _foreign_metadata(settings.get(name, {})) for name in sorted(labels)}
    if any(one != other for one in found.values() for other in found.values()):
        for name in (name for name, metadata in found.items() if metadata):
            yield Finding(
                Severity.WARNING,
                f"platform: platforms.kubernetes.deploymentSpec.executors.{name}.podMetadata",
                "this server gives the pods of all tasks the labels and annotations of the first task that it compiles",
                "give all tasks the same ones, or give this one a retry policy, so that it gets its own template",
                (backend.name,),
            )


def _foreign_metadata(executor: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Labels and annotations, sorted, without our own labels, which only our own runner reads."""
    given = executor.get("podMetadata", {})
    pairs = [(kind, *pair) for kind in ("labels", "annotations") for pair in given.get(kind, {}).items()]
    return sorted(pair for pair in pairs if not pair[1].startswith(LABEL_PREFIX))


def _final_status(path: str, task: Mapping[str, Any], backend: Backend) -> Iterator[Finding]:
    for name, source in task.get("inputs", {}).get("parameters", {}).items():
        if isinstance(source, Mapping) and "taskFinalStatus" in source:
            yield Finding(
                Severity.ERROR,
                f"{path}.inputs.parameters.{name}",
                "this server does not support PipelineTaskFinalStatus: it refuses to create a run (HTTP 500, task "
                "final status not supported yet)",
                "let the exit task determine the result of the run without this input",
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
            "do not set a display name; give the component's function the name that the task should have",
            (backend.name,),
        )
