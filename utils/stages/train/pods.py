"""Train in pods: their template, and what the launchers that start them by a job in the cluster share."""

import hashlib
from collections.abc import Callable
from typing import Any

from utils.cluster.kinds import Kind
from utils.names import INPUTS_LABEL, QUEUE_LABEL, RUN_LABEL, SIDECAR_LABEL
from utils.stages.marker import inputs_hash
from utils.stages.train.job import Limits, job_is_there, launch_job
from utils.stages.train.training import TrainingPhase, seconds_of
from utils.stages.writable import MODEL_FOLDERS


def job_name(start: str, run_id: str) -> str:
    """The start and the run's id, shortened by a hash where pods' and services' names would get too long (63)."""
    digest = hashlib.sha256(run_id.encode()).hexdigest()[:8]
    return start + (run_id if len(run_id) <= 38 else f"{run_id[:29]}-{digest}")


def job_labels(given: TrainingPhase, spec: dict[str, Any]) -> dict[str, str]:
    """Labels of a job: the run, a hash of everything that decides what the job does, the queue if there is one.

    Some of it is not in the job's spec: its pods read it from training.json.

    A queue (Kueue) looks at the labels of the job, and suspends it until its turn; an empty name is none.
    """
    inputs = inputs_hash({"spec": spec, "told": [given.algorithm, given.algorithm_options, given.checkpoint_dtype]})
    return {RUN_LABEL: given.run_id, INPUTS_LABEL: inputs} | ({QUEUE_LABEL: given.queue} if given.queue else {})


def training_pod(given: TrainingPhase, arguments: list[str], container: str) -> dict[str, Any]:
    """The template of the pods that run torchrun with these arguments.

    They run under the `restricted` pod security standard, with no Istio sidecar (it would block the ranks) and no token
    for the API, with a memory-backed /dev/shm for NCCL.

    Args:
        container: its name, for which the operator looks.
    """
    amounts = {"cpu": given.cpu_per_worker, "memory": given.memory_per_worker}
    if given.gpu_per_worker:
        amounts[given.gpu_identifier] = str(given.gpu_per_worker)
    trainer = {
        "name": container,
        "image": given.image,
        "command": ["python3", f"{given.output}/grace.py", "torchrun", *arguments],
        "env": [{"name": name, "value": value} for name, value in MODEL_FOLDERS.items()],
        "resources": {"requests": amounts, "limits": amounts},
        "volumeMounts": [{"name": "data", "mountPath": given.data_dir}, {"name": "shm", "mountPath": "/dev/shm"}],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    pod = {
        "containers": [trainer],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": given.volume_claim}},
            {"name": "shm", "emptyDir": {"medium": "Memory"}},
        ],
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": seconds_of(given.grace_period),
        # Linux drops SIGTERM to the first process of a PID namespace that has no handler yet. A pod stopped while it
        # starts Python, or while a PyTorchJob's init container waits for rank 0, would hold its GPUs for all of it.
        "shareProcessNamespace": True,
        "tolerations": given.tolerations,
        "nodeSelector": given.node_selectors,
    }
    sidecar = {SIDECAR_LABEL: "false"}
    return {"metadata": {"labels": {RUN_LABEL: given.run_id, **sidecar}, "annotations": sidecar}, "spec": pod}


class PodLauncher:
    """A launcher that trains in pods, which an operator starts for a job.

    Attributes:
        name: of the job.
        overlay: changes to the pod template and the job's metadata, for `merge_overlay`.
        pending: seconds that the pods may take to start.
        queued: seconds that the job may wait in its queue.

    Raises:
        SystemExit: a duration is not valid.
    """

    title: str
    kind: Kind
    start: str

    def __init__(self, given: TrainingPhase, overlay: dict[str, Any]) -> None:
        self.given, self.overlay = given, overlay
        self.name = job_name(self.start.format(given.phase), given.run_id)
        self.nodes, self.gpus = given.num_workers, given.gpu_per_worker
        self.pending, self.timeout = seconds_of(given.pending_timeout), seconds_of(given.timeout)
        self.queued = seconds_of(given.queue_timeout)
        self.waiting = self.queued + self.pending

    def running(self) -> bool:
        """Whether the job is there: it outlived its launcher, or has even ended since."""
        return job_is_there(self.kind, self.name, self.pending)

    def manifests(self, arguments: list[str]) -> list[dict[str, Any]]:
        """The job that runs torchrun with these arguments on its nodes, and before it what it needs."""
        raise NotImplementedError

    def launch(self, arguments: list[str], timeout: int, tick: Callable[[], None]) -> SystemExit | None:
        """Create the job or attach to it, and follow it, see `launch_job`."""
        limits = Limits(self.queued, self.pending, timeout, seconds_of(self.given.grace_period))
        return launch_job(self.manifests(arguments), limits, tick)
