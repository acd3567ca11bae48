"""A run on a cluster as an object there: the ConfigMap `ilab-<run id>`, which owns all else and is the journal.

data:
    run.json              the run: arguments, state, error (no secrets: parameters hold names of Secrets alone)
    task.<slug>.json      a task: state, times, message, outputs
    holder.json           the process that works on the run: the last that was started
"""

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from utils.cluster.cluster import Cluster
from utils.cluster.errors import ClusterError, ConflictError
from utils.cluster.kinds import CONFIG_MAP
from utils.cluster.objects import create_once, get, patch
from utils.errors import IlabError, UsageError
from utils.ir.model import Event, Outputs, TaskState
from utils.ir.status import TaskStatus, after
from utils.names import OBJECT_LABEL, RUN_LABEL, run_object_name
from utils.runners.journal import outputs_from
from utils.runners.kubernetes.manifests import task_slug
from utils.runners.timestamps import seconds_since_epoch, timestamp

_LONGEST_MESSAGE = 2000
_HOLDER = "holder.json"


@dataclass(frozen=True)
class RunRecord:
    """A run as its object has it.

    `package` is the SHA-256 of the pipeline file, `skip` the ids of tasks that were left out, `extras` (kind, name)
    of objects made for the run before its first task. `state` is RUNNING from the start to the end, even when the
    process that walks was killed; then one of SUCCEEDED, FAILED, CANCELED.
    """

    run_id: str
    pipeline: str
    package: str
    arguments: Mapping[str, Any]
    created: str
    """UTC, RFC 3339."""
    skip: tuple[str, ...] = ()
    extras: tuple[tuple[str, str], ...] = ()
    state: TaskState = TaskState.RUNNING
    error: str = ""


class RunGone(IlabError):
    """Someone deleted the run's object, and with it all that it owns."""


class TakenOver(IlabError):
    """Another process works on the run now, and on all that this one would delete."""


@dataclass
class RunObject:
    """The object of one run, read at the start and written as the run goes. Safe to use from several threads."""

    cluster: Cluster
    uid: str
    record: RunRecord
    tasks: dict[str, TaskStatus] = field(default_factory=dict)
    _holder: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def name(self) -> str:
        return run_object_name(self.record.run_id)

    @property
    def owner(self) -> dict[str, Any]:
        """The ownerReference for what belongs to the run."""
        return {"apiVersion": "v1", "kind": "ConfigMap", "name": self.name, "uid": self.uid}

    @property
    def finished(self) -> dict[str, Outputs]:
        """Outputs of the tasks that are not repeated."""
        return {task.id: task.outputs for task in self.tasks.values() if task.outputs is not None}

    def claims(self) -> list[str]:
        """Claims that finished tasks mounted."""
        return sorted({name for task_id in self.finished for name in self.tasks[task_id].claims})

    def mounted_claims(self) -> list[str]:
        """Claims that any task of the run has mounted."""
        return sorted({name for one in self.tasks.values() for name in one.claims})

    def hold(self) -> None:
        """Take the run over from any other process: this one may replace a pod that is gone, and can't wait to see."""
        now = timestamp(time.time())
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": now, "id": secrets.token_hex(4)}
        self._write({_HOLDER: _dump(holder)})
        self._holder = _dump(holder)

    def check_held(self) -> None:
        """See that no other process has taken the run over.

        Raises:
            TakenOver: one has.
        """
        found = get(self.cluster, CONFIG_MAP, self.name) if self._holder else None
        there = (found.get("data") or {}).get(_HOLDER, self._holder) if found else self._holder
        if there != self._holder:
            other = json.loads(there)
            raise TakenOver(
                f"another process works on the run {self.record.run_id} now",
                f"process {other['pid']} on {other['host']} took it over at {other['since']}; this one deleted nothing",
                "watch it there; to continue here, start the run again: the process there then ends",
            )

    def update(self, **changes: Any) -> None:
        """Change the record, here and in the cluster."""
        self.record = replace(self.record, **changes)
        self.record = replace(self.record, error=self.record.error[:_LONGEST_MESSAGE])
        self._write({"run.json": _dump(asdict(self.record))})

    def mounted(self, task_id: str, claims: list[str]) -> None:
        """Note which claims a task mounts; written with its next change of state."""
        with self._lock:
            self.tasks[task_id] = replace(self._task(task_id), claims=tuple(claims))

    def on_event(self, event: Event) -> None:
        """Write a task's change of state; waits, and what happens within a state, are not worth a request."""
        if event.state is TaskState.PENDING:
            return
        with self._lock:
            before = self._task(event.task_id)
            self.tasks[event.task_id] = now = after(before, event)
        if now.state is not before.state:
            self._write({_key(now.id): _dump(_content(now))})

    def _task(self, task_id: str) -> TaskStatus:
        return self.tasks.get(task_id, TaskStatus(task_id))

    def forget(self, task_ids: list[str]) -> None:
        """Drop what is known of tasks that run again from the start."""
        for task_id in task_ids:
            self.tasks.pop(task_id, None)
        self._write({_key(task_id): None for task_id in task_ids})

    def _write(self, data: Mapping[str, str | None]) -> None:
        if not data:
            return
        self.check_held()
        try:
            patch(self.cluster, CONFIG_MAP, self.name, {"data": dict(data)})
        except ClusterError as error:
            if error.status != 404:
                raise
            raise RunGone(
                f"the run {self.record.run_id} is gone",
                f"someone deleted its ConfigMap {self.name} in {self.cluster.namespace}, and with it all it owns",
                "start it again; it then begins from scratch",
            ) from None


def run_manifest(record: RunRecord, namespace: str) -> dict[str, Any]:
    """The ConfigMap of a new run."""
    metadata: dict[str, Any] = {
        "name": run_object_name(record.run_id),
        "labels": {RUN_LABEL: record.run_id, OBJECT_LABEL: "run"},
    }
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"run.json": _dump(asdict(record))}}


def open_run(cluster: Cluster, record: RunRecord) -> tuple[RunObject, bool]:
    """Make the object of a run, or take the one that is there; whether it was made now.

    Raises:
        UsageError: a ConfigMap of this name exists that does not belong to a run.
    """
    found = get(cluster, CONFIG_MAP, run_object_name(record.run_id))
    if found is None:
        try:
            made = create_once(cluster, run_manifest(record, cluster.namespace))
            return RunObject(cluster, made["metadata"]["uid"], record), True
        except ConflictError:  # made by another process just now
            found = get(cluster, CONFIG_MAP, run_object_name(record.run_id))
    return _read(cluster, record.run_id, found or {}), False


def find_object(cluster: Cluster, run_id: str) -> RunObject | None:
    """The object of a run, None when there is none.

    Raises:
        UsageError: a ConfigMap of this name exists that does not belong to a run.
    """
    found = get(cluster, CONFIG_MAP, run_object_name(run_id))
    return _read(cluster, run_id, found) if found else None


def _read(cluster: Cluster, run_id: str, found: Mapping[str, Any]) -> RunObject:
    data = found.get("data") or {}
    if (found.get("metadata", {}).get("labels") or {}).get(RUN_LABEL) != run_id or "run.json" not in data:
        raise UsageError(
            f"the ConfigMap {run_object_name(run_id)} in {cluster.namespace} is not a run's",
            "it has another label than ours, or no run.json",
            "choose another --run-id",
        )
    values = json.loads(data["run.json"])
    values |= {"state": TaskState(values["state"]), "skip": tuple(values["skip"])}
    values["extras"] = tuple((kind, name) for kind, name in values["extras"])
    tasks = [_read_task(json.loads(text)) for key, text in data.items() if key.startswith("task.")]
    return RunObject(cluster, found["metadata"]["uid"], RunRecord(**values), {one.id: one for one in tasks})


def _key(task_id: str) -> str:
    return f"task.{task_slug(task_id)}.json"


def _content(task: TaskStatus) -> dict[str, Any]:
    """A task as the object holds it."""
    return {
        "id": task.id,
        "state": task.state,
        "started": timestamp(task.started),
        "ended": timestamp(task.ended),
        "message": task.message[:_LONGEST_MESSAGE],
        "claims": task.claims,
        "outputs": task.outputs and asdict(task.outputs),
    }


def _read_task(content: Mapping[str, Any]) -> TaskStatus:
    return TaskStatus(
        content["id"],
        TaskState(content["state"]),
        started=seconds_since_epoch(content["started"]),
        ended=seconds_since_epoch(content["ended"]),
        message=content["message"],
        claims=tuple(content["claims"]),
        outputs=outputs_from(content["outputs"]) if content["outputs"] else None,
    )


def _dump(values: Any) -> str:
    return json.dumps(values, indent=1, sort_keys=True)
