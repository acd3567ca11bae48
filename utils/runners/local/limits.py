"""What a pipeline asks for and one machine can't give: found, and named, before anything starts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from utils.ir.defaults import PlacedTask, placed_tasks
from utils.ir.execute import is_claim_task
from utils.ir.model import Container, Pipeline
from utils.ir.platform import pod_settings, volume_objects
from utils.ir.sources import MISSING
from utils.names import LABEL_PREFIX
from utils.runners.local.pod_fields import is_known
from utils.runners.local.task_files import SHARED_MEMORY, hidden, names_path, unnamed

_TEMPORARY = ("emptyDirMounts", "genericEphemeralVolume")
# Settings of a pod, as `Task.kubernetes` and as the platform document name them, in words.
_WORDS = {
    "resources": "CPU, memory and accelerators",
    "node_selector": "node selector",
    "nodeSelector": "node selector",
    "tolerations": "tolerations",
    "node_affinity": "affinity",
    "nodeAffinity": "affinity",
    "pod_affinity": "affinity",
    "podAffinity": "affinity",
    "image_pull_secrets": "image pulls",
    "imagePullSecret": "image pulls",
    "image_pull_policy": "image pulls",
    "imagePullPolicy": "image pulls",
    "security_context": "security context",
    "securityContext": "security context",
    "labels": "labels and annotations",
    "annotations": "labels and annotations",
}
_MOST_NAMES = 3


def refusals(
    pipeline: Pipeline, arguments: Mapping[str, Any], needed: Sequence[Path], namespace_problem: Callable[[], str]
) -> list[str]:
    """One line for everything that can't be run on this machine: `task a/b: what`.

    Args:
        arguments: values of the pipeline's parameters.
        needed: folders that a task needs wherever its volumes are mounted.
        namespace_problem: says why tasks can't have a mount namespace; asked only if one needs it.
    """
    found: list[str] = []
    for task in _tasks(pipeline, arguments):
        if is_claim_task(task.component):
            problems = list(_claim(task))
        elif task.component.container:
            problems = [*_volumes(task, needed, namespace_problem), *_fields(task.component.container)]
        else:
            problems = []
        found += [f"task {task.path}: {problem}" for problem in problems]
    return found


def _tasks(pipeline: Pipeline, arguments: Mapping[str, Any]) -> Iterator[PlacedTask]:
    """The tasks, up to one that takes a part which a parameter does not have: if it runs, it says so itself."""
    with suppress(ValueError):
        yield from placed_tasks(pipeline, arguments)


def without_effect(pipeline: Pipeline, arguments: Mapping[str, Any]) -> str:
    """The settings that a pipeline has and that mean nothing on one machine, with their tasks; "" if there are none."""
    found: dict[str, list[str]] = {}
    for task in _tasks(pipeline, arguments):
        for word in dict.fromkeys(_unused(task)):
            found.setdefault(word, []).append(task.path.rpartition("/")[2])
    ttl = sorted(name for name in pipeline.settings if name.startswith("resourceTtl"))
    parts = [*(f"{word} ({_named(tasks)})" for word, tasks in found.items()), *ttl]
    return f"without effect on one machine: {', '.join(parts)}" if parts else ""


def _named(tasks: Sequence[str]) -> str:
    names = list(dict.fromkeys(tasks))
    more = len(names) - _MOST_NAMES
    return ", ".join(names) if more <= 0 else f"{', '.join(names[:_MOST_NAMES])} and {more} more"


def _unused(task: PlacedTask) -> Iterator[str]:
    container = task.component.container
    if container is None:
        return
    if is_claim_task(task.component):
        if any(task.inputs.get(name) for name in ("storage_class_name", "annotations")):
            yield "storage class and annotations of volume claims"
        if task.inputs.get("size"):
            yield "size and access modes of volumes"
        return
    try:
        settings = pod_settings(container, task.find, task.inputs)
    except (ValueError, KeyError):  # a name or a quantity that only an earlier task gives
        yield from (_WORDS[key] for key in container.platform if key in _WORDS)
        return
    ours = {"labels", "annotations"}
    for key, value in settings.kubernetes.items():
        if key in _WORDS and (key not in ours or any(not name.startswith(LABEL_PREFIX) for name in value)):
            yield _WORDS[key]
    if any(any(mount.options.get(name) for name in ("size", "size_limit", "medium")) for mount in settings.mounts):
        yield "size and access modes of volumes"


def not_mounted(paths: Sequence[str]) -> str:
    """What is wrong with a task whose volumes can't be mounted at these paths."""
    return (
        f"its code names the mount path {', '.join(paths)}, and it can't be mounted there for this user; "
        "pass the path as a parameter"
    )


def _claim(task: PlacedTask) -> Iterator[str]:
    for name, what in (("data_source", "a copy of another volume"), ("volume_name", "an existing volume")):
        if task.inputs.get(name) or (name in task.node.parameters and name not in task.inputs):
            yield f"it creates a volume claim on {what} ({name}), and on one machine a claim is a new folder"


def _fields(container: Container) -> Iterator[str]:
    for one in container.platform.get("fieldPathAsEnv", ()):
        if not is_known(one.get("fieldPath", "")):
            yield f"its variable {one.get('name')} is the pod's {one.get('fieldPath')}, which a process does not have"


def _volumes(task: PlacedTask, needed: Sequence[Path], namespace_problem: Callable[[], str]) -> Iterator[str]:
    container = task.component.container
    assert container is not None
    lasting = list(dict.fromkeys(_lasting(task)))
    temporary = [one["mountPath"] for key in _TEMPORARY for one in container.platform.get(key, ())]
    paths = [path for path in (*lasting, *temporary) if path.rstrip("/") != SHARED_MEMORY]
    code = [*map(str, container.command), *map(str, container.args)]
    values = [*task.inputs.values(), *container.env.values()]
    literal = unnamed(paths, code, values)
    if set(task.node.parameters) - set(task.inputs):  # a value that is not known yet may name the path
        literal = [path for path in literal if any(names_path(path.rstrip("/"), one) for one in (*code, *values))]
    problem = namespace_problem() if literal else ""
    if problem:
        yield f"{not_mounted(literal)} ({problem})"
    elif literal:
        for path in lasting:
            if folders := hidden(path, needed):
                yield f"it mounts a volume at {path}, which would hide {folders[0]}"


def _lasting(task: PlacedTask) -> Iterator[str]:
    """Mount paths of claims, Secrets and ConfigMaps; not of one that an optional parameter leaves out."""
    container = task.component.container
    for volume in volume_objects(container.platform if container else {}, task.find):
        if volume.name is not MISSING or (volume.source and volume.source.task):
            yield volume.spec["mountPath"]
