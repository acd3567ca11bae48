"""What a training job in the cluster, its pods and its queue say: where it is, what it waits for, and why it failed."""

import re
from dataclasses import dataclass

from utils.cluster.client import Client
from utils.cluster.errors import ClusterError
from utils.cluster.kinds import EVENT, POD, PYTORCH_JOB, TRAIN_JOB, Kind
from utils.cluster.logs import tail_log
from utils.cluster.objects import Object, event_time, list_objects
from utils.messages import failure
from utils.names import QUEUE_LABEL
from utils.stages.disk import FULL, MAKE_ROOM
from utils.stages.train.late import TooLate

POD_LABELS = {PYTORCH_JOB: "training.kubeflow.org/job-name", TRAIN_JOB: "jobset.sigs.k8s.io/jobset-name"}
"""The label of a job's pods that holds its name."""


@dataclass(frozen=True)
class TrainingJob:
    """A job by its name. As text: its kind and name."""

    cluster: Client
    kind: Kind
    name: str
    grace: float = 0

    def __str__(self) -> str:
        return f"{self.kind.name} {self.name}"

    @property
    def pods(self) -> str:
        """The label selector of its pods."""
        return f"{POD_LABELS[self.kind]}={self.name}"

    @property
    def kubectl(self) -> str:
        """How a command about it begins."""
        return f"kubectl -n {self.cluster.namespace}"


def job_state(found: Object) -> str:
    """Succeeded, Failed, Running or "" (not started) from a job's status; a TrainJob has no condition Running."""
    status = found.get("status", {})
    true = {c["type"] for c in status.get("conditions") or [] if c["status"] == "True"}
    true |= {"Running" for part in status.get("jobsStatus") or [] if part.get("ready")}
    true |= {"Succeeded"} if "Complete" in true else set()
    return next((state for state in ("Succeeded", "Failed", "Running") if state in true), "")


def nodes_of(found: Object) -> int:
    """How many pods a job has when all are there."""
    spec = found["spec"]
    if "trainer" in spec:
        return int(spec["trainer"]["numNodes"])
    return sum(part["replicas"] for part in spec["pytorchReplicaSpecs"].values())


def pod_news(job: TrainingJob, nodes: int) -> tuple[bool | None, str]:
    """What is known of a job's pods: whether all have started (None: pods can't be read), and what is wrong with them.

    The second is text: the scheduler's and the containers' messages, and the warnings among the events. Pods that are
    ending do not count: a job that is admitted again has others.

    Args:
        nodes: how many there must be; a quota may forbid one.
    """
    try:
        listed = list_objects(job.cluster, POD, job.pods)
        pods = [pod for pod in listed if "deletionTimestamp" not in pod["metadata"]]
    except ClusterError as error:
        return None, error.what
    news = []
    for pod in pods:
        status = pod["status"]
        news += [c["message"] for c in status.get("conditions", []) if c.get("reason") == "Unschedulable"]
        for container in status.get("containerStatuses", []):
            waiting = container["state"].get("waiting", {})
            if waiting.get("message"):
                news.append(f"{pod['metadata']['name']}: {waiting['reason']}: {waiting['message']}")
    try:
        for event in list_objects(job.cluster, EVENT, fields="type=Warning"):
            if f"{event['involvedObject'].get('name')}-".startswith(f"{job.name}-"):
                # Warnings stay for an hour: one of a second that has passed must not read like one of now.
                seen = event_time(event)[11:19]
                news.append(f"{seen} UTC {event['message']}" if seen else event["message"])
    except ClusterError as error:
        news.append(error.what)
    started = len(pods) >= nodes and all(pod["status"]["phase"] != "Pending" for pod in pods)
    return started, "\n".join(dict.fromkeys(filter(None, news)))


def pods_left(job: TrainingJob) -> bool:
    """Whether a job that is gone has pods that have not ended; where they may not be read, there are none."""
    try:
        pods = list_objects(job.cluster, POD, job.pods)
    except ClusterError as error:
        if error.status not in (403, 404):
            raise
        return False
    return any(pod["status"]["phase"] not in ("Succeeded", "Failed") for pod in pods)


def trainer_lines(lines: list[str]) -> str:
    """The last lines of a pod's log up to where torchrun tells, at length, how a trainer has ended."""
    ends = [n for n, line in enumerate(lines) if "torch/distributed/elastic" in line and "failed" in line]
    return "\n".join(lines[: ends[0] + 1 if ends else None][-25:])


def last_pod_lines(job: TrainingJob) -> str:
    """The end of the logs of a job's failed pods, or of all when none has failed."""
    try:
        pods = list_objects(job.cluster, POD, job.pods)
    except ClusterError as error:
        return f"the logs can't be read: {error.what}"
    failed = [pod for pod in pods if pod["status"]["phase"] == "Failed"] or pods
    names = [pod["metadata"]["name"] for pod in failed]
    return "\n".join(f"{pod}:\n{trainer_lines(tail_log(job.cluster, pod, lines=200))}" for pod in names)


def queue_news(cluster: Client, found: Object) -> str:
    """What a suspended job waits for: its queue, and what that said last."""
    name, queue = found["metadata"]["name"], found["metadata"].get("labels", {}).get(QUEUE_LABEL, "")
    news = f"waiting in the queue {queue}" if queue else "suspended; a queue, or whoever suspended it, lets it start"
    try:
        events = list_objects(cluster, EVENT)
    except ClusterError as error:
        return f"{news} ({error.what})"
    # Kueue's own object for the job has the job's name in its own.
    about = [(event, event["involvedObject"]) for event in events]
    told = [event for event, one in about if one.get("kind") == "Workload" and f"-{name}-" in one["name"]]
    return f"{news}: {max(told, key=event_time)['message']}" if told else news


def job_phase(job: TrainingJob, found: Object, before: str) -> tuple[str, str]:
    """Where a job is that has not ended, and news of it.

    Returns:
        queued (suspended: Kueue has not admitted it, or took it back), pending (pods that have not started) or running;
        and what it waits for, as text.
    """
    if found["spec"].get("runPolicy", found["spec"]).get("suspend"):
        return "queued", queue_news(job.cluster, found)
    if before == "running":
        return "running", ""
    started, news = pod_news(job, nodes_of(found))
    if started or (started is None and job_state(found) == "Running"):
        return "running", news
    return "pending", news


def job_failure(job: TrainingJob, found: Object) -> SystemExit:
    """The failure of a job that failed: the operator's reasons, its pods' news and last lines."""
    reasons = [c.get("message", "") for c in found["status"]["conditions"] if c["type"] == "Failed"]
    cause = "\n".join([*reasons, pod_news(job, 0)[1], last_pod_lines(job)])
    remedy = MAKE_ROOM if re.search(FULL, cause) else "correct that and run again: it resumes from there"
    return failure(f"the {job} failed", cause, remedy)


def job_too_late(job: TrainingJob, phase: str, seconds: float, told: str) -> TooLate:
    """The failure of a job that stayed in a phase for longer than it may."""
    what, remedy = {
        "queued": ("was not admitted by its queue", "free quota, name another k8s_queue, or raise k8s_queue_timeout"),
        "pending": ("did not start", "free GPUs, or raise train_pending_timeout"),
        "running": ("did not end", "raise train_timeout, or train less"),
    }[phase]
    return TooLate(failure(f"the {job} {what} in {seconds} s", told or "unknown", remedy).code)
