"""A training job in the cluster, which belongs to the stage that started it: created, followed, and deleted.

PyTorchJobs and TrainJobs alike: their fields that matter here differ in name, and no other API has these names.

A job out of sight is left alone: only what it says of itself, or a deadline that was seen to pass, ends it.
"""

import re
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from utils.cluster.client import TRANSIENT, Client
from utils.cluster.errors import ClusterError
from utils.cluster.kinds import EVENT, KINDS, POD, PYTORCH_JOB, TRAIN_JOB, TRAINING_RUNTIME, Kind
from utils.cluster.logs import tail_log
from utils.cluster.objects import Object, create, delete, event_time, get, list_objects, wait_gone
from utils.messages import failure
from utils.names import INPUTS_LABEL, QUEUE_LABEL
from utils.stages.cluster import Owner, pod_owners, run_owners, stage_cluster
from utils.stages.disk import FULL, MAKE_ROOM
from utils.stages.train.late import TooLate

SIGHT_SECONDS = 1800
"""For so long, reading a job that is followed may be refused: a token or a right is renewed. An absent API server is
waited for until the job must have ended. The first look gets START_SECONDS: then a missing right is the likelier cause.
"""
START_SECONDS = 300
# A server that has just started does not know the kind yet.
KIND_SECONDS = 60
GONE_SECONDS = 60
"""How long a deleted job is waited for: pods get 30 s to end."""
POD_LABELS = {PYTORCH_JOB: "training.kubeflow.org/job-name", TRAIN_JOB: "jobset.sigs.k8s.io/jobset-name"}
"""The label of a job's pods that holds its name."""
NEEDS = {PYTORCH_JOB: (), TRAIN_JOB: (TRAINING_RUNTIME,)}
"""What is created before a job, under its name, and deleted after it."""


@dataclass(frozen=True)
class Limits:
    """Seconds that a job may be in each of its phases."""

    queued: float
    pending: float
    running: float


@dataclass(frozen=True)
class TrainingJob:
    """A job by its name. As text: its kind and name."""

    cluster: Client
    kind: Kind
    name: str

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


def pod_news(job: TrainingJob) -> tuple[bool | None, str]:
    """What is known of a job's pods: whether all have started (None: pods can't be read), and what is wrong with them.

    The second is text: the scheduler's and the containers' messages, and the warnings among the events.
    """
    try:
        pods = list_objects(job.cluster, POD, job.pods)
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
            if event["involvedObject"].get("name", "").startswith(job.name):
                # Warnings stay for an hour: one of a second that has passed must not read like one of now.
                seen = event_time(event)[11:19]
                news.append(f"{seen} UTC {event['message']}" if seen else event["message"])
    except ClusterError as error:
        news.append(error.what)
    started = bool(pods) and all(pod["status"]["phase"] != "Pending" for pod in pods)
    return started, "\n".join(dict.fromkeys(filter(None, news)))


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


class Sight:
    """A job as it is looked at now and then; each look is one try.

    Args:
        refused, away: seconds for which reading it may be refused, and for which there may be no answer.

    Attributes:
        gone: whether it is not there, also at a second look.
        lost: since when it was not seen; None: it was.
        absent: how many looks in a row found none.
        error: of the last look that did not see it.
    """

    def __init__(self, job: TrainingJob, refused: float, away: float) -> None:
        self.job = replace(job, cluster=replace(job.cluster, patience=0))
        self.refused, self.away = refused, away
        self.lost: float | None = None
        self.gone, self.absent, self.told, self.error = False, 0, "", ClusterError("")

    def look(self) -> Object | None:
        """The job; None if it was not seen.

        Raises:
            SystemExit: it could not be read for too long.
        """
        now = self.job.cluster.clock()
        try:
            found: Object = self.job.cluster.request("get", self.job.kind, self.job.name)
        except ClusterError as error:
            self.lost = now if self.lost is None else self.lost
            self.error, passed = error, now - self.lost
            self.absent = self.absent + 1 if error.status == 404 else 0
            # A server that does not know the kind does not name the object.
            self.gone = self.absent > 1 and (self.job.name in error.cause or passed > KIND_SECONDS)
            limit = self.away if error.status in TRANSIENT else self.refused
            if passed > limit and not self.gone:
                raise self.failure() from None
            self.tell(f"{error.what}; still waiting")
            return None
        self.lost, self.absent = None, 0
        return found

    def failure(self) -> SystemExit:
        """Of a stage that no longer sees its job."""
        why = "someone deleted it" if self.gone else "the API server, its token or a right is missing"
        what = f"the {self.job} can no longer be read ({self.error.status})"
        return failure(what, f"{why}: {self.error.what}", "run again; if the job is there, it continues")

    def tell(self, news: str) -> None:
        """Print news, once."""
        if news and news != self.told:
            print(news, flush=True)
            self.told = news


def job_is_there(kind: Kind, name: str, pending: int, poll: float = 10.0, seconds: float = START_SECONDS) -> bool:
    """Whether a job of this name is there. One that is being deleted is waited for, and its pods with it.

    Args:
        pending: seconds for which it may be being deleted.
        poll: seconds between looks.
        seconds: for which it may be unreadable.

    Raises:
        SystemExit: it can't be read, or is still being deleted.
    """
    with stage_cluster() as cluster:
        job = TrainingJob(cluster, kind, name)
        sight, deadline = Sight(job, seconds, seconds), cluster.clock() + pending
        while not sight.gone:
            found = sight.look()
            if found and "deletionTimestamp" not in found["metadata"]:
                return True
            if found and cluster.clock() > deadline:
                what = f"an earlier {job} is still being deleted"
                raise failure(what, "its pods do not end", "check them")
            cluster.sleep(poll)
    return False


def create_needed(job: TrainingJob, manifest: Object, poll: float) -> None:
    """Create what a job needs. What an earlier job of its name has left, with another hash, is replaced."""
    kind = KINDS[manifest["kind"]]
    while True:
        try:
            create(job.cluster, kind, manifest)
            return
        except ClusterError as error:
            if error.status != 409:
                raise
        found = get(job.cluster, kind, job.name)
        if found and "deletionTimestamp" not in found["metadata"]:
            if same_inputs(found, manifest):
                return
            delete(job.cluster, kind, job.name)
        job.cluster.sleep(poll)


def same_inputs(found: Object, manifest: Object) -> bool:
    """Whether an object was created with the same inputs as this manifest."""
    return bool(found["metadata"].get("labels", {}).get(INPUTS_LABEL) == manifest["metadata"]["labels"][INPUTS_LABEL])


def create_job(job: TrainingJob, manifests: Sequence[Object], owners: list[Owner], poll: float) -> None:
    """Create the job and what it needs. One of its name that already exists is this job when its hash is the same.

    Raises:
        ClusterError: the API refuses the job.
        SystemExit: the one there is another one.
    """
    *needed, manifest = manifests
    manifest = manifest | {"metadata": manifest["metadata"] | {"ownerReferences": owners}}
    found = get(job.cluster, job.kind, job.name) if needed else None
    if not found:
        for one in needed:
            # The deletion of this pod's Job takes the job along; what that needs must outlive it, see `delete_job`.
            kept = {"ownerReferences": run_owners(job.cluster, owners)}
            create_needed(job, one | {"metadata": one["metadata"] | kept}, poll)
        try:
            create(job.cluster, job.kind, manifest)
        except ClusterError as error:
            if error.status != 409:
                raise
            found = job.cluster.request("get", job.kind, job.name)
        else:
            print(f"{job} created; {job.kubectl} logs -f -l {job.pods}", flush=True)
            return
    if not same_inputs(found, manifest):
        raise failure(
            f"a {job} already exists in {job.cluster.namespace}",
            "it was created with other inputs, or by someone else",
            f"look at it, then: {job.kubectl} delete {job.kind.name.lower()} {job.name}",
        )
    print(f"{job} already exists ({job_state(found) or 'pending'}): attaching to it", flush=True)


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
    told = [event for event, one in about if one.get("kind") == "Workload" and name in one.get("name", "")]
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
    started, news = pod_news(job)
    if started or (started is None and job_state(found) == "Running"):
        return "running", news
    return "pending", news


def job_failure(job: TrainingJob, found: Object) -> SystemExit:
    """The failure of a job that failed: the operator's reasons, its pods' news and last lines."""
    reasons = [c.get("message", "") for c in found["status"]["conditions"] if c["type"] == "Failed"]
    cause = "\n".join([*reasons, pod_news(job)[1], last_pod_lines(job)])
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


def delete_job(job: TrainingJob) -> None:
    """Delete the job and, once it is gone, what it needed; a refusal is only printed: there is another error to tell.

    Kubeflow Trainer 2.2 and newer refuse every change to a TrainJob whose runtime is gone, even that the garbage
    collector takes its finalizer away: it would be there forever.
    """
    print(f"deleting {job}", flush=True)
    kinds = (job.kind, *NEEDS[job.kind])
    for kind in kinds:
        try:
            delete(job.cluster, kind, job.name)
            if kind == kinds[-1] or wait_gone(job.cluster, kind, job.name, GONE_SECONDS):
                continue
            why = "its pods have not ended"
        except ClusterError as refused:
            why = str(refused)
        command = f"{job.kubectl} delete {kind.name.lower()} {job.name}"
        print(f"it could not be deleted ({why}); {command}", flush=True)
        return


def follow_job(job: TrainingJob, limits: Limits, tick: Callable[[], None], poll: float) -> SystemExit | None:
    """Wait until the job has ended. While it can't be read, no deadline passes.

    Returns:
        None when the job succeeded, the failure to raise when it failed.

    Raises:
        TooLate: it was in one of its phases for too long, and was deleted.
        SystemExit: someone else deleted it; or it could not be read for too long, and was left alone.
    """
    cluster = job.cluster
    sight = Sight(job, SIGHT_SECONDS, max(SIGHT_SECONDS, limits.pending + limits.running))
    phase, since = "pending", cluster.clock()
    while True:
        found = sight.look()
        if sight.gone:
            raise sight.failure()
        if found:
            state = job_state(found)
            if state == "Succeeded":
                return None
            if state == "Failed":
                return job_failure(sight.job, found)
            now, news = job_phase(sight.job, found, phase)
            if now != phase:
                taken = "the queue took the job back" if phase == "running" else "the job is in a queue"
                known = {"running": "all training pods have started", "pending": "the queue has admitted the job"}
                print(known.get(now, taken), flush=True)
                phase, since = now, cluster.clock()
            sight.tell(news)
        tick()
        limit = getattr(limits, phase)
        if found and cluster.clock() - since > limit:
            delete_job(job)
            raise job_too_late(job, phase, limit, sight.told)
        cluster.sleep(poll)


def launch_job(
    manifests: Sequence[Object],
    limits: Limits,
    tick: Callable[[], None],
    poll: float = 10.0,
) -> SystemExit | None:
    """Run a job to its end. One that failed, was too late, or is stopped (SIGTERM, Ctrl-C) is deleted;
    but by SIGTERM not when it belongs to the Job of this pod. One that can't be read, or whose launcher breaks down, is
    left alone: the stage that is started again attaches to it.

    Returns:
        None when it succeeded, the failure to raise when it failed.

    Args:
        manifests: the job last, what it needs before.
        tick: called at every look at the job.
        poll: seconds between looks.
    """

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    with stage_cluster() as cluster:
        job = TrainingJob(cluster, KINDS[manifests[-1]["kind"]], manifests[-1]["metadata"]["name"])
        ours, owners = False, pod_owners(cluster)
        before = signal.signal(signal.SIGTERM, end)
        try:
            create_job(job, manifests, owners, poll)
            ours = True
            error = follow_job(job, limits, tick, poll)
        except KeyboardInterrupt:
            # An evicted pod's Job makes another, which resumes with this job; a deleted Job takes it along.
            if ours and all(owner["kind"] != "Job" for owner in owners):
                delete_job(job)
            raise
        finally:
            signal.signal(signal.SIGTERM, before)
        if error:
            delete_job(job)
        return error
