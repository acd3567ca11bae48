"""A PyTorchJob in the cluster, which belongs to the stage that started it: created, followed, and deleted.

A job out of sight is left alone: only what it says of itself, or a deadline that was seen to pass, ends it.
"""

import signal
from collections.abc import Callable
from dataclasses import dataclass, replace

from utils.cluster.client import TRANSIENT, Client
from utils.cluster.errors import ClusterError
from utils.cluster.kinds import EVENT, POD, PYTORCH_JOB
from utils.cluster.logs import tail_log
from utils.cluster.objects import Object, create, delete, event_time, list_objects
from utils.messages import failure
from utils.names import INPUTS_LABEL, QUEUE_LABEL
from utils.stages.cluster import pod_owners, stage_cluster

SIGHT_SECONDS = 1800
"""For so long, reading a job that is followed may be refused: a token or a right is renewed. An absent API server is
waited for until the job must have ended. The first look gets START_SECONDS: then a missing right is the likelier cause.
"""
START_SECONDS = 300
# A server that has just started does not know the kind yet.
KIND_SECONDS = 60


@dataclass(frozen=True)
class Limits:
    """Seconds that a job may be in each of its phases."""

    queued: float
    pending: float
    running: float


def job_state(found: Object) -> str:
    """Succeeded, Failed, Running or "" (not started) from a PyTorchJob's conditions."""
    conditions = found.get("status", {}).get("conditions") or []
    true = {c["type"] for c in conditions if c["status"] == "True"}
    return next((state for state in ("Succeeded", "Failed", "Running") if state in true), "")


def pods_of(cluster: Client, name: str) -> list[Object]:
    """A job's pods."""
    return list_objects(cluster, POD, f"training.kubeflow.org/job-name={name}")


def pod_news(cluster: Client, name: str) -> tuple[bool | None, str]:
    """What is known of a job's pods: whether all have started (None: pods can't be read), and what is wrong with them.

    The second is text: the scheduler's and the containers' messages, and the warnings among the events.
    """
    try:
        pods = pods_of(cluster, name)
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
        for event in list_objects(cluster, EVENT, fields="type=Warning"):
            if event["involvedObject"].get("name", "").startswith(name):
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


def last_pod_lines(cluster: Client, name: str) -> str:
    """The end of the logs of a job's failed pods, or of all when none has failed."""
    try:
        pods = pods_of(cluster, name)
    except ClusterError as error:
        return f"the logs can't be read: {error.what}"
    failed = [pod for pod in pods if pod["status"]["phase"] == "Failed"] or pods
    names = [pod["metadata"]["name"] for pod in failed]
    return "\n".join(f"{pod}:\n{trainer_lines(tail_log(cluster, pod, lines=200))}" for pod in names)


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

    def __init__(self, cluster: Client, name: str, refused: float, away: float) -> None:
        self.cluster, self.name, self.refused, self.away = replace(cluster, patience=0), name, refused, away
        self.lost: float | None = None
        self.gone, self.absent, self.told, self.error = False, 0, "", ClusterError("")

    def look(self) -> Object | None:
        """The job; None if it was not seen.

        Raises:
            SystemExit: it could not be read for too long.
        """
        now = self.cluster.clock()
        try:
            found: Object = self.cluster.request("get", PYTORCH_JOB, self.name)
        except ClusterError as error:
            self.lost = now if self.lost is None else self.lost
            self.error, passed = error, now - self.lost
            self.absent = self.absent + 1 if error.status == 404 else 0
            # A server that does not know the kind does not name the object.
            self.gone = self.absent > 1 and (self.name in error.cause or passed > KIND_SECONDS)
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
        what = f"the PyTorchJob {self.name} can no longer be read ({self.error.status})"
        return failure(what, f"{why}: {self.error.what}", "run again; if the job is there, it continues")

    def tell(self, news: str) -> None:
        """Print news, once."""
        if news and news != self.told:
            print(news, flush=True)
            self.told = news


def job_is_there(name: str, pending: int, poll: float = 10.0, seconds: float = START_SECONDS) -> bool:
    """Whether a PyTorchJob of this name is there. One that is being deleted is waited for, and its pods with it.

    Args:
        pending: seconds for which it may be being deleted.
        poll: seconds between looks.
        seconds: for which it may be unreadable.

    Raises:
        SystemExit: it can't be read, or is still being deleted.
    """
    with stage_cluster() as cluster:
        sight, deadline = Sight(cluster, name, seconds, seconds), cluster.clock() + pending
        while not sight.gone:
            found = sight.look()
            if found and "deletionTimestamp" not in found["metadata"]:
                return True
            if found and cluster.clock() > deadline:
                what = f"an earlier PyTorchJob {name} is still being deleted"
                raise failure(what, "its pods do not end", "check them")
            cluster.sleep(poll)
    return False


def create_job(cluster: Client, manifest: Object) -> None:
    """Create the job. One of its name that already exists is this job when its hash is the same.

    Raises:
        ClusterError: the API refuses the job.
        SystemExit: the one there is another one.
    """
    name, place = manifest["metadata"]["name"], f"kubectl -n {cluster.namespace}"
    try:
        create(cluster, PYTORCH_JOB, manifest)
    except ClusterError as error:
        if error.status != 409:
            raise
    else:
        print(f"PyTorchJob {name} created; {place} logs -f {name}-master-0", flush=True)
        return
    found = cluster.request("get", PYTORCH_JOB, name)
    if found["metadata"].get("labels", {}).get(INPUTS_LABEL) != manifest["metadata"]["labels"][INPUTS_LABEL]:
        raise failure(
            f"a PyTorchJob {name} already exists in {cluster.namespace}",
            "it was created with other inputs, or by someone else",
            f"look at it, then: {place} delete pytorchjob {name}",
        )
    print(f"PyTorchJob {name} already exists ({job_state(found) or 'pending'}): attaching to it", flush=True)


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


def job_phase(cluster: Client, found: Object, before: str) -> tuple[str, str]:
    """Where a job is that has not ended, and news of it.

    Returns:
        queued (suspended: Kueue has not admitted it, or took it back), pending (pods that have not started) or running;
        and what it waits for, as text.
    """
    if found["spec"].get("runPolicy", {}).get("suspend"):
        return "queued", queue_news(cluster, found)
    if before == "running":
        return "running", ""
    started, news = pod_news(cluster, found["metadata"]["name"])
    if started or (started is None and job_state(found) == "Running"):
        return "running", news
    return "pending", news


def job_failure(cluster: Client, found: Object) -> SystemExit:
    """The failure of a job that failed: the operator's reasons, its pods' news and last lines."""
    name = found["metadata"]["name"]
    reasons = [c.get("message", "") for c in found["status"]["conditions"] if c["type"] == "Failed"]
    cause = "\n".join([*reasons, pod_news(cluster, name)[1], last_pod_lines(cluster, name)])
    return failure(f"the PyTorchJob {name} failed", cause, "correct that and run again: it resumes from there")


def job_too_late(name: str, phase: str, seconds: float, told: str) -> SystemExit:
    """The failure of a job that stayed in a phase for longer than it may."""
    what, remedy = {
        "queued": ("was not admitted by its queue", "free quota, name another k8s_queue, or raise k8s_queue_timeout"),
        "pending": ("did not start", "free GPUs, or raise train_pending_timeout"),
        "running": ("did not end", "raise train_timeout, or train less"),
    }[phase]
    return failure(f"the PyTorchJob {name} {what} in {seconds} s", told or "unknown", remedy)


def delete_job(cluster: Client, name: str) -> None:
    """Delete the job; a refusal is only printed: there is another error to tell."""
    print(f"deleting PyTorchJob {name}", flush=True)
    try:
        delete(cluster, PYTORCH_JOB, name)
    except ClusterError as refused:
        command = f"kubectl -n {cluster.namespace} delete pytorchjob {name}"
        print(f"it could not be deleted ({refused}); {command}", flush=True)


def follow_job(cluster: Client, name: str, limits: Limits, tick: Callable[[], None], poll: float) -> SystemExit | None:
    """Wait until the job has ended. While it can't be read, no deadline passes.

    Returns:
        None when the job succeeded, the failure to raise when it failed.

    Raises:
        SystemExit: it was in one of its phases for too long, and was deleted; someone else deleted it; or it could not
            be read for too long, and was left alone.
    """
    sight = Sight(cluster, name, SIGHT_SECONDS, max(SIGHT_SECONDS, limits.pending + limits.running))
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
                return job_failure(sight.cluster, found)
            now, news = job_phase(sight.cluster, found, phase)
            if now != phase:
                taken = "the queue took the job back" if phase == "running" else "the job is in a queue"
                known = {"running": "all training pods have started", "pending": "the queue has admitted the job"}
                print(known.get(now, taken), flush=True)
                phase, since = now, cluster.clock()
            sight.tell(news)
        tick()
        limit = getattr(limits, phase)
        if found and cluster.clock() - since > limit:
            delete_job(cluster, name)
            raise job_too_late(name, phase, limit, sight.told)
        cluster.sleep(poll)


def launch_pytorchjob(
    manifest: Object, pending: int, timeout: int, tick: Callable[[], None], poll: float = 10.0, queued: int = 86400
) -> SystemExit | None:
    """Run a PyTorchJob to its end. One that failed, was too late, or is stopped (SIGTERM, Ctrl-C) is deleted;
    but by SIGTERM not when it belongs to the Job of this pod. One that can't be read, or whose launcher breaks down, is
    left alone: the stage that is started again attaches to it.

    Returns:
        None when it succeeded, the failure to raise when it failed.

    Args:
        pending, timeout: seconds until all pods have started, and from then to the end.
        tick: called at every look at the job.
        poll: seconds between looks.
        queued: seconds that it may wait in a queue, which are counted apart from these.
    """

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    with stage_cluster() as cluster:
        name, ours, owners = manifest["metadata"]["name"], False, pod_owners(cluster)
        before = signal.signal(signal.SIGTERM, end)
        try:
            create_job(cluster, {**manifest, "metadata": {**manifest["metadata"], "ownerReferences": owners}})
            ours = True
            error = follow_job(cluster, name, Limits(queued, pending, timeout), tick, poll)
        except KeyboardInterrupt:
            # An evicted pod's Job makes another, which resumes with this PyTorchJob; a deleted Job takes it along.
            if ours and all(owner["kind"] != "Job" for owner in owners):
                delete_job(cluster, name)
            raise
        finally:
            signal.signal(signal.SIGTERM, before)
        if error:
            delete_job(cluster, name)
        return error
