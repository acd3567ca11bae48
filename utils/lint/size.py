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
31,347, of clean-up 28,575; the formula is within 3 % of each. A run of a later file there (commit d68317c) had a spec
of 297,081 bytes, nodes of DAGs of 56,597, of tasks of 438,735 without train-knowledge, and metadata of 21,484: the
estimate of all is 2 % low. Further attempts at a task are not counted.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
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
METADATA = 22_000
"""Of the Workflow itself: 20,920 bytes of it are managedFields, which Argo counts, too (workflow/packer, getSize)."""
UNKNOWN_VALUE = "ilab-00000000-0000-0000-0000-000000000000"
"""In place of what only the run gives, such as the name of its volume claim."""
OUTPUT_FOLDER = "s3://bucket/pipelines/artifacts/" + "0" * 80
MAX_BYTES = 1 << 20
WARN_BYTES = int(0.82 * MAX_BYTES)
"""What is left is for longer parameters, each character of which a Workflow has about nine times, and for tasks that
are tried again."""
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


@dataclass(frozen=True)
class _Parts:
    """What a file has, by their keys; `tasks` are those of all DAGs with theirs, `values` the parameters' defaults."""

    components: Mapping[str, Any]
    containers: Mapping[str, Any]
    kubernetes: Mapping[str, Any]
    dags: Mapping[str, Any]
    tasks: Sequence[tuple[str, Mapping[str, Any]]]
    values: Mapping[str, Any]


def estimate(pipeline: Pipeline, spec: Mapping[str, Any], platform: Mapping[str, Any]) -> Estimate:
    """The size of the Workflow of a run of `pipeline`, with the defaults of its parameters.

    Args:
        spec: the pipeline's first document.
        platform: its second one; {} for none.
    """
    parts = _parts(spec, platform)
    values = _bytes(parts.values)
    driven = {key: _bytes(dag) for key, dag in parts.dags.items()}
    driven["root"] += values
    for _, task in parts.tasks:
        if task["componentRef"]["name"] in driven:
            driven[task["componentRef"]["name"]] += _bytes(task)
    nodes: dict[str, int] = {}
    for placed in placed_tasks(pipeline):
        if placed.component.container:
            key = placed.component.key
            given, rest = _nodes_of_task(placed, parts)
            nodes[key] = nodes.get(key, 0) + placed.times * (given + rest)
            driven[key] = max(driven.get(key, 0), given)
    of_dags = sum(size + NODE + DRIVER for key, size in driven.items() if key in parts.dags)
    return Estimate(_spec(parts), of_dags, nodes, {key: 2 * size + TEMPLATE_REST for key, size in driven.items()})


def _parts(spec: Mapping[str, Any], platform: Mapping[str, Any]) -> _Parts:
    executors = spec.get("deploymentSpec", {}).get("executors", {})
    components = {"root": spec["root"], **spec.get("components", {})}
    dags = {key: component for key, component in components.items() if "dag" in component}
    parameters = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    return _Parts(
        components,
        {label: executor.get("container", {}) for label, executor in executors.items()},
        platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {}),
        dags,
        [pair for dag in dags.values() for pair in dag["dag"].get("tasks", {}).items()],
        {name: one.get("defaultValue") for name, one in parameters.items()},
    )


def _spec(parts: _Parts) -> int:
    """Bytes of the spec: the arguments, and the templates with each task."""
    arguments = [*parts.components.values(), *parts.containers.values(), *parts.kubernetes.values()]
    retries = any("retryPolicy" in task for _, task in parts.tasks)
    templates = TEMPLATES + retries * RETRY_TEMPLATES + _bytes(parts.values)
    templates += sum(_bytes(task) + TASK_IN_TEMPLATE for _, task in parts.tasks)
    return sum(_bytes(one) + ARGUMENT for one in arguments) + templates


def _nodes_of_task(placed: PlacedTask, parts: _Parts) -> tuple[int, int]:
    """Bytes that a task's driver is given, and of the rest of the nodes of its driver, executor and pod."""
    component, container = parts.components[placed.component.key], parts.containers[placed.component.executor]
    same_name = [task for key, task in parts.tasks if key == placed.node.key]
    task = next(task for task in same_name if task["componentRef"]["name"] == placed.component.key)
    config = parts.kubernetes.get(placed.component.executor, {})
    patch = _bytes(_patch(placed, component, container)) + LAUNCHER
    copies = 3 if placed.node.retry.count else 2
    return sum(map(_bytes, (component, task, container, config))), patch + DRIVER + copies * (patch + NODE)


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
