"""A PyTorchJob in the cluster, which belongs to the stage that started it: created, followed, and deleted."""

import signal
from collections.abc import Callable
from dataclasses import dataclass, replace

from utils.cluster.client import Client
from utils.cluster.errors import ClusterError
from utils.cluster.kinds import EVENT, POD, PYTORCH_JOB
from utils.cluster.logs import tail_log
from utils.cluster.objects import Object, create, delete, event_time, get, list_objects
from utils.messages import failure
from utils.names import INPUTS_LABEL, QUEUE_LABEL
from utils.stages.cluster import pod_owners, stage_cluster


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
        if not error.status:
            raise
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
        if not error.status:
            raise
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


def job_is_there(name: str, pending: int, poll: float = 10.0) -> bool:
    """Whether a PyTorchJob of this name is there. One that is being deleted is waited for, and its pods with it.

    Raises:
        SystemExit: it can't be read, or is still being deleted after `pending` seconds.
    """
    with stage_cluster() as cluster:
        deadline = cluster.clock() + pending
        while found := get(cluster, PYTORCH_JOB, name):
            if "deletionTimestamp" not in found["metadata"]:
                return True
            if cluster.clock() > deadline:
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
        if not error.status:
            raise
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


def follow_job(cluster: Client, name: str, limits: Limits, tick: Callable[[], None], poll: float) -> SystemExit | None:
    """Wait until the job has ended. An API server that is away for a while is waited for.

    Returns:
        None when the job succeeded, the failure to raise when it failed.

    Raises:
        SystemExit: the job was deleted, or was in one of these phases for too long.
    """
    told, phase, since, refused = "", "pending", cluster.clock(), 0
    # Each look is one try: deadlines are kept, and ticks come, also while the API server is away.
    cluster = replace(cluster, patience=0)
    while True:
        try:
            found = cluster.request("get", PYTORCH_JOB, name)
            state, refused = job_state(found), 0
            if state == "Succeeded":
                return None
            if state == "Failed":
                return job_failure(cluster, found)
            now, news = job_phase(cluster, found, phase)
            if now != phase:
                taken = "the queue took the job back" if phase == "running" else "the job is in a queue"
                known = {"running": "all training pods have started", "pending": "the queue has admitted the job"}
                print(known.get(now, taken), flush=True)
                phase, since = now, cluster.clock()
        except ClusterError as error:
            refused += error.status in (401, 403, 404)
            if refused == 3:  # an API server that has just started refuses what it grants a moment later
                raise failure(
                    f"the PyTorchJob {name} can no longer be read ({error.status})",
                    "someone deleted it, or the service account's rights changed",
                    "run again",
                ) from None
            news = f"{error.what}; still waiting"
        if news and news != told:
            print(news, flush=True)
            told = news
        tick()
        limit = getattr(limits, phase)
        if cluster.clock() - since > limit:
            raise job_too_late(name, phase, limit, told)
        cluster.sleep(poll)


def launch_pytorchjob(
    manifest: Object, pending: int, timeout: int, tick: Callable[[], None], poll: float = 10.0, queued: int = 86400
) -> SystemExit | None:
    """Run a PyTorchJob to its end. Whatever else happens (failure, deadline, SIGTERM, Ctrl-C), it is deleted;
    but by SIGTERM not when it belongs to the Job of this pod.

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
        name, ours, owners = manifest["metadata"]["name"], True, pod_owners(cluster)
        before = signal.signal(signal.SIGTERM, end)
        try:
            try:
                create_job(cluster, {**manifest, "metadata": {**manifest["metadata"], "ownerReferences": owners}})
            except (ClusterError, SystemExit):
                ours = False
                raise
            error = follow_job(cluster, name, Limits(queued, pending, timeout), tick, poll)
            ours = error is not None
            return error
        except KeyboardInterrupt:
            # An evicted pod's Job makes another, which resumes with this PyTorchJob; a deleted Job takes it along.
            ours = all(owner["kind"] != "Job" for owner in owners)
            raise
        finally:
            signal.signal(signal.SIGTERM, before)
            if ours:
                print(f"deleting PyTorchJob {name}", flush=True)
                try:
                    delete(cluster, PYTORCH_JOB, name)
                except ClusterError as refused:
                    command = f"kubectl -n {cluster.namespace} delete pytorchjob {name}"
                    print(f"it could not be deleted ({refused}); {command}", flush=True)
