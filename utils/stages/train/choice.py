"""Which launcher trains where `train_launcher` is auto, and why; and which dialect of TrainJobs a cluster serves."""

import os
from dataclasses import dataclass, replace

from utils.cluster.client import Client
from utils.cluster.errors import ClusterError
from utils.cluster.kinds import PYTORCH_JOB, TRAIN_JOB, TRAINING_RUNTIME, Kind
from utils.cluster.objects import get
from utils.names import CLAIMS_DIR
from utils.stages.cluster import may, stage_cluster

LAUNCHERS = "auto, trainjob, pytorchjob or process"
KINDS_OF = {"trainjob": (TRAIN_JOB, TRAINING_RUNTIME), "pytorchjob": (PYTORCH_JOB,)}
"""What a launcher creates in the cluster; another creates nothing there."""
VERBS = ("create", "get", "list", "delete")
"""What it does with that."""
DIALECTS = {"podSpecOverrides": "2.0", "podTemplateOverrides": "2.1", "runtimePatches": "2.2"}
"""Field of a TrainJob that no other version of Kubeflow Trainer has, and the first version that has it."""


@dataclass(frozen=True)
class Choice:
    """A launcher, and why it is this one."""

    launcher: str
    why: str


def served(cluster: Client, kind: Kind) -> bool:
    """Whether the cluster serves a kind. Every account may ask that, also one that may not use it.

    Raises:
        ClusterError: it is unknown.
    """
    try:
        found = cluster.request("get", Kind("APIResourceList", kind.base.removeprefix("/apis/"), "/apis", False))
    except ClusterError as error:
        if error.status != 404:
            raise
        return False
    return any(resource["name"] == kind.plural for resource in found["resources"])


def dialect(cluster: Client) -> str:
    """The version of Kubeflow Trainer whose TrainJobs the cluster serves: 2.0, 2.1, 2.2 (and newer), or unknown.

    Its OpenAPI document may be read by every account, as the discovery of kinds.
    """
    try:
        found = cluster.request(
            "get", replace(TRAIN_JOB, plural="", base="/openapi/v3" + TRAIN_JOB.base, namespaced=False)
        )
    except ClusterError as error:
        print(f"the dialect of TrainJobs is unknown: {error.what}", flush=True)
        return "unknown"
    schemas = found["components"]["schemas"].items()
    fields = [schema["properties"]["spec"]["properties"] for name, schema in schemas if name.endswith(".TrainJob")]
    return next((version for field, version in DIALECTS.items() if fields and field in fields[0]), "unknown")


def denied(cluster: Client, launcher: str) -> list[str]:
    """What the account may not do that the launcher does, like `create trainjobs`."""
    asked = [(kind, verb) for kind in KINDS_OF[launcher] for verb in VERBS]
    return [f"{verb} {kind.plural}" for kind, verb in asked if not may(cluster, kind, verb)]


def is_there(cluster: Client, kind: Kind, name: str) -> bool:
    """Whether an object is there. What is not served, or may not be read, is not there."""
    try:
        return get(cluster, kind, name) is not None
    except ClusterError as error:
        if error.status != 403:
            raise
        return False


def choose_launcher(asked: str, earlier: str = "") -> Choice:
    """The launcher to use: TrainJobs where they are served and allowed, else PyTorchJobs; on one machine, the process.

    Where there are only TrainJobs, they are chosen also when they are not allowed: that must be corrected.

    Args:
        asked: the parameter train_launcher.
        earlier: name of the PyTorchJob that an earlier try may have left: two must not train into one folder.

    Raises:
        SystemExit: the API server stayed away.
    """
    if asked != "auto":
        return Choice(asked, "train_launcher names it")
    if CLAIMS_DIR in os.environ:
        return Choice("process", "this is one machine")
    with stage_cluster() as cluster:
        if not served(cluster, TRAIN_JOB):
            return Choice("pytorchjob", "the cluster has no TrainJobs")
        why = f"the cluster has TrainJobs (dialect {dialect(cluster)})"
        missing = denied(cluster, "trainjob")
        if missing and served(cluster, PYTORCH_JOB):
            return Choice("pytorchjob", f"{why}, but this account may not {', '.join(missing)}")
        if earlier and is_there(cluster, PYTORCH_JOB, earlier):
            return Choice("pytorchjob", f"an earlier try left the PyTorchJob {earlier}")
        return Choice("trainjob", why)
