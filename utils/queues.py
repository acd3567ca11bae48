"""Queues for GPUs (Kueue): the label that puts a task's pod into one, written into the compiled pipeline.

Kubeflow Pipelines takes a pod's labels literally from the file: in no version can a parameter fill them in (the pod
metadata of its Kubernetes platform spec is a map of texts). So the queue is written into the file when it is compiled
or before it is submitted. Training pods get it as a parameter, since our launcher creates them.
"""

import json
from collections.abc import Mapping
from typing import Any

import yaml

from utils.durations import parse_duration
from utils.errors import UsageError
from utils.ir.load import parse
from utils.ir.model import Pipeline
from utils.ir.package import read_documents
from utils.names import QUEUE_LABEL

QUEUE, QUEUE_TIMEOUT = "k8s_queue", "k8s_queue_timeout"
"""Parameters of a pipeline whose tasks may wait in a queue."""
LABELLED = "labelled_queue"
"""Input of a task that receives the queue in the file's labels."""
LONGEST_WAIT = 24 * 3600.0


def label_tasks(spec: dict[str, Any], platform: dict[str, Any], queue: str) -> None:
    """Put every task that requests an accelerator into a queue, and make it the parameter's default (in place).

    Args:
        queue: "" removes them from their queue.
    """
    parameter = spec["root"].get("inputDefinitions", {}).get("parameters", {}).get(QUEUE)
    if parameter is not None:
        parameter["defaultValue"] = queue
    for dag in [spec["root"], *spec["components"].values()]:
        for task in dag.get("dag", {}).get("tasks", {}).values():
            told = task.get("inputs", {}).get("parameters", {}).get(LABELLED)
            if told:
                told["runtimeValue"] = {"constant": queue}
    settings = platform.setdefault("platforms", {}).setdefault("kubernetes", {}).setdefault("deploymentSpec", {})
    for name, executor in spec["deploymentSpec"]["executors"].items():
        if executor.get("container", {}).get("resources", {}).get("accelerator"):
            own = settings.setdefault("executors", {}).setdefault(name, {})
            labels = own.setdefault("podMetadata", {}).setdefault("labels", {})
            labels.pop(QUEUE_LABEL, None)
            if queue:
                labels[QUEUE_LABEL] = queue


def in_queue(pipeline: Pipeline, arguments: Mapping[str, Any]) -> Pipeline:
    """The pipeline with the label of the queue that the arguments name; unchanged if they name none.

    Raises:
        PipelineError: its text is not a compiled pipeline.
    """
    known = pipeline.parameters.get(QUEUE)
    if known is None or arguments.get(QUEUE, known.default) == known.default:
        return pipeline
    # Via JSON: parts of the file that share one object by a YAML alias become separate.
    spec, platform = json.loads(json.dumps(read_documents(pipeline.text, pipeline.name)))
    label_tasks(spec, platform, str(arguments[QUEUE]))
    return parse(yaml.safe_dump_all([spec, platform], sort_keys=False), pipeline.name)


def longest_wait(pipeline: Pipeline, arguments: Mapping[str, Any]) -> float:
    """Seconds that a task may wait in its queue.

    Raises:
        UsageError: the parameter is not a duration.
    """
    given = arguments.get(QUEUE_TIMEOUT)
    if given is None and QUEUE_TIMEOUT in pipeline.parameters:
        given = pipeline.parameters[QUEUE_TIMEOUT].default
    try:
        return float(parse_duration(str(given))) if given else LONGEST_WAIT
    except ValueError as error:
        raise UsageError(f"{QUEUE_TIMEOUT}: {error}", "", f"correct it: -p {QUEUE_TIMEOUT}=24h") from None
