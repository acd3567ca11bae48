"""The size of the Argo Workflow of a finished run: above 1 MiB the server stops reporting the states of tasks.

Above 1 MiB Argo compresses `status.nodes`, and the Kubeflow Pipelines server does not decompress it when it reports: a
finished run shows RUNNING forever. The factors were measured on a run of twelve tasks (2.16.1): the container of a task
is in the spec, and about 4.7 times in the nodes, as the driver's input, in its output `pod-spec-patch`, and as inputs
of executor and pod. Everything else there is 0.2 MB. Checked on a run of our own file on 2.16.1 with the quick demo's
parameters: the Workflow had 833 kB where the estimate was 820.

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
OTHER_BYTES = 200_000
MAX_BYTES = 1 << 20
# The goal for our own file is 0.8 MiB, which it misses. Above this too little is left for parameters longer than the
# defaults: the estimate was 1.6 % low where it was checked.
WARN_BYTES = int(0.97 * MAX_BYTES)
# The driver gets the container as one argument of its process; Linux allows 128 KiB.
MAX_CONTAINER_BYTES = 100_000


@dataclass(frozen=True)
class Estimate:
    """Bytes of the Workflow of a finished run.

    Attributes:
        spec: the two documents.
        containers: the container of each component that runs one.
        runs: how many tasks run it.
        retried: how many of them are tried again when they fail.
    """

    spec: int
    containers: Mapping[str, int]
    runs: Mapping[str, int]
    retried: Mapping[str, int]

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
        return self.spec + round(COPIES_IN_NODES * self.tasks) + self.retries + OTHER_BYTES

    def as_record(self) -> dict[str, Any]:
        """The estimate as JSON for `--output json`."""
        parts = {"spec": self.spec, "containers_of_all_tasks": self.tasks, "copies_in_nodes": COPIES_IN_NODES}
        return {
            "bytes": self.total, **parts, "retries": self.retries, "other": OTHER_BYTES, "limit": MAX_BYTES,
            "components": {name: {"bytes": size, "tasks": self.runs[name]} for name, size in self.containers.items()},
        }  # fmt: skip

    def parts(self) -> str:
        """The containers by size, largest first, in kB."""
        sizes = sorted(self.containers.items(), key=lambda part: -part[1])
        return ", ".join(f"{name.removeprefix('comp-')} {size / 1000:.1f}" for name, size in sizes)

    def __str__(self) -> str:
        numbers = (self.total, self.spec, self.tasks, self.retries, OTHER_BYTES)
        total, spec, tasks, retries, other = (f"{number / 1000:.0f}" for number in numbers)
        again = f" + {retries} for retries" if self.retries else ""
        return (
            f"{total} kB = {spec} spec + {COPIES_IN_NODES} × {tasks} containers of {sum(self.runs.values())} tasks"
            f"{again} + {other}, of {MAX_BYTES / 1000:.0f}"
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
    containers = {key: _bytes(executors[pipeline.components[key].executor]["container"]) for key in runs}
    return Estimate(_bytes(spec) + _bytes(platform), containers, runs, retried)


def _bytes(value: Any) -> int:
    """Bytes of value as Go's JSON encoder writes it: <, > and & are six characters each."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return len(text.encode()) + 5 * sum(text.count(character) for character in "<>&")


def check_size(size: Estimate) -> Iterator[Finding]:
    """Findings about parts that are too large."""
    for name, bytes_ in size.containers.items():
        if bytes_ > MAX_CONTAINER_BYTES:
            yield Finding(
                Severity.ERROR,
                f"components.{name}",
                f"its container is {bytes_ / 1000:.0f} kB as JSON: the driver gets it as one argument, and Linux "
                "allows 128 KiB (argument list too long)",
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
