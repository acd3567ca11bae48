"""Train in pods: a PyTorchJob (kubeflow.org/v1), its manifest, and the launcher that runs it."""

import hashlib
from collections.abc import Callable
from typing import Any

from utils.cluster.pod_overlay import merge_overlay
from utils.names import INPUTS_LABEL, QUEUE_LABEL, RUN_LABEL, SIDECAR_LABEL
from utils.stages.marker import inputs_hash
from utils.stages.train.job import job_is_there, launch_pytorchjob
from utils.stages.train.training import TrainingPhase, seconds_of
from utils.stages.writable import MODEL_FOLDERS


def job_name(run_id: str, phase: int) -> str:
    """train-phase-N-<run id>, shortened by a hash where pods' and services' names would get too long (63)."""
    digest = hashlib.sha256(run_id.encode()).hexdigest()[:8]
    return f"train-phase-{phase}-" + (run_id if len(run_id) <= 38 else f"{run_id[:29]}-{digest}")


def training_pod(given: TrainingPhase, arguments: list[str]) -> dict[str, Any]:
    """The template of the pods that run torchrun with these arguments.

    They run under the `restricted` pod security standard, with no Istio sidecar (it would block the ranks) and no token
    for the API, with a memory-backed /dev/shm for NCCL.
    """
    amounts = {"cpu": given.cpu_per_worker, "memory": given.memory_per_worker}
    if given.gpu_per_worker:
        amounts[given.gpu_identifier] = str(given.gpu_per_worker)
    container = {
        "name": "pytorch",
        "image": given.image,
        "command": ["torchrun", *arguments],
        "env": [{"name": name, "value": value} for name, value in MODEL_FOLDERS.items()],
        "resources": {"requests": amounts, "limits": amounts},
        "volumeMounts": [{"name": "data", "mountPath": given.data_dir}, {"name": "shm", "mountPath": "/dev/shm"}],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    pod = {
        "containers": [container],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": given.volume_claim}},
            {"name": "shm", "emptyDir": {"medium": "Memory"}},
        ],
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "automountServiceAccountToken": False,
        "tolerations": given.tolerations,
        "nodeSelector": given.node_selectors,
    }
    sidecar = {SIDECAR_LABEL: "false"}
    return {"metadata": {"labels": {RUN_LABEL: given.run_id, **sidecar}, "annotations": sidecar}, "spec": pod}


def pytorchjob_manifest(
    given: TrainingPhase, arguments: list[str], overlay: dict[str, Any], seconds: int
) -> dict[str, Any]:
    """A PyTorchJob without a name that runs torchrun with these arguments on its nodes.

    A failed pod fails the job, since torchrun can't replace single ranks: the stage starts the job again. Labels: the
    run, and a hash of everything that decides what the job does.

    Args:
        overlay: see `PyTorchJob`.
        seconds: after which the operator ends it.
    """
    template = merge_overlay(training_pod(given, arguments), overlay)
    spec = {
        "nprocPerNode": str(given.gpu_per_worker or 1),
        "runPolicy": {
            # The failed pods stay, with their logs. With a backoffLimit the operator would delete them all.
            "cleanPodPolicy": "Running",
            "activeDeadlineSeconds": seconds,
            "ttlSecondsAfterFinished": 86400,
        },
        "pytorchReplicaSpecs": {
            role: {"replicas": count, "restartPolicy": "Never", "template": template}
            for role, count in {"Master": 1, "Worker": given.num_workers - 1}.items()
            if count
        },
    }
    labels = {RUN_LABEL: given.run_id, INPUTS_LABEL: inputs_hash(spec)}
    # A queue (Kueue) looks at the labels of the job, and suspends it until its turn; an empty name is none.
    if given.queue:
        labels[QUEUE_LABEL] = given.queue
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": merge_overlay(overlay.get("metadata"), {"labels": labels}),
        "spec": spec,
    }


class PyTorchJob:
    """The launcher that trains in pods, which the training operator starts.

    Attributes:
        name: see `job_name`.
        overlay: changes to the pod template and the job's metadata, for `merge_overlay`.
        pending: seconds that the pods may take to start.
        queued: seconds that the job may wait in its queue.

    Raises:
        SystemExit: a duration is not valid.
    """

    flash_attention = True

    def __init__(self, given: TrainingPhase, overlay: dict[str, Any]) -> None:
        self.given, self.overlay = given, overlay
        self.name, self.nodes, self.gpus = job_name(given.run_id, given.phase), given.num_workers, given.gpu_per_worker
        self.pending, self.timeout = seconds_of(given.pending_timeout), seconds_of(given.timeout)
        self.queued = seconds_of(given.queue_timeout)
        self.waiting = self.queued + self.pending

    def running(self) -> bool:
        """Whether the job is there: it outlived its launcher, or has even ended since."""
        return job_is_there(self.name, self.pending)

    def manifest(self, arguments: list[str]) -> dict[str, Any]:
        """The PyTorchJob that runs torchrun with these arguments on its nodes."""
        manifest = pytorchjob_manifest(self.given, arguments, self.overlay, self.pending + self.timeout)
        return manifest | {"metadata": {**manifest["metadata"], "name": self.name}}

    def launch(self, arguments: list[str], timeout: int, tick: Callable[[], None]) -> SystemExit | None:
        """Create the job or attach to it, and follow it, see `launch_pytorchjob`."""
        return launch_pytorchjob(self.manifest(arguments), self.pending, timeout, tick, queued=self.queued)
