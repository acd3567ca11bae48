"""One Job from its creation to its end: what it waits for, its log, its deadlines, its result.

Only what the cluster says of the Job or its pods fails the task. No deadline passes while the cluster is out of sight.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event as Flag
from typing import Any

from utils.cluster.cluster import Cluster
from utils.cluster.errors import ClusterError
from utils.cluster.kinds import JOB, POD, VOLUME_CLAIM, Kind
from utils.cluster.logs import tail_log
from utils.cluster.objects import events_of, get, list_objects
from utils.cluster.pods import PodState, job_pending_reason, pod_state, waits_in_queue
from utils.errors import IlabError, TaskFailed, TaskRefused
from utils.ir.command import runs_executor
from utils.ir.model import STOPPED, Event, Outputs, Progress, Task, TaskState
from utils.ir.outputs import message_outputs, value_outputs
from utils.names import RUN_LABEL, TASK_LABEL
from utils.runners.kubernetes.manifests import CONTAINER, task_root, task_slug
from utils.runners.kubernetes.observed import Observed, job_end, owned_by
from utils.runners.kubernetes.pod_log import PodLog
from utils.runners.kubernetes.refused import PodRefused, Refusals, remedy
from utils.runners.output import TAIL_LINES, task_failure

_LOOK_SECONDS = 1.0
_EVENTS_SECONDS = 5.0
_LOG_END_SECONDS = 30.0
# A Job replaces pods that the cluster takes away without end. Cheap nodes go now and then, and a long task loses a few
# pods; one that fills its node's disk or memory loses every pod, some minutes after its start.
MOST_PODS = 20
_LONGEST_OUTPUT = 4096


class ResultLost(TaskFailed):
    """The task succeeded, and the pod whose status had its outputs is gone."""


class Stopped(TaskRefused):
    """The task was stopped."""


class Left(IlabError):
    """The task is no longer followed; its Job was left alone."""


@dataclass
class Following:
    """A task's Job that is being followed.

    Args:
        job: as created, or as found.
        path: the task's log file.
        canceled: set to stop the task.
        left: set to leave it alone.
        pending_seconds: how long its pod may wait before it starts; again after each replacement.
        queue_seconds: how long a queue may hold it back before that.
        refusals: of the run's pods.
    """

    cluster: Cluster
    observed: Observed
    task: Task
    job: dict[str, Any]
    run_id: str
    path: Path
    emit: Callable[[Event], None]
    canceled: Flag
    left: Flag
    pending_seconds: float
    queue_seconds: float
    refusals: Refusals
    _log: PodLog | None = None
    _pod: str = ""
    _pods: set[str] = field(default_factory=set)
    _since: float = field(init=False)
    _running: bool = False
    _queued: bool = False
    _told: str = ""
    _looked: float = float("-inf")

    def __post_init__(self) -> None:
        self._since = self.cluster.clock()

    @property
    def uid(self) -> str:
        return str(self.job["metadata"]["uid"])

    @property
    def _name(self) -> str:
        """The task without the groups it is in, as people know it."""
        return self.task.id.rpartition("/")[2]

    def to_end(self) -> Outputs:
        """Follow the Job to its end.

        Raises:
            TaskFailed: it failed, ran out of time, or was deleted by someone.
            PodRefused: the cluster makes no pod for it.
            Stopped: it was stopped.
            Left: it is to be left alone.
            ClusterError: the cluster can no longer be watched.
        """
        try:
            while True:
                if self.left.is_set():
                    raise Left(f"{self._name} is no longer followed")
                if self.canceled.is_set():
                    raise Stopped(STOPPED)
                seen_until = self.observed.seen_until()
                self.job = self.observed.job(self.uid) or self.job
                end, why = job_end(self.job)
                if end:
                    return self._result(end, why)
                if self.observed.is_gone(self.uid) and not self._is_there():
                    raise TaskFailed(
                        f"the Job {self.job['metadata']['name']} is gone",
                        "someone else deleted it, or the run's ConfigMap, before it ended",
                    )
                self._look()
                self._keep_deadlines(seen_until)
                self.observed.wait(_LOOK_SECONDS)
        finally:
            if self._log:
                self._log.stop()

    def _is_there(self) -> bool:
        """A second look: a list may lack a Job that is there."""
        found = get(self.cluster, JOB, self.job["metadata"]["name"])
        return found is not None and found["metadata"]["uid"] == self.uid

    def _look(self) -> None:
        """See what the newest pod does."""
        pods = self.observed.pods(self.uid)
        pod = pods[-1] if pods else None
        self._pods |= {one["metadata"]["name"] for one in pods}
        if len(self._pods) > MOST_PODS:
            raise self._always_taken_away(pods)
        name = pod["metadata"]["name"] if pod else ""
        if name != self._pod:
            self._pod = name
            self._wait_again()
        state = pod_state(pod) if pod else PodState("Pending")
        if state.started:
            self._run(state)
        else:
            queued = waits_in_queue(self.job, pod)
            if queued != self._queued:
                self._queued, self._since, self._looked = queued, self.cluster.clock(), float("-inf")
            self._pend(pod)

    def _keep_deadlines(self, seen_until: float) -> None:
        """Each wait has its own: in a queue, for the pod to start, for it to end.

        Args:
            seen_until: up to when what Job and pod did was known before they were looked at: what they did while the
                cluster was out of sight is in time.
        """
        timeout, passed = self.task.timeout_seconds, seen_until - self._since
        told = self._told or "the cluster gives no reason"
        if self._running:
            if timeout and passed > timeout:
                raise TaskFailed(f"{self._name} ran longer than the {timeout:g} s it has")
        elif self._queued and passed > self.queue_seconds:
            what = f"{self._name} was not admitted by its queue in {self.queue_seconds:g} s"
            raise TaskFailed(what, told, "free quota, name another k8s_queue, or raise k8s_queue_timeout")
        elif not self._queued and passed > self.pending_seconds:
            what = f"{self._name} did not start in {self.pending_seconds:g} s"
            raise TaskFailed(what, told, "correct that, or raise --pending-timeout")

    def _always_taken_away(self, pods: list[dict[str, Any]]) -> TaskFailed:
        last = next((why for pod in reversed(pods) if (why := pod_state(pod).failure)), "")
        return TaskFailed(
            f"the cluster took {len(self._pods) - 1} pods of {self._name} away, one after the other",
            last or "they were evicted or preempted, or their nodes went",
            f"see why: kubectl -n {self.cluster.namespace} get events; then ask in the --pod-overlay for the memory "
            "and ephemeral-storage that it uses, for a priorityClassName, or for other nodes",
        )

    def _wait_again(self) -> None:
        """A new pod, the first or one in the place of a pod that the cluster took away; or none yet in that place."""
        if self._pod:
            self.refusals.over(self._told)
        if self._log:
            self._log.finish(_LOG_END_SECONDS)
            again = "the cluster took its pod away; it starts again in another"
            self._tell(TaskState.PENDING, again if self._pod else "its pod is gone; another one is waited for")
            self._told = ""
        self._log, self._running, self._since, self._looked = None, False, self.cluster.clock(), float("-inf")

    def _run(self, state: PodState) -> None:
        if not self._running:
            self._running, self._since = True, self.cluster.clock()
            self._told = ""
            self._tell(TaskState.RUNNING)
        if self._log is None:
            self._log = PodLog(self.cluster, self._pod, CONTAINER, self.path, self._report)

    def _pend(self, pod: dict[str, Any] | None) -> None:
        """Tell what a pod, or a Job without one, waits for; events are asked for now and then."""
        now = self.cluster.clock()
        if now - self._looked < _EVENTS_SECONDS:
            return
        self._looked = now
        if pod:
            reason = pod_state(pod, self._events(POD, pod["metadata"]["name"])).pending_reason
            if reason.startswith("volume:"):
                reason = "; ".join([reason, *self._claims_trouble()])
        else:
            reason = job_pending_reason(self.job, self._events(JOB, self.job["metadata"]["name"]))
        if reason and reason != self._told:
            self._told = reason
            self._tell(TaskState.PENDING, reason)
        if not pod and self.refusals.stands(reason, now):
            raise PodRefused(f"{self._name} gets no pod", reason, remedy(reason, self.cluster.namespace))

    def _claims_trouble(self) -> list[str]:
        """What the cluster last warned of about the claims that the task mounts: a class that is not there, a quota."""
        names = {mount.name for mount in self.task.mounts if mount.kind == "claim"}
        events = {name: self._events(VOLUME_CLAIM, name) for name in sorted(names)}
        warnings = {name: [one for one in found if one.get("type") == "Warning"] for name, found in events.items()}
        return [f"claim {name}: {found[-1].get('message')}" for name, found in warnings.items() if found]

    def _events(self, kind: Kind, name: str) -> list[dict[str, Any]]:
        """What is told of an object; nothing while events can't be read: they only explain."""
        try:
            return events_of(replace(self.cluster, patience=_EVENTS_SECONDS), kind, name)
        except ClusterError:
            return []

    def _tell(self, state: TaskState, message: str = "") -> None:
        self.emit(Event(time.time(), self.task.id, state, message))

    def _report(self, message: str, progress: Progress | None) -> None:
        self.emit(Event(time.time(), self.task.id, TaskState.RUNNING, message, progress))

    def _result(self, end: str, why: str) -> Outputs:
        """Outputs of the Job that ended.

        Raises:
            TaskFailed: it failed, or its outputs can't be read.
        """
        labels = f"{RUN_LABEL}={self.run_id},{TASK_LABEL}={task_slug(self.task.id)}"
        pods = [pod for pod in list_objects(self.cluster, POD, labels) if owned_by(pod, self.uid)]
        pods.sort(key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))
        states = [(pod, pod_state(pod)) for pod in pods]
        if end == "Complete":
            done = [(pod, state) for pod, state in states if state.phase == "Succeeded"]
            if not done:
                raise ResultLost(f"the pod of {self.task.id}, whose status had the outputs, is gone")
            self._finish_log(done[-1][0])
            return outputs_of(self.task, done[-1][1].message)
        if not states:
            raise TaskFailed(f"the Job {self.job['metadata']['name']} failed", why or "its pod is gone")
        pod, state = next(((p, s) for p, s in reversed(states) if s.phase == "Failed"), states[-1])
        raise task_failure(self._failure(pod, state, why))

    def _finish_log(self, pod: dict[str, Any]) -> PodLog:
        """Read the pod's log to its end; one that ended before it was seen is read now."""
        if self._log is None or self._pod != pod["metadata"]["name"]:
            self._pod = pod["metadata"]["name"]
            self._log = PodLog(self.cluster, self._pod, CONTAINER, self.path, self._report)
        self._log.finish(_LOG_END_SECONDS)
        return self._log

    def _failure(self, pod: dict[str, Any], state: PodState, why: str) -> str:
        """What failed, and the last lines of the container that did."""
        log = self._finish_log(pod)
        reason = state.failure or why or "the pod failed"
        if state.container and state.container != CONTAINER:
            lines = tail_log(self.cluster, pod["metadata"]["name"], state.container, TAIL_LINES)
            return "\n".join([reason, *(f"    {line}" for line in lines)])
        text = log.failure_text(reason, state.message)
        if state.reason in ("", "Error") or text.startswith(reason):
            return text
        # What the container said last need not be why it ended: memory, eviction.
        return "\n".join([reason, *(f"    {line}" for line in text.splitlines())])


def outputs_of(task: Task, message: str) -> Outputs:
    """A task's outputs from the termination message of its container.

    Raises:
        TaskFailed: the message is cut off, or holds something else.
    """
    if len(message.encode()) >= _LONGEST_OUTPUT:
        raise TaskFailed(
            f"the outputs of {task.id} are longer than the {_LONGEST_OUTPUT} bytes that a pod's status holds",
            "output parameters and artifact metadata travel there",
            "write what is long to a file on the run's volume",
        )
    if runs_executor(task.command) or not task.output_parameters:
        return message_outputs(task, task_root(task), message if runs_executor(task.command) else "")
    return value_outputs(task, task_root(task), message)
