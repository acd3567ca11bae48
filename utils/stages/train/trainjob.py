"""The launcher whose pods Kubeflow Trainer starts: a TrainJob, with a TrainingRuntime of its own (v1alpha1).

The fields of a TrainJob that change the pods of its runtime have other names in each of its dialects (2.0, 2.1, 2.2). A
runtime of our own, whose fields are the same in all, needs none of them.
"""

from typing import Any

from utils.cluster.kinds import TRAIN_JOB
from utils.cluster.pod_overlay import merge_overlay
from utils.names import RUN_LABEL
from utils.stages.train.pods import PodLauncher, job_labels, training_pod
from utils.stages.train.trainer import PROGRESS_PORT
from utils.stages.train.training import TrainingPhase

GROUP = "trainer.kubeflow.org"
NODE = "node"
"""What the Job and the container that train must be called."""


def trainjob_manifests(
    given: TrainingPhase, arguments: list[str], overlay: dict[str, Any], seconds: int, name: str
) -> list[dict[str, Any]]:
    """A TrainingRuntime and the TrainJob that runs torchrun with these arguments on its nodes.

    A failed pod fails the job, since torchrun can't replace single ranks: the stage starts the job again.

    Args:
        overlay: see `PodLauncher`.
        seconds: after which the pods are ended.
    """
    # torchrun finds the other nodes by PET_MASTER_ADDR and its like, which the policy `torch` sets in every pod.
    arguments = [argument for argument in arguments if "$(" not in argument]
    job = {
        # A failed pod fails the job at once, and stays, with its log.
        "backoffLimit": 0,
        "activeDeadlineSeconds": seconds,
        "template": merge_overlay(training_pod(given, arguments, NODE), overlay),
    }
    job["template"]["spec"]["restartPolicy"] = "Never"
    own: dict[str, Any] = {"name": name}
    if given.progress:
        # OpenShift AI asks the pod of rank 0 for it, and shows it; others know neither annotation nor port.
        job["template"]["spec"]["containers"][0]["env"].append({"name": PROGRESS_PORT, "value": "28080"})
        own["annotations"] = {"trainer.opendatahub.io/progression-tracking": "true"}
    part = {
        "name": NODE,
        "template": {"metadata": {"labels": {f"{GROUP}/trainjob-ancestor-step": "trainer"}}, "spec": job},
    }
    run = {"labels": {RUN_LABEL: given.run_id}}
    runtime = {
        "mlPolicy": {"numNodes": given.num_workers, "torch": {}},
        # Without a TTL: once the JobSet is gone, Trainer makes it anew.
        "template": {"metadata": run, "spec": {"replicatedJobs": [part]}},
    }
    spec = {
        "runtimeRef": {"apiGroup": GROUP, "kind": "TrainingRuntime", "name": name},
        "trainer": {"numNodes": given.num_workers},
    }
    own["labels"] = job_labels(given, {"runtime": runtime, "job": spec})
    metadata = merge_overlay(overlay.get("metadata"), own)
    made = {"TrainingRuntime": runtime, "TrainJob": spec}
    return [
        {"apiVersion": f"{GROUP}/v1alpha1", "kind": kind, "metadata": metadata, "spec": one}
        for kind, one in made.items()
    ]


class TrainJob(PodLauncher):
    """Trains in the pods of a TrainJob. Its name leaves room for what its pods' names end with: -node-0-99-abcde."""

    title = "trainjob"
    kind = TRAIN_JOB
    start = "train-{}-"

    def manifests(self, arguments: list[str]) -> list[dict[str, Any]]:
        """The TrainingRuntime and the TrainJob."""
        return trainjob_manifests(self.given, arguments, self.overlay, self.pending + self.timeout, self.name)
