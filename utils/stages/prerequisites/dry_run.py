"""Whether the API server takes the objects that ask for GPUs: it is asked to create them, in a dry run.

It checks them as it would later, with all its admission: tolerations, labels, quantities, pod security. Nothing is
kept (https://kubernetes.io/docs/reference/using-api/api-concepts/#dry-run).
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

from utils.cluster.client import Client
from utils.cluster.errors import ClusterError
from utils.cluster.kinds import JOB, POD, PYTORCH_JOB, TRAIN_JOB, TRAINING_RUNTIME, Kind
from utils.cluster.objects import Object
from utils.cluster.pod_overlay import merge_overlay
from utils.names import POD_OVERLAY
from utils.stages.cluster import stage_cluster
from utils.stages.prerequisites.findings import WARNING, Finding
from utils.stages.train.choice import KINDS_OF, choose_launcher
from utils.stages.train.pods import training_pod
from utils.stages.train.pytorchjob import pytorchjob_manifest
from utils.stages.train.trainjob import trainjob_manifests

NAME = "ilab-dry-run"
REMEDY = "correct it: train_tolerations, train_node_selectors, train_*_per_worker, *_gpu_identifier, or k8s_queue"


def check_gpu_pods(launcher: str, queue: str, given: Mapping[str, Any]) -> list[Finding]:
    """Findings about training's job and pod, and evaluation's pod; none outside a cluster.

    Args:
        launcher: the parameter train_launcher.
        queue: the parameter k8s_queue.
        given: the pipeline's parameters by name.
    """
    if not os.environ.get("KUBERNETES_SERVICE_HOST"):
        return []
    launcher = choose_launcher(launcher).launcher
    found: dict[str, Finding] = {}
    with stage_cluster() as cluster:
        for what, kind, manifest in gpu_objects(launcher, queue, given):
            finding = refusal(cluster, kind, manifest)
            if finding and finding.problem not in found:  # the same for training and evaluation
                found[finding.problem] = Finding(f"{what}: {finding.problem}", finding.remedy, finding.level)
    return list(found.values())


def gpu_objects(launcher: str, queue: str, given: Mapping[str, Any]) -> Iterator[tuple[str, Kind, Object]]:
    """What the run will create for GPUs: what it is, its kind, its manifest."""
    names = {name.removeprefix("train_"): value for name, value in given.items() if name.startswith("train_")}
    fixed = {
        "run_id": "dry-run",
        "progress": True,
        "data_dir": "/data",
        "output": "/data",
        "volume_claim": "volume",
        "queue": queue,
    }
    training: Any = SimpleNamespace(**{"image": "image"} | names | fixed)
    overlay = json.loads(os.environ.get(POD_OVERLAY, "{}"))
    pod = merge_overlay(training_pod(training, [], "trainer"), overlay)
    if launcher == "pytorchjob":
        yield "training's PyTorchJob", PYTORCH_JOB, pytorchjob_manifest(training, [], overlay, 3600)
    if launcher == "trainjob":
        for kind, manifest in zip(
            (TRAINING_RUNTIME, TRAIN_JOB), trainjob_manifests(training, [], overlay, 3600, NAME), strict=True
        ):
            yield f"training's {kind.name}", kind, manifest
    if launcher in KINDS_OF:
        yield "training's pod", POD, pod
    first, *others = pod["spec"]["containers"]
    containers = [first | {"resources": {"limits": {given["eval_gpu_identifier"]: given["eval_gpus"]}}}, *others]
    yield "evaluation's pod", POD, pod | {"spec": pod["spec"] | {"containers": containers}}


def refusal(cluster: Client, kind: Kind, manifest: Object) -> Finding | None:
    """Why the API server does not take an object, None if it does or if it can't be asked.

    Where pods may not be created, as on plain Kubernetes, a Job of the pod is tried instead.
    """
    body = {"apiVersion": "v1", "kind": kind.name, **manifest}
    body["metadata"] = {**body["metadata"], "name": NAME}
    if kind == JOB:
        spec = {"template": {**manifest, "spec": {**manifest["spec"], "restartPolicy": "Never"}}}
        body |= {"apiVersion": "batch/v1", "spec": spec}
    try:
        cluster.request("create", kind, "", body, {"dryRun": "All", "fieldValidation": "Strict"})
    except ClusterError as error:
        said = re.search(r'"message":\s*"((?:\\.|[^"\\])*)', error.cause)
        told = " ".join(json.loads(f'"{said[1]}"').split()) if said else error.cause
        if error.status == 403 and "cannot create resource" in told:
            return refusal(cluster, JOB, manifest) if kind == POD else None  # `rights` names what is missing
        if error.status in (0, 404, *range(500, 600)) or "dry run" in told:
            print(f"{kind.name}: not tried in a dry run: {error.what}: {told}", flush=True)
            return None
        if kind == TRAIN_JOB and "must be created before" in told:
            return None  # all that Kubeflow Trainer misses is the runtime, which is not there after a dry run
        if "exceeded quota" in told:
            return Finding(told, "wait until the quota has room, or ask for less", WARNING)
        return Finding(told, REMEDY)
    return None
