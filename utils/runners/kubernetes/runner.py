"""Tasks as Jobs on a cluster without Kubeflow Pipelines."""

import re
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from utils.cluster.cluster import Cluster
from utils.cluster.errors import ClusterError, ConflictError, ForbiddenError
from utils.cluster.kinds import JOB, VOLUME_CLAIM
from utils.cluster.objects import create_or_attach, delete, differences, get, list_objects, wait_gone
from utils.errors import PipelineError, TaskFailed, TaskRefused
from utils.ir.check import CREATE_CLAIM, DELETE_CLAIM
from utils.ir.claims import checked_name
from utils.ir.command import runs_executor
from utils.ir.model import STOPPED, Component, Event, Outputs, Pipeline, RunIds, Task
from utils.ir.runner import Runner
from utils.runners.kubernetes.follow import Following, Left, ResultLost, Stopped
from utils.runners.kubernetes.manifests import (
    ATTEMPT_LABEL,
    HASH_LABEL,
    RUN_LABEL,
    TASK_LABEL,
    PodSettings,
    claim_manifest,
    job_manifest,
    task_command,
    task_slug,
)
from utils.runners.kubernetes.observed import Observed, job_end
from utils.runners.kubernetes.refused import Refusals, is_for_good

_STOP_SECONDS = 60.0
_SLICE_SECONDS = 2.0


class KubernetesRunner(Runner):
    """Runs each task as a Job. A context manager: the cluster is watched while it lasts.

    Entering it raises a ClusterError when the cluster can't be watched.

    Args:
        cluster: where.
        settings: what all pods of the run have in common.
        ids: the run as placeholders name it.
        log: path of a task's log file.
        on_claims: told which claims a task mounts, before it starts.
        resume: a Job that failed before this runner existed is created again, once.
        exit_tasks: ids of tasks that run however the others end.
        check_held: raises an IlabError when Jobs may not be deleted: another process follows them now.
    """

    max_parallel = 16
    runs_containers = True

    def __init__(
        self,
        cluster: Cluster,
        settings: PodSettings,
        ids: RunIds,
        log: Callable[[str], Path],
        on_claims: Callable[[str, list[str]], None] = lambda task_id, claims: None,
        resume: bool = False,
        exit_tasks: Collection[str] = (),
        check_held: Callable[[], None] = lambda: None,
    ) -> None:
        self._cluster, self._settings, self._ids = cluster, settings, ids
        self._log, self._on_claims, self._resume = log, on_claims, resume
        self._observed = Observed(cluster, f"{RUN_LABEL}={settings.run_id}")
        self._lock = threading.Lock()
        self._executing: dict[str, threading.Event] = {}
        self._seen: set[str] = set()
        self._exit_tasks, self._check_held = exit_tasks, check_held
        self._failing = False
        self._refusals = Refusals()
        self._hurry, self._left = threading.Event(), threading.Event()

    def __enter__(self) -> Self:
        self._observed.__enter__()
        try:
            self._observed.check()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._observed.__exit__(kind, error, at)

    def check(self, pipeline: Pipeline) -> None:
        found = [
            f"component {component.key}: {problem}"
            for component in pipeline.components.values()
            for problem in file_outputs(component)
        ]
        if found:
            raise PipelineError(
                f"the pipeline {pipeline.name} hands over values in a way that a cluster without Kubeflow Pipelines "
                "can't read",
                "\n".join(found),
                "return the values from the function, or run on Kubeflow Pipelines: --on kfp",
            )

    def create_claim(self, name: str, size: str, access_modes: Sequence[str], storage_class: str) -> None:
        checked_name(name)
        with self._refusals_fail():
            self._create_claim(name, size, access_modes, storage_class)

    def _create_claim(self, name: str, size: str, access_modes: Sequence[str], storage_class: str) -> None:
        manifest = claim_manifest(name, size, list(access_modes), storage_class, self._settings)
        found = get(self._cluster, VOLUME_CLAIM, name)
        if found is None or "deletionTimestamp" in found["metadata"]:
            create_or_attach(self._cluster, manifest)
            return
        wanted = {key: value for key, value in manifest.items() if key != "metadata"}
        differing = differences({**wanted, "metadata": {"labels": manifest["metadata"]["labels"]}}, found)
        if differing:
            raise ConflictError(
                f"volume claim {name} already exists in {self._cluster.namespace} and is not the one this run needs",
                "\n".join(differing),
                f"kubectl -n {self._cluster.namespace} delete pvc {name}, or name another one",
                409,
            )

    def delete_claim(self, name: str) -> None:
        checked_name(name)
        with self._refusals_fail():
            delete(self._cluster, VOLUME_CLAIM, name)

    @contextmanager
    def _refusals_fail(self) -> Iterator[None]:
        """What the cluster refuses for good fails the task that needs it. No other trouble with the cluster does.

        A missing right may be granted again. It is for good only while nothing of the run runs that could be lost.
        """
        try:
            yield
        except ClusterError as error:
            if not is_for_good(error) and (not isinstance(error, ForbiddenError) or self._observed.any_runs()):
                raise
            raise TaskRefused(error.what, error.cause, error.remedy) from error

    def execute(self, task: Task, emit: Callable[[Event], None]) -> Outputs:
        _refuse_lost_artifacts(task)
        manifest = job_manifest(task, task_command(task, self._ids), self._settings)
        self._on_claims(task.id, [mount.name for mount in task.mounts if mount.kind == "claim"])
        with self._cancelable(task.id) as canceled:
            job = self._job(task, manifest)
            try:
                return self._follow(task, job, emit, canceled)
            except ResultLost:  # stages are idempotent: once more gives the result
                with self._refusals_fail():
                    self._delete(job["metadata"]["name"])
                return self._follow(task, self._job(task, manifest), emit, canceled)

    def leave(self) -> None:
        """Follow no Job any longer; none is deleted, and none is made."""
        self._left.set()
        self._observed.wake()

    def cancel(self) -> None:
        """Stop every task that executes now. Returns at once; the tasks' own threads delete their Jobs."""
        with self._lock:
            for canceled in self._executing.values():
                canceled.set()
        self._observed.wake()

    def stop_for_failure(self) -> None:
        """A task failed: stop all others, and start none but exit tasks. They hold GPUs for a run that is lost."""
        with self._lock:
            self._failing = True
            for task_id, canceled in self._executing.items():
                if not self._exits(task_id):
                    canceled.set()
        self._observed.wake()

    def _exits(self, task_id: str) -> bool:
        return any(task_id == one or task_id.startswith(f"{one}/") for one in self._exit_tasks)

    def kill(self) -> None:
        """Wait no longer for Jobs that are being deleted."""
        self._hurry.set()
        self.cancel()

    @contextmanager
    def _cancelable(self, task_id: str) -> Iterator[threading.Event]:
        canceled = threading.Event()
        with self._lock:
            if self._failing and not self._exits(task_id):
                raise Stopped(STOPPED)
            if self._left.is_set():
                raise Left(f"{task_id} is not started")
            self._executing[task_id] = canceled
        try:
            yield canceled
        finally:
            with self._lock:
                del self._executing[task_id]

    def _follow(
        self, task: Task, job: dict[str, Any], emit: Callable[[Event], None], canceled: threading.Event
    ) -> Outputs:
        following = Following(
            self._cluster,
            self._observed,
            task,
            job,
            self._settings.run_id,
            self._log(task.id),
            emit,
            canceled,
            self._left,
            self._settings.pending_seconds,
            self._settings.queue_seconds,
            self._refusals,
        )
        try:
            return following.to_end()
        except TaskFailed as failed:
            # A Job that ended stays until the run ends: a process that is started again finds its result.
            if not job_end(following.job)[0]:
                self._check_held()
                try:
                    self._delete(job["metadata"]["name"])
                except ForbiddenError as error:  # the task has failed, whatever becomes of its Job
                    raise TaskRefused(failed.what, f"{failed.cause}\n{error}".strip(), error.remedy) from failed
            raise

    def _job(self, task: Task, manifest: dict[str, Any]) -> dict[str, Any]:
        """The Job that runs this attempt: made now, or found from before this process was started.

        Raises:
            TaskRefused: the task's Job runs with another configuration, or the cluster refuses it.
        """
        labels = f"{RUN_LABEL}={self._settings.run_id},{TASK_LABEL}={task_slug(task.id)}"
        wanted = manifest["metadata"]["labels"][HASH_LABEL]
        first = task.id not in self._seen
        self._seen.add(task.id)
        for found in list_objects(self._cluster, JOB, labels):
            metadata, end = found["metadata"], job_end(found)[0]
            if metadata["labels"].get(HASH_LABEL) != wanted:
                if not end and "deletionTimestamp" not in metadata:
                    raise self._other(task, manifest, found)
                continue
            earlier = int(metadata["labels"].get(ATTEMPT_LABEL, "0")) < task.attempt
            if end == "Failed" and (earlier or (first and self._resume)):
                with self._refusals_fail():
                    self._delete(metadata["name"])
            elif metadata["name"] == manifest["metadata"]["name"] and "deletionTimestamp" not in metadata:
                return found
        with self._refusals_fail():
            return create_or_attach(self._cluster, manifest)[0]

    def _other(self, task: Task, manifest: dict[str, Any], found: dict[str, Any]) -> TaskRefused:
        name = found["metadata"]["name"]
        differing = differences({"spec": manifest["spec"]}, {"spec": found["spec"]})
        return TaskRefused(
            f"the Job {name} runs {task.id} already, and not as it is wanted now",
            "\n".join(differing) or "its hash label differs",
            f"start again as before, or: kubectl -n {self._cluster.namespace} delete job {name}",
        )

    def _delete(self, name: str) -> None:
        """Delete a Job, and wait until it and its pods are gone, a minute at most."""
        delete(self._cluster, JOB, name)
        until = time.monotonic() + _STOP_SECONDS
        while not self._hurry.is_set() and time.monotonic() < until:
            if wait_gone(self._cluster, JOB, name, _SLICE_SECONDS):
                return


def file_outputs(component: Component) -> Iterator[str]:
    """Output parameters that a container writes to files of its own, which no pod's status can hold."""
    container, names = component.container, list(component.outputs.parameters)
    if container is None or not container.image or container.image in (CREATE_CLAIM, DELETE_CLAIM):
        return
    text = "\n".join(str(part) for part in (*container.command, *container.args))
    if not runs_executor((*container.command, *container.args)):
        if len(names) > 1:
            yield f"its container writes {len(names)} output parameters, {', '.join(names)}; one is the most"
        return
    for name in names:
        if re.search(rf"\b{re.escape(name)}\s*:\s*[\w.]*OutputPath\(", text):
            yield f"its output parameter {name} is a file (OutputPath)"


def _refuse_lost_artifacts(task: Task) -> None:
    """Refuse a task whose input artifacts are not on a volume it mounts.

    Raises:
        TaskFailed: names them.
    """
    claims = [mount.path.rstrip("/") + "/" for mount in task.mounts if mount.kind == "claim"]
    for name, many in task.artifacts.items():
        for artifact in many:
            if artifact.uri.startswith("/") and not any(artifact.uri.startswith(path) for path in claims):
                raise TaskFailed(
                    f"the input artifact {name} of {task.id} is out of its reach",
                    f"it lies at {artifact.uri}, and the task mounts no volume claim there",
                    "mount one claim at the same path into the task that makes it and the one that takes it",
                )
