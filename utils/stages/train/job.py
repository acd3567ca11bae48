"""A training job in the cluster, which belongs to the stage that started it: created, followed, and deleted.

PyTorchJobs and TrainJobs alike: their fields that matter here differ in name, and no other API has these names.

A job out of sight is left alone: only what it says of itself, or a deadline that was seen to pass, ends it.
"""

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from utils.cluster.client import TRANSIENT
from utils.cluster.errors import ClusterError
from utils.cluster.kinds import KINDS, PYTORCH_JOB, TRAIN_JOB, TRAINING_RUNTIME, Kind
from utils.cluster.objects import Object, create, delete, get, wait_gone
from utils.messages import failure
from utils.names import INPUTS_LABEL
from utils.stages.cluster import Owner, pod_owners, run_owners, stage_cluster
from utils.stages.train.job_news import TrainingJob, job_failure, job_phase, job_state, job_too_late, pods_left

SIGHT_SECONDS = 1800
"""For so long, reading a job that is followed may be refused: a token or a right is renewed. An absent API server is
waited for until the job must have ended. The first look gets START_SECONDS: then a missing right is the likelier cause.
"""
START_SECONDS = 300
# A server that has just started does not know the kind yet.
KIND_SECONDS = 60
AGAIN_SECONDS = 1
"""Until a job that was not found is looked for again: a phase that begins waits for that."""
GONE_SECONDS = 60
"""How long a deleted job is waited for, beyond the time that its pods have to save their state."""
NEEDS = {PYTORCH_JOB: (), TRAIN_JOB: (TRAINING_RUNTIME,)}
"""What is created before a job, under its name, and deleted after it."""


@dataclass(frozen=True)
class Limits:
    """Seconds that a job may be in each of its phases, and that its pods have to save their state when they end."""

    queued: float
    pending: float
    running: float
    grace: float = 0


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
    """Whether a job of this name is there. One that is being deleted is waited for, and its pods with it, also where
    someone has deleted it without waiting for them: they still write to the phase's folder.

    Args:
        pending: seconds for which they may take.
        poll: seconds between looks.
        seconds: for which it may be unreadable.

    Raises:
        SystemExit: it can't be read, or is still being deleted.
    """
    with stage_cluster() as cluster:
        job = TrainingJob(cluster, kind, name)
        sight, deadline = Sight(job, seconds, seconds), cluster.clock() + pending
        while True:
            found = sight.look()
            if found and "deletionTimestamp" not in found["metadata"]:
                return True
            if sight.gone and not pods_left(job):
                return False
            if (found or sight.gone) and cluster.clock() > deadline:
                what = f"an earlier {job} is still being deleted"
                raise failure(what, "its pods do not end", "check them")
            cluster.sleep(min(poll, AGAIN_SECONDS) if sight.absent == 1 else poll)


def create_needed(job: TrainingJob, manifest: Object, poll: float) -> None:
    """Create what a job needs. What an earlier job of its name has left, with another hash, is replaced.

    Raises:
        SystemExit: that stays. Kubeflow Trainer, from 2.2 on, holds it by a finalizer while a TrainJob names it.
    """
    kind = KINDS[manifest["kind"]]
    deadline = job.cluster.clock() + GONE_SECONDS
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
        if job.cluster.clock() > deadline:
            what = f"an earlier {kind.name} {job.name} is still being deleted"
            raise failure(what, "Kubeflow Trainer does not let it go", f"{job.kubectl} describe {kind.name.lower()}")
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
            if kind == kinds[-1] or wait_gone(job.cluster, kind, job.name, GONE_SECONDS + job.grace):
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
        job = TrainingJob(cluster, KINDS[manifests[-1]["kind"]], manifests[-1]["metadata"]["name"], limits.grace)
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
