"""The tasks of a pipeline with their values for given parameters, as far as the parameters determine them."""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any

from utils.ir.model import Component, Node, Outputs, Pipeline, RunIds, Source, TaskState
from utils.ir.placeholders import job_values
from utils.ir.sources import MISSING, NodeResult, Scope, find_parameter

_IDS = RunIds("run", "00000000-0000-0000-0000-000000000000")


@dataclass(frozen=True)
class PlacedTask:
    """A task of the DAG or of a nested one.

    Attributes:
        path: its key, after those of the tasks that hold it: "exit-handler-1/train".
        times: how often it runs; a loop over items that are not known before counts once.
        inputs: its parameters; those that only another task's output or a loop's item gives are missing.
    """

    path: str
    node: Node
    component: Component
    times: int
    inputs: Mapping[str, Any]
    scope: Scope
    ids: RunIds

    def find(self, source: Source) -> Any:
        """The value of a source in the task's DAG, or MISSING.

        Raises:
            ValueError: the path into the value leads nowhere.
        """
        return find_parameter(source, self.scope, job_values(self.ids, self.path, self.node.name), self.ids)


def placed_tasks(
    pipeline: Pipeline,
    arguments: Mapping[str, Any] | None = None,
    outputs: Mapping[str, Outputs] | None = None,
    ids: RunIds = _IDS,
) -> Iterator[PlacedTask]:
    """Every task, those of a nested DAG after the task that holds it.

    Args:
        pipeline: the pipeline.
        arguments: values of its parameters; the others have their defaults.
        outputs: outputs of tasks by path, if known.
        ids: values of the placeholders of the run.

    Raises:
        ValueError: a path into a value leads nowhere.
    """
    given = {**_defaults(pipeline.root), **(arguments or {})}
    yield from _of_dag(pipeline, pipeline.root, Scope("", given, {}), 1, outputs or {}, ids, frozenset())


def _defaults(component: Component) -> dict[str, Any]:
    return {name: one.default for name, one in component.inputs.parameters.items() if one.has_default}


def _of_dag(
    pipeline: Pipeline,
    dag: Component,
    scope: Scope,
    times: int,
    outputs: Mapping[str, Outputs],
    ids: RunIds,
    later: Set[str],
) -> Iterator[PlacedTask]:
    """The tasks of a DAG; `later` are its inputs that only the run gives: no default is used instead."""
    for node in dag.dag.nodes if dag.dag else ():
        path = f"{scope.path}{node.key}"
        component = pipeline.components.get(node.component, Component(node.component, unknown="no component"))
        runs = times * (len(node.loop.items) if node.loop and node.loop.items is not None else 1)
        task = PlacedTask(path, node, component, runs, {}, scope, ids)
        found = {name: task.find(source) for name, source in node.parameters.items()}
        unknown = {
            name
            for name, source in node.parameters.items()
            if found[name] is MISSING and (source.task or source.name.partition("-subvar-")[0] in later)
        }
        inputs = {name: value for name, value in _defaults(component).items() if name not in unknown}
        inputs |= {name: value for name, value in found.items() if value is not MISSING}
        yield PlacedTask(path, node, component, runs, inputs, scope, ids)
        if path in outputs:
            scope.results[node.key] = NodeResult(TaskState.SUCCEEDED, outputs[path])
        inner = Scope(f"{path}/", inputs, {}, {}, {}, {})
        items = {node.loop.item} if node.loop else set()
        yield from _of_dag(pipeline, component, inner, runs, outputs, ids, unknown | items)
