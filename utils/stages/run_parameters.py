"""The values of the pipeline's parameters in the run that a task belongs to."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.cluster.kinds import WORKFLOW
from utils.messages import failure
from utils.names import PARAMETERS
from utils.stages.cluster import stage_cluster
from utils.stages.marker import read_json, write_json

FILE = "parameters.json"
NOTED = ("eval_tasks", "mmlu_tasks", "eval_gpu_identifier")
"""Parameters that tasks read from the volume: an input of their own would cost more in the run's Workflow."""


def run_parameters() -> dict[str, Any]:
    """All of them by name, those that have their defaults too.

    A runner without Workflows gives them as ILAB_PARAMETERS. Kubeflow Pipelines has them in the run's Workflow, as the
    argument `runtime-config` of the root's driver, completed with the defaults (backend/src/v2/compiler/argocompiler,
    argo.go and dag.go; the same in 2.5.0, 2.14.3 and 2.16.1). The Workflow's name is Argo's id of the node without the
    number at its end (workflow_types.go, NodeID).

    Raises:
        SystemExit: the Workflow can't be read, or has none.
    """
    if text := os.environ.get(PARAMETERS):
        return dict(json.loads(text))
    name = os.environ.get("ARGO_NODE_ID", "").rpartition("-")[0]
    with stage_cluster() as cluster:
        workflow = cluster.request("get", WORKFLOW, name)
    tasks = [task for template in workflow["spec"]["templates"] for task in template.get("dag", {}).get("tasks", ())]
    given = [one for task in tasks for one in task.get("arguments", {}).get("parameters", ())]
    for one in given:
        if one["name"] == "runtime-config" and one.get("value"):
            return dict(json.loads(one["value"])["parameterValues"])
    raise failure(
        f"the parameters of this run can't be found in its Workflow {name}",
        "this version of Kubeflow Pipelines keeps them elsewhere",
        "`ilab-pipeline lint` names the versions on which the pipeline runs",
    )


def note_parameters(data_dir: str, parameters: Mapping[str, Any]) -> None:
    """Leave some parameters of the run on its volume."""
    noted = {name: parameters[name] for name in NOTED}
    if noted != noted_parameters(data_dir):
        write_json(Path(data_dir, FILE), noted)


def noted_parameters(data_dir: str) -> dict[str, Any]:
    """The parameters on a volume; {} on one whose prerequisites were of an earlier version."""
    return read_json(Path(data_dir, FILE))
