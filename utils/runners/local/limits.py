"""What a pipeline asks for and one machine can't give: found, and named, before anything starts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from utils.ir.defaults import PlacedTask, placed_tasks
from utils.ir.execute import is_claim_task
from utils.ir.model import Pipeline
from utils.ir.platform import volume_objects
from utils.ir.sources import MISSING
from utils.runners.local.task_files import SHARED_MEMORY, hidden, names_path, unnamed


def refusals(
    pipeline: Pipeline, arguments: Mapping[str, Any], needed: Sequence[Path], namespace_problem: Callable[[], str]
) -> list[str]:
    """One line for everything that can't be run on this machine: `task a/b: what`.

    Args:
        arguments: values of the pipeline's parameters.
        needed: folders that a task needs wherever its volumes are mounted.
        namespace_problem: says why tasks can't have a mount namespace; asked only if one needs it.
    """
    found = []
    for task in placed_tasks(pipeline, arguments):
        if task.component.container and not is_claim_task(task.component):
            found += [f"task {task.path}: {problem}" for problem in _volumes(task, needed, namespace_problem)]
    return found


def not_mounted(paths: Sequence[str]) -> str:
    """What is wrong with a task whose volumes can't be mounted at these paths."""
    return (
        f"its code names the mount path {', '.join(paths)}, and it can't be mounted there for this user; "
        "pass the path as a parameter"
    )


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


_TEMPORARY = ("emptyDirMounts", "genericEphemeralVolume")


def _lasting(task: PlacedTask) -> Iterator[str]:
    """Mount paths of claims, Secrets and ConfigMaps; not of one that an optional parameter leaves out."""
    container = task.component.container
    for volume in volume_objects(container.platform if container else {}, task.find):
        if volume.name is not MISSING or (volume.source and volume.source.task):
            yield volume.spec["mountPath"]
