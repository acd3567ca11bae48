"""What a DAG within the pipeline is given: complete, and with short names.

Its inputs are the pipeline's parameters once more. KFP forgets those that only a task's GPUs are set by.

A run's Workflow has each of these names up to nine times. People see the names of the pipeline's parameters, and those
of the components' inputs; both stay.
"""

import itertools
import string
from collections.abc import Iterator, Mapping
from typing import Any

_REFERENCE = "componentInputParameter"


def complete_dag_inputs(spec: dict[str, Any]) -> None:
    """Give each DAG of the pipeline those of its parameters that tasks in it refer to (in place)."""
    parameters = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    for task in spec["root"]["dag"]["tasks"].values():
        dag = spec["components"][task["componentRef"]["name"]]
        for reference in _references(
            [inner.get("inputs", {}) for inner in dag.get("dag", {}).get("tasks", {}).values()]
        ):
            name = reference[_REFERENCE]
            given = dag.setdefault("inputDefinitions", {}).setdefault("parameters", {})
            if name in parameters and name not in given:
                given[name] = {"parameterType": parameters[name]["parameterType"]}
                inputs = task.setdefault("inputs", {}).setdefault("parameters", {})
                inputs[name] = {_REFERENCE: name}


def shorten_dag_inputs(spec: dict[str, Any], platform: Mapping[str, Any]) -> None:
    """Rename the inputs of every DAG but the pipeline itself (in place).

    Args:
        spec: the pipeline's first document.
        platform: its second one; {} for none. It refers to inputs of the DAG that a task is in.
    """
    components = spec["components"]
    executors = platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
    dags = {key: component["dag"] for key, component in components.items() if "dag" in component}
    for key, dag in dags.items():
        around = [spec["root"]["dag"], *dags.values()]
        run = [task for one in around for task in one["tasks"].values() if task["componentRef"]["name"] == key]
        given = components[key].get("inputDefinitions", {}).get("parameters", {})
        if not given or not all(_is_plain(task, given) for task in run):
            continue
        short = dict(zip(given, _names(), strict=False))
        components[key]["inputDefinitions"]["parameters"] = {short[name]: one for name, one in given.items()}
        for task in run:
            inputs = task["inputs"]["parameters"]
            task["inputs"]["parameters"] = {short[name]: one for name, one in inputs.items()}
        for task in dag["tasks"].values():
            label = components[task["componentRef"]["name"]].get("executorLabel", "")
            for reference in _references([task, executors.get(label, {})]):
                reference[_REFERENCE] = short[reference[_REFERENCE]]


def _is_plain(task: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Whether a task that runs a DAG only hands values on: conditions, loops and texts name its inputs as well."""
    inputs = task.get("inputs", {}).get("parameters", {})
    named = {"triggerPolicy", "parameterIterator", "artifactIterator"} & {name for name in task if task[name]}
    return not named and inputs.keys() <= given.keys() and not any("runtimeValue" in one for one in inputs.values())


def _names() -> Iterator[str]:
    return map("".join, itertools.product(string.ascii_lowercase, repeat=2))


def _references(value: Any) -> Iterator[dict[str, str]]:
    """All mappings in a document that name an input of the DAG around."""
    if isinstance(value, dict):
        if _REFERENCE in value:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _references(one)
