"""What a run would make in a cluster, without one: every manifest, in order, no value of a Secret among them."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from utils.errors import IlabError, UsageError
from utils.ir.model import Component, Event, Outputs, Pipeline, RunIds, Task, TaskState
from utils.ir.runner import Runner
from utils.ir.walk import Walker
from utils.names import claim_name
from utils.runners.kubernetes.manifests import PodSettings, claim_manifest, job_manifest, task_command
from utils.runners.kubernetes.run_object import RunRecord, run_manifest
from utils.stages.train.phase import describe_training, training_manifest

Manifest = dict[str, Any]
_EMPTY = {"NUMBER_INTEGER": 0, "NUMBER_DOUBLE": 0.0, "BOOLEAN": False, "LIST": [], "STRUCT": {}}
_HIDDEN = "***"


class Recorder(Runner):
    """Executes nothing and keeps the manifests of what it is given. Outputs are placeholders of the right type."""

    max_parallel = 1
    runs_containers = True

    def __init__(self, ids: RunIds, settings: PodSettings) -> None:
        self.made: dict[str, list[Manifest]] = {}
        self._ids, self._settings = ids, settings

    def create_claim(self, name: str, size: str, access_modes: Any, storage_class: str) -> None:
        self.made[f"claim {name}"] = [claim_manifest(name, size, list(access_modes), storage_class, self._settings)]

    def delete_claim(self, name: str) -> None:
        """Deletes nothing: what a dry run prints is made, not deleted."""

    def execute(self, task: Task, emit: Callable[[Event], None]) -> Outputs:
        manifests = [job_manifest(task, task_command(task, self._ids), self._settings)]
        if _makes_volume(task):
            given = task.inputs
            name = claim_name(given["run_id"])
            modes = [given["access_mode"]]
            manifests.append(claim_manifest(name, given["size"], modes, given["storage_class"], self._settings))
        if task.inputs.get("launcher") == "pytorchjob":
            manifests.append(_training_job(task, self._settings))
        self.made[task.id] = manifests
        return Outputs({name: self._placeholder(task, kind) for name, kind in task.output_parameters.items()})

    def _placeholder(self, task: Task, kind: str) -> Any:
        return _EMPTY.get(kind, claim_name(self._settings.run_id) if _makes_volume(task) else f"from-{task.name}")

    def cancel(self) -> None:
        """Nothing executes."""


def planned_manifests(
    pipeline: Pipeline,
    record: RunRecord,
    settings: PodSettings,
    make: Callable[[Mapping[str, Any]], list[Manifest]] | None = None,
) -> list[Manifest]:
    """Manifests of all that the run would make: its object, extra objects, volume, Jobs, PyTorchJobs.

    Nothing has an owner: that is an object's uid, which only a cluster gives. Values that tasks make are placeholders,
    so the branch that a condition on such a value takes, and the number of a loop's items, may differ in a real run.

    Raises:
        PipelineError, UsageError: as the run itself would.
        IlabError: a task's Job can't be built.
    """
    ids = RunIds(name=record.run_id, id=record.run_id, created=record.created)
    recorder = Recorder(ids, settings)
    skipped = {task_id: Outputs() for task_id in record.skip}
    result = Walker(pipeline, record.arguments, recorder, ids, finished=skipped).run()
    if result.state is not TaskState.SUCCEEDED:
        raise IlabError("not every task's Job could be built", result.error, "correct the parameters it names")
    extras = make({}) if make else []
    tasks = sorted(recorder.made, key=lambda task_id: _position(pipeline, task_id))
    manifests = [run_manifest(record, settings.namespace), *extras, *(one for id in tasks for one in recorder.made[id])]
    return [_without_secrets(one) for one in manifests]


def _makes_volume(task: Task) -> bool:
    return task.component.startswith("comp-create-volume")


def _training_job(task: Task, settings: PodSettings) -> Manifest:
    """The PyTorchJob of a training task. What only the volume tells (rows, the checkpoint) is assumed.

    Raises:
        UsageError: a time in its parameters is none.
    """
    options = dict(task.inputs)
    rows = max(options["effective_batch_size"], 1)
    base = {"checkpoint": "phase_1/hf_format/samples_N"} if options["phase"] == 2 else {}
    training = {**describe_training(options, {"rows": rows}, base, options["gpu_per_worker"]), "full_state": True}
    try:
        manifest: Manifest = training_manifest(training, options, dict(settings.overlay))
    except SystemExit as error:  # a stage's way to fail
        raise UsageError(str(error).removeprefix("error: ")) from None
    if settings.namespace:
        manifest["metadata"]["namespace"] = settings.namespace
    return manifest


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
    import yaml

    return yaml.safe_dump_all(json.loads(json.dumps(manifests)), sort_keys=False, explicit_start=True, width=1000)
