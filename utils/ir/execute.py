"""One execution: a container with its retries, an importer, or a claim that is created or deleted."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from utils.errors import TaskFailed, TaskRefused
from utils.foreign_text import SHAPE_ERRORS
from utils.ir.check import CREATE_CLAIM, DELETE_CLAIM
from utils.ir.model import Artifact, Component, Container, Importer, Node, Outputs, Task
from utils.ir.placeholders import resolve_inputs
from utils.ir.platform import Find, pod_settings
from utils.ir.sources import MISSING
from utils.ir.values import parameter_value, text


@dataclass(frozen=True)
class Prepared:
    """The inputs of one execution: typed parameters, and artifacts."""

    parameters: Mapping[str, Any]
    artifacts: Mapping[str, list[Artifact]]


def prepare(component: Component, parameters: Mapping[str, Any], artifacts: Mapping[str, list[Artifact]]) -> Prepared:
    """Check and type the inputs of an execution; missing inputs get their defaults.

    Raises:
        TaskFailed: inputs are missing or of the wrong type; names all of them.
    """
    values = dict(parameters)
    problems = []
    for name, parameter in component.inputs.parameters.items():
        value = values.pop(name, MISSING)
        if value is MISSING or value is None:
            if parameter.has_default:
                values[name] = parameter.default
            elif not parameter.optional:
                problems.append(f"its input {name} has no value: its source did not provide one")
            continue
        try:
            values[name] = parameter_value(value, parameter)
        except ValueError as error:
            problems.append(f"its input {name}: {error}")
    for name, artifact in component.inputs.artifacts.items():
        if not artifacts.get(name) and not artifact.optional and not artifact.is_list:
            problems.append(f"its input artifact {name} is missing: its source did not provide one")
    if problems:
        raise TaskFailed("the inputs are not valid", "; ".join(problems))
    declared = component.inputs.artifacts
    kept = {
        name: list(many) for name, many in artifacts.items() if name in declared and (many or declared[name].is_list)
    }
    return Prepared({name: value for name, value in values.items() if value is not MISSING}, kept)


def make_task(
    node: Node, component: Component, container: Container, given: Prepared, task_id: str, find: Find
) -> Task:
    """The task that a runner executes.

    Raises:
        TaskFailed: a Kubernetes setting or the image can't be resolved.
    """
    inputs = given.parameters
    try:
        pod = pod_settings(container, find, inputs)
        image = text(resolve_inputs(container.image, inputs))
    except ValueError as error:
        raise TaskFailed("a Kubernetes setting is not valid", str(error)) from error
    except KeyError as error:
        raise TaskFailed("image or resources refer to an input without value", str(error)) from error
    except SHAPE_ERRORS as error:
        raise TaskFailed("a Kubernetes setting is not as the KFP compiler writes it", str(error)) from error
    outputs = component.outputs
    return Task(
        id=task_id,
        name=node.name,
        component=component.key,
        image=image,
        command=container.command,
        args=container.args,
        env=container.env,
        inputs=inputs,
        input_types={name: one.type for name, one in component.inputs.parameters.items()},
        artifacts=given.artifacts,
        output_parameters={name: one.type for name, one in outputs.parameters.items()},
        output_artifacts={name: one.type for name, one in outputs.artifacts.items()},
        output_lists=frozenset(name for name, one in outputs.artifacts.items() if one.is_list),
        mounts=pod.mounts,
        env_from=pod.env_from,
        kubernetes=pod.kubernetes,
        packages=container.packages,
        preamble=container.preamble,
        timeout_seconds=pod.timeout_seconds,
    )


def with_retries(
    node: Node,
    task: Task,
    attempt: Callable[[Task], Outputs],
    pause: Callable[[float, str], bool],
    clock: Callable[[], float] = time.monotonic,
) -> Outputs:
    """Attempts at a task until one succeeds, the count is used up, or the time for retries is over.

    Args:
        node: whose `retry` says how often and how long.
        task: the task; each attempt gets it with its number, from 0.
        attempt: executes it.
        pause: waits for a number of seconds (the text says why); returns False if there must be no further attempt.
        clock: seconds.

    Raises:
        TaskFailed: the last attempt's failure.
    """
    started = clock()
    for number in range(node.retry.count + 1):
        try:
            return attempt(replace(task, attempt=number))
        except TaskRefused:
            raise
        except TaskFailed as error:
            wait = node.retry.seconds * node.retry.factor**number
            late = clock() + wait > started + node.retry.window
            left = node.retry.count - number
            if left and late:
                reason = f"not tried again: that would be later than {text(node.retry.window)} s after its first start"
                raise TaskFailed(error.what, "; ".join(filter(None, (error.cause, reason))), error.remedy) from error
            if not left or not pause(wait, f"attempt {number + 1} of {node.retry.count + 1} failed: {error}"):
                raise
    raise AssertionError("unreachable: the last attempt returns or raises")


def import_artifact(importer: Importer, given: Prepared, output: str) -> Outputs:
    """The artifact that an importer names.

    Raises:
        TaskFailed: its metadata refer to an input that has no value, or the URI is empty.
    """
    try:
        uri = text(given.parameters[importer.parameter]) if importer.parameter else importer.uri
        metadata = resolve_inputs(importer.metadata, given.parameters)
    except KeyError as error:
        raise TaskFailed("the importer refers to an input without value", str(error)) from error
    if not uri:
        raise TaskFailed("the importer's URI is empty")
    return Outputs(artifacts={output: [Artifact(output, importer.type, uri, metadata)]})


def is_claim_task(component: Component) -> bool:
    """Whether the component is a CreatePVC or DeletePVC."""
    return component.container is not None and component.container.image in (CREATE_CLAIM, DELETE_CLAIM)
