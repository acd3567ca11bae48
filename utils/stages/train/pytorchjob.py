"""The PyTorchJob (kubeflow.org/v1) that trains in pods: its name and its manifest.

A job is a dict:
    name, run_id, image, claim (volume claim), data_dir (where pods mount it), nodes, gpus (a node), gpu_identifier,
    cpu, memory (Kubernetes quantities), tolerations, node_selectors, pending, timeout (seconds), queue (of Kueue; "").
"""

import hashlib

from utils.cluster.pod_overlay import merge_overlay
from utils.names import INPUTS_LABEL, QUEUE_LABEL, RUN_LABEL, SIDECAR_LABEL
from utils.stages.marker import inputs_hash
from utils.stages.writable import MODEL_FOLDERS


def job_name(run_id: str, phase: int) -> str:
    """train-phase-N-<run id>, shortened by a hash where pods' and services' names would get too long (63)."""
    digest = hashlib.sha256(run_id.encode()).hexdigest()[:8]
    return f"train-phase-{phase}-" + (run_id if len(run_id) <= 38 else f"{run_id[:29]}-{digest}")


def training_pod(job: dict, arguments: list) -> dict:
    """The template of a job's pods.

    They run under the `restricted` pod security standard, with no Istio sidecar (it would block the ranks) and no token
    for the API, with a memory-backed /dev/shm for NCCL.
    """
    amounts = {"cpu": job["cpu"], "memory": job["memory"]}
    if job["gpus"]:
        amounts[job["gpu_identifier"]] = str(job["gpus"])
    mounts = {"data": job["data_dir"], "shm": "/dev/shm"}
    container = {
        "name": "pytorch",
        "image": job["image"],
        "command": ["torchrun", *arguments],
        "env": [{"name": name, "value": value} for name, value in MODEL_FOLDERS.items()],
        "resources": {"requests": amounts, "limits": amounts},
        "volumeMounts": [{"name": name, "mountPath": path} for name, path in mounts.items()],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    pod = {
        "containers": [container],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": job["claim"]}},
            {"name": "shm", "emptyDir": {"medium": "Memory"}},
        ],
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "automountServiceAccountToken": False,
        "tolerations": job["tolerations"],
        "nodeSelector": job["node_selectors"],
    }
    run = {RUN_LABEL: job["run_id"]}
    sidecar = {SIDECAR_LABEL: "false"}
    return {"metadata": {"labels": {**run, **sidecar}, "annotations": sidecar}, "spec": pod}


def pytorchjob_manifest(job: dict, arguments: list, overlay: dict) -> dict:
    """The PyTorchJob that runs torchrun with these arguments on job["nodes"] pods.

    A failed pod fails the job, since torchrun can't replace single ranks: the stage starts the job again. Labels: the
    run, and a hash of everything that decides what the job does.

    Args:
        overlay: changes to the pod template, for `merge_overlay`; {} for none.
    """
    template = merge_overlay(training_pod(job, arguments), overlay)
    counts = {"Master": 1, "Worker": job["nodes"] - 1}
    spec = {
        "nprocPerNode": str(job["gpus"] or 1),
        "runPolicy": {
            # The failed pods stay, with their logs. With a backoffLimit the operator would delete them all.
            "cleanPodPolicy": "Running",
            "activeDeadlineSeconds": job["pending"] + job["timeout"],
            "ttlSecondsAfterFinished": 86400,
        },
        "pytorchReplicaSpecs": {
            role: {"replicas": count, "restartPolicy": "Never", "template": template}
            for role, count in counts.items()
            if count
        },
    }
    run = {RUN_LABEL: job["run_id"], INPUTS_LABEL: inputs_hash(spec)}
    # A queue (Kueue) looks at the labels of the job, and suspends it until its turn; an empty name is none.
    queue = {QUEUE_LABEL: job["queue"]} if job["queue"] else {}
    own = {"name": job["name"], "labels": {**run, **queue}}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": merge_overlay(overlay.get("metadata"), own),
        "spec": spec,
    }
