"""What some tasks read from their run's Workflow: the stages' code, which has a part in the container of each executor
(components/compile.py), and the values of the pipeline's parameters. Runners without Workflows give it to them."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from utils.ir.model import Task
from utils.names import CODE, PARAMETERS


def carried_code(executors: Mapping[str, Any]) -> dict[str, str]:
    """Environment variables with the code's parts, in their order; {} if the pipeline carries none."""
    places = [
        executor.get("container", {}).get("lifecycle", {}).get("preCacheCheck", {}) for executor in executors.values()
    ]
    parts = sorted(place["args"] for place in places if len(place.get("args", ())) == 2)
    return {f"{CODE}_{index}": text for index, text in parts}


def with_code(executors: Mapping[str, Any]) -> dict[str, Any]:
    """The executors as a runner without Workflows needs them: those that read the code have it in their environment."""
    parts = [{"name": name, "value": value} for name, value in carried_code(executors).items()]
    return {
        label: {**executor, "container": {**executor["container"], "env": [*executor["container"]["env"], *parts]}}
        if any(one.get("name") == CODE for one in executor.get("container", {}).get("env", ()))
        else executor
        for label, executor in executors.items()
    }


def with_parameters(task: Task, parameters: Mapping[str, Any]) -> Task:
    """The task with the values of the pipeline's parameters in its environment, if it is one that reads the code."""
    if CODE not in task.env:
        return task
    return replace(task, env={**task.env, PARAMETERS: json.dumps(parameters)})
