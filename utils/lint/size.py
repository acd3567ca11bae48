"""The size of the Argo Workflow of a finished run: above 1 MiB the server stops reporting the states of tasks.

Above 1 MiB Argo compresses `status.nodes`, and the Kubeflow Pipelines server does not decompress it when it reports: a
finished run shows RUNNING forever. What a Workflow holds, and how often, is in the server's source (2.16.1,
backend/src/v2/compiler/argocompiler, driver/driver.go, launcher's arguments in driver/container.go):

- the spec: each component, container and Kubernetes config as an argument, once, and templates with each task;
- a node of each DAG's driver: the DAG and its task;
- of each other task a node of its driver: component, task, container, Kubernetes config, and the patch that it makes of
  them for the pod; the nodes of executor and pod, and one of type Retry if it may be tried again, with that patch each.

All of it is JSON as a string in JSON, and a patch has values and component as such strings again. The driver makes no
use of a container's `lifecycle`, which is not in the patch. The constants were fitted to a run of our own file on
2.16.1 with Argo 3.7.14: spec 239,765 bytes, nodes of create-volume 29,960, of prerequisites 64,641, of data import
31,347, of clean-up 28,575; the formula is within 3 % of each. Further attempts at a task are not counted.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from utils.ir.defaults import PlacedTask, placed_tasks
from utils.ir.model import Pipeline
from utils.ir.platform import volume_objects
from utils.ir.sources import MISSING
from utils.lint.findings import Finding, Severity

NODE = 560
"""Names, times and states of a node."""
DRIVER = 1_200
"""The same of a driver's node, which has more arguments."""
LAUNCHER = 500
"""What the launcher is given besides values and component: names, addresses, log options."""
ARGUMENT = 90
TEMPLATES, RETRY_TEMPLATES, TASK_IN_TEMPLATE = 16_000, 8_000, 1_000
METADATA = 4_200
"""Of the Workflow itself, and of the nodes that wait for the exit task."""
UNKNOWN_VALUE = "ilab-00000000-0000-0000-0000-000000000000"
"""In place of what only the run gives, such as the name of its volume claim."""
OUTPUT_FOLDER = "s3://bucket/pipelines/artifacts/" + "0" * 80
MAX_BYTES = 1 << 20
WARN_BYTES = int(0.85 * MAX_BYTES)
"""Our own file has less: what is left is for longer parameters, each character of which a Workflow has about nine
times, and for tasks that are tried again."""
MAX_TEMPLATE_BYTES = 128 << 10
"""Of the template of a pod, which Argo gives it in the variable ARGO_TEMPLATE; Linux allows a process no longer one.

Argo puts a longer template into a ConfigMap since 3.6 (workflow/controller/workflowpod.go). In 3.5, of OpenShift AI
2.25, the pod does not start, and on later releases the controller's Role has no right to create ConfigMaps
(data-science-pipelines-operator, config/internal/workflow-controller/role.yaml.tmpl). Argo 3.5 has a driver's inputs
twice in it, as inputs and as arguments; since 3.6 once.
"""
TEMPLATE_REST = 2_500
"""What a driver's template has besides its inputs: its other arguments, its image, the location of artifacts."""


@dataclass(frozen=True)
class Estimate:
    """Bytes of the Workflow of a finished run.

    Attributes:
        spec: its spec.
        dags: the nodes of its DAGs.
        tasks: the nodes of the tasks of each component that runs a container.
        templates: the longest template of a pod of each component, in Argo 3.5: that of its driver.
    """

    spec: int
    dags: int
    tasks: Mapping[str, int]
    templates: Mapping[str, int]

    @property
    def total(self) -> int:
        """Of the Workflow."""
        return self.spec + self.dags + sum(self.tasks.values()) + METADATA

    def as_record(self) -> dict[str, Any]:
        """The estimate as JSON for `--output json`."""
        parts = {"spec": self.spec, "dags": self.dags, "tasks": dict(self.tasks), "metadata": METADATA}
        return {"bytes": self.total, **parts, "limit": MAX_BYTES, "templates": dict(self.templates)}

    def parts(self) -> str:
        """The tasks' nodes by size, largest first, and the longest template, in kB."""
        sizes = sorted(self.tasks.items(), key=lambda part: -part[1])
        longest = max(self.templates.values(), default=0)
        return (
            ", ".join(f"{name.removeprefix('comp-')} {size / 1000:.1f}" for name, size in sizes)
            + f"; the longest template of a pod: {longest / 1000:.1f} of {MAX_TEMPLATE_BYTES / 1000:.1f}"
        )

    def __str__(self) -> str:
        numbers = (self.total, self.spec, self.dags, sum(self.tasks.values()), METADATA)
        total, spec, dags, tasks, rest = (f"{number / 1000:.0f}" for number in numbers)
        return (
            f"{total} kB = {spec} spec + {dags} nodes of DAGs + {tasks} nodes of tasks + {rest} rest, "
            f"of {MAX_BYTES / 1000:.0f}"
        )


def estimate(pipeline: Pipeline, spec: Mapping[str, Any], platform: Mapping[str, Any]) -> Estimate:
    """The size of the Workflow of a run of `pipeline`, with the defaults of its parameters.

    Args:
        spec: the pipeline's first document.
        platform: its second one; {} for none.
    """
    kubernetes = platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
    executors = spec.get("deploymentSpec", {}).get("executors", {})
    components = {"root": spec["root"], **spec.get("components", {})}
    dags = {key: component for key, component in components.items() if "dag" in component}
    tasks = [task for dag in dags.values() for task in dag["dag"].get("tasks", {}).values()]
    parameters = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    values = _bytes({name: one.get("defaultValue") for name, one in parameters.items()})

    given = [*components.values(), *(one.get("container", {}) for one in executors.values()), *kubernetes.values()]
    retries = any("retryPolicy" in task for task in tasks)
    templates = values + TEMPLATES + retries * RETRY_TEMPLATES + sum(_bytes(task) + TASK_IN_TEMPLATE for task in tasks)
    of_dags = values
    driven = {key: _bytes(dag) for key, dag in dags.items()}
    driven["root"] += values
    for task in tasks:
        key = task["componentRef"]["name"]
        if key in dags:
            driven[key] += _bytes(task)
            of_dags += _bytes(task)
    of_dags += sum(_bytes(dag) + NODE + DRIVER for dag in dags.values())

    nodes: dict[str, int] = {}
    for placed in placed_tasks(pipeline):
        if placed.component.container:
            label, key = placed.component.executor, placed.component.key
            (own,) = [task for task in tasks if task["taskInfo"]["name"] == placed.node.name][:1] or [{}]
            parts = (components[key], own, executors[label]["container"], kubernetes.get(label, {}))
            inputs = sum(map(_bytes, parts))
            patch = _bytes(_patch(placed, components[key], executors[label]["container"])) + LAUNCHER
            copies = 3 if placed.node.retry.count else 2
            size = inputs + patch + DRIVER + copies * (patch + NODE)
            nodes[key] = nodes.get(key, 0) + placed.times * size
            driven[key] = max(driven.get(key, 0), inputs)
    return Estimate(
        sum(_bytes(one) + ARGUMENT for one in given) + templates,
        of_dags,
        nodes,
        {key: 2 * size + TEMPLATE_REST for key, size in driven.items()},
    )


def _patch(task: PlacedTask, component: Mapping[str, Any], container: Mapping[str, Any]) -> dict[str, Any]:
    """What the driver adds to a pod of the task, as far as it counts: values and component are strings in it."""
    outputs = component.get("outputDefinitions", {})
    files = {name: {"outputFile": f"/tmp/kfp/outputs/{name}"} for name in outputs.get("parameters", {})}
    artifacts = {
        name: {"artifacts": [{"name": name, "type": {"schemaTitle": "system.Artifact"}, "uri": OUTPUT_FOLDER}]}
        for name in (*outputs.get("artifacts", {}), "executor-logs")
    }
    names = component.get("inputDefinitions", {}).get("parameters", {})
    values = {name: task.inputs.get(name, UNKNOWN_VALUE) for name in names}
    given = {
        "inputs": {"parameterValues": values},
        "outputs": {"artifacts": artifacts, "parameters": files, "outputFile": OUTPUT_FOLDER},
    }
    assert task.component.container
    volumes, mounts = [], []
    for volume in volume_objects(task.component.container.platform, task.find):
        name = UNKNOWN_VALUE if volume.name is MISSING else str(volume.name)
        volumes.append({"name": name, volume.kind: {"claimName": name, "optional": True}})
        mounts.append({"name": name, "mountPath": volume.spec["mountPath"]})
    main = {name: part for name, part in container.items() if name in ("image", "env", "resources")}
    command = [json.dumps(one, ensure_ascii=False, default=str) for one in (given, component)]  # with spaces
    arguments = [*container.get("command", ()), *container.get("args", ())]
    main |= {"name": "main", "command": command, "args": arguments, "volumeMounts": mounts}
    return {"volumes": volumes, "containers": [main]}


def _bytes(value: Any) -> int:
    """Bytes of value as JSON in a string of JSON, as Go's encoder writes it: <, > and & are six characters each."""
    text = _json(_json(value))
    return len(text.encode()) + 5 * sum(text.count(character) for character in "<>&")


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str)


def check_size(size: Estimate) -> Iterator[Finding]:
    """Findings about parts that are too large."""
    for name, bytes_ in size.templates.items():
        if bytes_ > MAX_TEMPLATE_BYTES:
            yield Finding(
                Severity.ERROR,
                f"components.{name}",
                f"the Argo template of its driver is about {bytes_ / 1000:.0f} kB, and a pod gets 131 at most: with a "
                "container this long the task does not start (argument list too long)",
                "carry less code in the component",
            )
    if size.total > WARN_BYTES:
        too_large = size.total > MAX_BYTES
        yield Finding(
            Severity.ERROR if too_large else Severity.WARNING,
            "the file",
            f"the Argo Workflow of a finished run is about {size}: above 1 MiB the server stops reporting the states "
            "of tasks, and a finished run shows RUNNING forever",
            "carry less code in the components, in fewer tasks, without the characters <>&, which Go's JSON lengthens",
        )
