"""The launcher whose pods the training operator starts: a PyTorchJob (kubeflow.org/v1)."""

from typing import Any

from utils.cluster.kinds import PYTORCH_JOB
from utils.cluster.pod_overlay import merge_overlay
from utils.stages.train.pods import PodLauncher, job_labels, training_pod
from utils.stages.train.training import TrainingPhase


def pytorchjob_manifest(
    given: TrainingPhase, arguments: list[str], overlay: dict[str, Any], seconds: int
) -> dict[str, Any]:
    """A PyTorchJob without a name that runs torchrun with these arguments on its nodes.

    A failed pod fails the job, since torchrun can't replace single ranks: the stage starts the job again.

    Args:
        overlay: see `PodLauncher`.
        seconds: after which the operator ends it.
    """
    template = merge_overlay(training_pod(given, arguments, "pytorch"), overlay)
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
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": merge_overlay(overlay.get("metadata"), {"labels": job_labels(given, spec)}),
        "spec": spec,
    }


class PyTorchJob(PodLauncher):
    """Trains in the pods of a PyTorchJob."""

    title = "pytorchjob"
    kind = PYTORCH_JOB
    start = "train-phase-{}-"

    def manifests(self, arguments: list[str]) -> list[dict[str, Any]]:
        """The PyTorchJob."""
        manifest = pytorchjob_manifest(self.given, arguments, self.overlay, self.pending + self.timeout)
        return [manifest | {"metadata": {**manifest["metadata"], "name": self.name}}]
