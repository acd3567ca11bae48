"""The size of the Argo Workflow of a finished run: above 1 MiB the server stops reporting the states of tasks.

Above 1 MiB Argo compresses `status.nodes`, and the Kubeflow Pipelines server does not decompress it when it reports: a
finished run shows RUNNING forever. What a Workflow holds, and how often, is in the server's source (2.16.1,
backend/src/v2/compiler/argocompiler and driver/driver.go): the container of a task is in the spec, and in the nodes as
the driver's input, in its output `pod-spec-patch`, and as inputs of executor and pod. The driver makes no use of the
container's `lifecycle`, which has one copy in the nodes. The factor for containers was
measured on a run of twelve tasks. The rest makes up for the difference to 833 kB, the size of the Workflow of our own
file on 2.16.1 with the parameters of the quick demo.

A task with retries has one more node, of type Retry, with the same inputs (Argo 3.5 and 3.7, executeTemplate in
workflow/controller/operator.go), and each further attempt adds one for its pod, which is not counted here. KFP 2.5
gives each such task templates of its own, later servers have one pair for all (argocompiler/container.go; the sizes are
those of its test data).
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from utils.ir.defaults import placed_tasks
from utils.ir.model import Pipeline
from utils.lint.findings import Finding, Severity

COPIES_IN_NODES = 4.7
COPIES_FOR_RETRIES = 1
RETRY_TEMPLATES = 2_000
REST_BYTES = 62_000
"""Names, times and states of nodes, values of parameters, templates, the launcher's arguments."""
MAX_BYTES = 1 << 20
WARN_BYTES = int(0.8 * MAX_BYTES)
"""The goal for our own file: what is left is for longer parameters, each character of which a Workflow has about nine
times, and for tasks that are tried again."""
MAX_TEMPLATE_BYTES = 128 << 10
"""Of the template of a pod, which Argo gives it in the variable ARGO_TEMPLATE; Linux allows a process no longer one.

Argo puts a longer template into a ConfigMap since 3.6 (workflow/controller/workflowpod.go). In 3.5, of OpenShift AI
2.25, the pod does not start, and on later releases the controller's Role has no right to create ConfigMaps
(data-science-pipelines-operator, config/internal/workflow-controller/role.yaml.tmpl).
"""
TEMPLATE_REST = 2_500
"""What the driver's template has besides its inputs: its other arguments, its image, the location of artifacts."""


@dataclass(frozen=True)
class Estimate:
    """Bytes of the Workflow of a finished run.

    Attributes:
        spec: the two documents.
        containers: the container of each component that runs one, without its lifecycle.
        code: the lifecycles of the containers of all tasks, where the stages' code is.
        runs: how many tasks run it.
        retried: how many of them are tried again when they fail.
        templates: the driver's template of each component that runs one: twice what the driver is given, as inputs and
            as arguments. The template of the pod that it starts has about the same, as input and as patch.
        definitions: what nodes have of everything but containers: a DAG once, a task twice (as input of its driver, and
            in the template of its DAG), its component four times and its platform config twice.
    """

    spec: int
    containers: Mapping[str, int]
    code: int
    runs: Mapping[str, int]
    retried: Mapping[str, int]
    templates: Mapping[str, int]
    definitions: int

    @property
    def tasks(self) -> int:
        """The containers of all tasks."""
        return sum(size * self.runs.get(name, 0) for name, size in self.containers.items())

    @property
    def retries(self) -> int:
        """What it takes that tasks may be tried again."""
        each = {name: COPIES_FOR_RETRIES * self.containers[name] + RETRY_TEMPLATES for name in self.retried}
        return sum(times * each[name] for name, times in self.retried.items())

    @property
    def total(self) -> int:
        """Of the Workflow."""
        nodes = round(COPIES_IN_NODES * self.tasks) + self.code + self.retries + self.definitions
        return self.spec + nodes + REST_BYTES

    def as_record(self) -> dict[str, Any]:
        """The estimate as JSON for `--output json`."""
        return {
            "bytes": self.total,
            "spec": self.spec,
            "containers_of_all_tasks": self.tasks,
            "copies_in_nodes": COPIES_IN_NODES,
            "code": self.code,
            "retries": self.retries,
            "definitions": self.definitions,
            "rest": REST_BYTES,
            "limit": MAX_BYTES,
            "components": {name: {"bytes": size, "tasks": self.runs[name]} for name, size in self.containers.items()},
        }

    def parts(self) -> str:
        """The containers by size, largest first, and the longest template, in kB."""
        sizes = sorted(self.containers.items(), key=lambda part: -part[1])
        longest = max(self.templates.values(), default=0)
        return (
            ", ".join(f"{name.removeprefix('comp-')} {size / 1000:.1f}" for name, size in sizes)
            + f"; the longest template of a pod: {longest / 1000:.1f} of {MAX_TEMPLATE_BYTES / 1000:.1f}"
        )

    def __str__(self) -> str:
        numbers = (self.total, self.spec, self.tasks, self.code, self.retries, self.definitions, REST_BYTES)
        total, spec, tasks, code, retries, definitions, rest = (f"{number / 1000:.0f}" for number in numbers)
        carried = f" + {code} code" if self.code else ""
        again = f" + {retries} for retries" if self.retries else ""
        return (
            f"{total} kB = {spec} spec + {COPIES_IN_NODES} × {tasks} containers of {sum(self.runs.values())} tasks"
            f"{carried}{again} + {definitions} definitions + {rest} rest, of {MAX_BYTES / 1000:.0f}"
        )


def estimate(pipeline: Pipeline, spec: Mapping[str, Any], platform: Mapping[str, Any]) -> Estimate:
    """The size of the Workflow of a run of `pipeline`, whose documents are `spec` and `platform`."""
    runs: dict[str, int] = {}
    retried: dict[str, int] = {}
    for task in placed_tasks(pipeline):
        if task.component.container:
            runs[task.component.key] = runs.get(task.component.key, 0) + task.times
            if task.node.retry.count:
                retried[task.component.key] = retried.get(task.component.key, 0) + task.times
    executors = spec.get("deploymentSpec", {}).get("executors", {})
    full = {key: executors[pipeline.components[key].executor]["container"] for key in runs}
    containers = {
        key: _bytes({name: part for name, part in one.items() if name != "lifecycle"}) for key, one in full.items()
    }
    code = sum(runs[key] * _bytes(one["lifecycle"]) for key, one in full.items() if "lifecycle" in one)
    kubernetes = platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
    components = spec.get("components", {})
    dags = [spec["root"], *(one for one in components.values() if "dag" in one)]
    templates: dict[str, int] = {}
    definitions = sum(_bytes(_json(dag)) for dag in dags)
    for task in (task for dag in dags for task in dag.get("dag", {}).get("tasks", {}).values()):
        key = task["componentRef"]["name"]
        label = components[key].get("executorLabel", "")
        own, its, config = (_bytes(_json(one)) for one in (task, components[key], kubernetes.get(label, {})))
        definitions += 2 * own
        if key in containers:
            definitions += 4 * its + 2 * config
            given = own + its + config + _bytes(_json(executors[label]["container"]))
            templates[key] = max(2 * given + TEMPLATE_REST, templates.get(key, 0))
    return Estimate(_bytes(spec) + _bytes(platform), containers, code, runs, retried, templates, definitions)


def _bytes(value: Any) -> int:
    """Bytes of value as Go's JSON encoder writes it: <, > and & are six characters each."""
    text = _json(value)
    return len(text.encode()) + 5 * sum(text.count(character) for character in "<>&")


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


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
