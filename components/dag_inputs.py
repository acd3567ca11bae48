"""Short names for what a DAG within the pipeline is given: its inputs are the pipeline's parameters once more.

A run's Workflow has each of these names up to nine times. People see the names of the pipeline's parameters, and those
of the components' inputs; both stay.
"""

import itertools
import string
from collections.abc import Iterator, Mapping
from typing import Any

_REFERENCE = "componentInputParameter"


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
        given = components[key].get("inputDefinitions", {}).get("parameters", {})
        short = dict(zip(given, _names(), strict=False))
        if short:
            components[key]["inputDefinitions"]["parameters"] = {short[name]: one for name, one in given.items()}
        for task in dag["tasks"].values():
            label = components[task["componentRef"]["name"]].get("executorLabel", "")
            for reference in _references([task, executors.get(label, {})]):
                reference[_REFERENCE] = short[reference[_REFERENCE]]
        for around in [spec["root"]["dag"], *dags.values()]:
            for task in around["tasks"].values():
                if task["componentRef"]["name"] == key and short:
                    inputs = task["inputs"]["parameters"]
                    task["inputs"]["parameters"] = {short[name]: one for name, one in inputs.items()}


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
