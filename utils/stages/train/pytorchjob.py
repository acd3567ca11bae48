"""Train in pods: a PyTorchJob (kubeflow.org/v1), its manifest, and the launcher that runs it."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from utils.cluster.pod_overlay import merge_overlay
from utils.names import INPUTS_LABEL, QUEUE_LABEL, RUN_LABEL, SIDECAR_LABEL
from utils.stages.marker import inputs_hash
from utils.stages.train.job import job_is_there, launch_pytorchjob
from utils.stages.writable import MODEL_FOLDERS


@dataclass(frozen=True)
class Job:
    """What the manifest of a job that trains in pods is made of, but for torchrun's arguments.

    Attributes:
        name: see `job_name`.
        run_id: id of the run that it belongs to.
        image: what the pods run.
        claim: volume claim that they mount at data_dir.
        data_dir: path of the run's volume.
        nodes: pods.
        gpus: GPUs of each pod; 0: CPU.
        gpu_identifier: resource name of the GPUs.
        cpu: CPUs of each pod, a Kubernetes quantity.
        memory: memory of each pod, a Kubernetes quantity.
        tolerations: the pods' tolerations.
        node_selectors: labels of the nodes that they may run on.
        queue: queue (of Kueue) that the job waits in; "": none.
        queued: seconds that it may wait there.
        pending: seconds that the pods may take to start.
        timeout: seconds that they may train.
        overlay: changes to the pod template and the job's metadata, for `merge_overlay`.
    """

    name: str
    run_id: str
    image: str
    claim: str
    data_dir: str
    nodes: int
    gpus: int
    gpu_identifier: str
    cpu: str
    memory: str
    tolerations: list[Any]
    node_selectors: dict[str, Any]
    queue: str
    queued: int
    pending: int
    timeout: int
    overlay: dict[str, Any] = field(default_factory=dict)


def job_name(run_id: str, phase: int) -> str:
    """train-phase-N-<run id>, shortened by a hash where pods' and services' names would get too long (63)."""
    digest = hashlib.sha256(run_id.encode()).hexdigest()[:8]
    return f"train-phase-{phase}-" + (run_id if len(run_id) <= 38 else f"{run_id[:29]}-{digest}")


def training_pod(job: Job, arguments: list[str]) -> dict[str, Any]:
    """The template of a job's pods.

    They run under the `restricted` pod security standard, with no Istio sidecar (it would block the ranks) and no token
    for the API, with a memory-backed /dev/shm for NCCL.
    """
    amounts = {"cpu": job.cpu, "memory": job.memory}
    if job.gpus:
        amounts[job.gpu_identifier] = str(job.gpus)
    mounts = {"data": job.data_dir, "shm": "/dev/shm"}
    container = {
        "name": "pytorch",
        "image": job.image,
        "command": ["torchrun", *arguments],
        "env": [{"name": name, "value": value} for name, value in MODEL_FOLDERS.items()],
        "resources": {"requests": amounts, "limits": amounts},
        "volumeMounts": [{"name": name, "mountPath": path} for name, path in mounts.items()],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    pod = {
        "containers": [container],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": job.claim}},
            {"name": "shm", "emptyDir": {"medium": "Memory"}},
        ],
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "automountServiceAccountToken": False,
        "tolerations": job.tolerations,
        "nodeSelector": job.node_selectors,
    }
    run = {RUN_LABEL: job.run_id}
    sidecar = {SIDECAR_LABEL: "false"}
    return {"metadata": {"labels": {**run, **sidecar}, "annotations": sidecar}, "spec": pod}


def pytorchjob_manifest(job: Job, arguments: list[str]) -> dict[str, Any]:
    """The PyTorchJob that runs torchrun with these arguments on the job's nodes.

    A failed pod fails the job, since torchrun can't replace single ranks: the stage starts the job again. Labels: the
    run, and a hash of everything that decides what the job does.
    """
    template = merge_overlay(training_pod(job, arguments), job.overlay)
    counts = {"Master": 1, "Worker": job.nodes - 1}
    spec = {
        "nprocPerNode": str(job.gpus or 1),
        "runPolicy": {
            # The failed pods stay, with their logs. With a backoffLimit the operator would delete them all.
            "cleanPodPolicy": "Running",
            "activeDeadlineSeconds": job.pending + job.timeout,
            "ttlSecondsAfterFinished": 86400,
        },
        "pytorchReplicaSpecs": {
            role: {"replicas": count, "restartPolicy": "Never", "template": template}
            for role, count in counts.items()
            if count
        },
    }
    run = {RUN_LABEL: job.run_id, INPUTS_LABEL: inputs_hash(spec)}
    # A queue (Kueue) looks at the labels of the job, and suspends it until its turn; an empty name is none.
    queue = {QUEUE_LABEL: job.queue} if job.queue else {}
    own = {"name": job.name, "labels": {**run, **queue}}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": merge_overlay(job.overlay.get("metadata"), own),
        "spec": spec,
    }


class PyTorchJob(Job):
    """The launcher that trains in pods, which the training operator starts."""

    flash_attention = True

    @property
    def waiting(self) -> int:
        """Seconds in its queue, and until its pods have started."""
        return self.queued + self.pending

    def running(self) -> bool:
        """Whether the job is there: it outlived its launcher, or has even ended since."""
        return job_is_there(self.name, self.pending)

    def manifest(self, arguments: list[str]) -> dict[str, Any]:
        """The PyTorchJob."""
        return pytorchjob_manifest(self, arguments)

    def launch(self, arguments: list[str], timeout: int, tick: Callable[[], None]) -> SystemExit | None:
        """Create the job or attach to it, and follow it, see `launch_pytorchjob`."""
        return launch_pytorchjob(self.manifest(arguments), self.pending, timeout, tick, queued=self.queued)
