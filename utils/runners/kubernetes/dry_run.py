"""What a run would make in a cluster, without one: every manifest, in order, no value of a Secret among them."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from utils.errors import IlabError
from utils.ir.model import Component, Event, Outputs, Pipeline, RunIds, Task, TaskState
from utils.ir.runner import Runner
from utils.ir.walk import Walker
from utils.runners.kubernetes.manifests import Manifest, PodSettings, claim_manifest, job_manifest, task_command
from utils.runners.kubernetes.request import RunRequest
from utils.runners.kubernetes.run_object import run_manifest
from utils.runners.run_folder import check_run_id

_EMPTY = {"NUMBER_INTEGER": 0, "NUMBER_DOUBLE": 0.0, "BOOLEAN": False, "LIST": [], "STRUCT": {}}
_HIDDEN = "***"


@dataclass(frozen=True)
class Foreseen:
    """What a task that asks the cluster itself would make there, and those of its outputs that are known before."""

    manifests: tuple[Manifest, ...] = ()
    outputs: Mapping[str, Any] = field(default_factory=dict)


Foresee = Callable[[Task, PodSettings], Foreseen]


class Recorder(Runner):
    """Executes nothing and keeps the manifests of what it is given. Outputs are placeholders of the right type."""

    max_parallel = 1
    runs_containers = True

    def __init__(self, ids: RunIds, settings: PodSettings, foresee: Foresee) -> None:
        self.made: dict[str, list[Manifest]] = {}
        self._ids, self._settings, self._foresee = ids, settings, foresee

    def create_claim(self, name: str, size: str, access_modes: Any, storage_class: str) -> None:
        self.made[f"claim {name}"] = [claim_manifest(name, size, list(access_modes), storage_class, self._settings)]

    def delete_claim(self, name: str) -> None:
        """Deletes nothing: what a dry run prints is made, not deleted."""

    def execute(self, task: Task, emit: Callable[[Event], None]) -> Outputs:
        job = job_manifest(task, task_command(task, self._ids), self._settings)
        foreseen = self._foresee(task, self._settings)
        self.made[task.id] = [job, *foreseen.manifests]
        kinds = task.output_parameters.items()
        return Outputs({name: _EMPTY.get(kind, f"from-{task.name}") for name, kind in kinds} | dict(foreseen.outputs))

    def cancel(self) -> None:
        """Nothing executes."""


def planned_manifests(request: RunRequest, foresee: Foresee) -> list[Manifest]:
    """Manifests of all that the run would make, in order: its object, extra objects, volume, Jobs, what tasks make.

    No cluster is asked. Nothing has an owner: that is an object's uid, which only a cluster gives. Values that tasks
    make are placeholders, so the branch that a condition on such a value takes, and the number of a loop's items, may
    differ in a real run.

    Args:
        foresee: says what a task would make itself.

    Raises:
        PipelineError, UsageError: as the run itself would.
        IlabError: a task's Job can't be built.
    """
    check_run_id(request.run_id)
    record, namespace = request.record(), request.settings.namespace
    ids = RunIds(name=record.run_id, id=record.run_id, created=record.created)
    recorder = Recorder(ids, request.pod_settings(namespace, {}), foresee)
    skipped = {task_id: Outputs() for task_id in record.skip}
    result = Walker(request.pipeline, record.arguments, recorder, ids, finished=skipped).run()
    if result.state is not TaskState.SUCCEEDED:
        raise IlabError("not every task's Job could be built", result.error, "correct the parameters it names")
    tasks = sorted(recorder.made, key=lambda task_id: _position(request.pipeline, task_id))
    made = [one for task_id in tasks for one in recorder.made[task_id]]
    return [_without_secrets(one) for one in (run_manifest(record, namespace), *request.extras({}), *made)]


def _without_secrets(manifest: Manifest) -> Manifest:
    if manifest["kind"] != "Secret":
        return manifest
    keys = sorted({*manifest.get("data", {}), *manifest.get("stringData", {})})
    rest = {key: value for key, value in manifest.items() if key not in ("data", "stringData")}
    return {**rest, "stringData": dict.fromkeys(keys, _HIDDEN)}


def _position(pipeline: Pipeline, task_id: str) -> tuple[int, ...]:
    """Where a task stands in the pipeline; claims that the runner makes come before all tasks."""
    found: list[int] = []
    component: Component | None = pipeline.root
    for part in task_id.split("/"):
        if part.isdigit():
            found.append(int(part))
            continue
        nodes = component.dag.nodes if component and component.dag else ()
        index = next((n for n, node in enumerate(nodes) if node.key == part), -1)
        found.append(index)
        component = pipeline.components.get(nodes[index].component) if index >= 0 else None
    return tuple(found)


def as_yaml(manifests: list[Manifest]) -> str:
    """YAML documents for `kubectl apply -f -`. No anchors: equal parts are written out."""
    return yaml.safe_dump_all(json.loads(json.dumps(manifests)), sort_keys=False, explicit_start=True, width=1000)
