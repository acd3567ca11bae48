"""The run's volume claim, made when the run starts. On one machine it is a directory."""

import os
from dataclasses import dataclass
from pathlib import Path

from utils.cluster.client import Client
from utils.cluster.errors import ClusterError
from utils.cluster.kinds import STORAGE_CLASS, VOLUME_CLAIM
from utils.cluster.objects import Object, create, delete, events_of, get, patch
from utils.messages import failure
from utils.names import CLAIMS_DIR, KFP_RUN_LABEL, OUTCOME_ANNOTATION, RUN_LABEL, claim_name, is_object_name
from utils.stages.cluster import Owner, run_owners, stage_cluster
from utils.stages.volume.storage import require_shared_storage

UNFINISHED = "the run did not get to its end: a task failed, or it was stopped"
"""What is noted on a claim from the end of the checks to the end of the run."""
REVIEWED = "the run did not get to its end: it waits for review, a task failed, or it was stopped"
"""The same for a run whose samples are reviewed: such a claim stays, whatever k8s_keep_volume says."""


@dataclass(frozen=True)
class VolumeClaim:
    """The volume claim that a run wants: the parameters of the component `create_volume`.

    Attributes:
        run_id: id of the run; the claim is `ilab-<run_id>`.
        size: like 100Gi.
        storage_class: "" for the cluster's default.
        access_mode: ReadWriteMany when training has several pods.
    """

    run_id: str
    size: str
    storage_class: str
    access_mode: str

    def manifest(self, owners: list[Owner]) -> Object:
        """The claim as the cluster wants it, which goes with these owners."""
        spec: Object = {"accessModes": [self.access_mode], "resources": {"requests": {"storage": self.size}}}
        if self.storage_class:
            spec["storageClassName"] = self.storage_class
        labels = {RUN_LABEL: self.run_id}
        if "Workflow" in [owner["kind"] for owner in owners]:
            labels[KFP_RUN_LABEL] = self.run_id  # as the pods of Kubeflow Pipelines have it: one command removes both
        metadata = {"name": claim_name(self.run_id), "labels": labels, "ownerReferences": owners}
        return {"metadata": metadata, "spec": spec}


def claim_of(run_id: str) -> tuple[str, Path | None]:
    """The name of a run's claim, and the directory that it is on one machine; None in a cluster.

    Raises:
        SystemExit: it can't be the id of a run: it would make a path.
    """
    local, name = os.environ.get(CLAIMS_DIR), claim_name(run_id)
    if not is_object_name(run_id, label=True) or not is_object_name(name):
        raise failure(f"{run_id!r} can't be the id of a run", "it names the volume claim", "use a-z, 0-9 and -")
    return name, Path(local, name) if local else None


def create_claim(wanted: VolumeClaim) -> str:
    """Make the claim, which belongs to the run. One that the run made before is used again if it is the same.

    Where its class binds at once, it is bound when this returns.

    Returns:
        its name.

    Raises:
        SystemExit: the size is not a quantity; a claim of this name is another run's, or has another size, class or
            access mode; it can't be made or bound; or volumes of its class can be mounted on one node only.
    """
    name, folder = claim_of(wanted.run_id)
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "outcome").exists():
            (folder / "outcome").write_text(UNFINISHED)
        return name
    require_size(wanted.size)
    with stage_cluster() as cluster:
        manifest = wanted.manifest(run_owners(cluster))
        if not get(cluster, VOLUME_CLAIM, name):
            require_shared_storage(cluster, wanted.storage_class)
        found = make_claim(cluster, manifest)
        if found:
            use_again(cluster, found, manifest)
        else:
            print(f"volume claim {name}: {wanted.size}, class {wanted.storage_class or '(default)'}", flush=True)
        wait_bound(cluster, name)
    return name


def require_size(size: str) -> None:
    """End the stage unless the size is a quantity; `200GB` is none."""
    from kubernetes.utils import parse_quantity

    try:
        parse_quantity(size)
    except ValueError:
        cause = "it is not a quantity of Kubernetes"
        raise failure(f"k8s_storage_size is {size!r}", cause, "give a number with Gi or Ti, such as 100Gi") from None


def make_claim(cluster: Client, manifest: Object) -> Object | None:
    """Make a claim; returns the one of its name that already exists, None when it was created now.

    One that goes, since it was deleted or since what it belongs to was, is waited for.

    Raises:
        ClusterError: the API refuses it.
        SystemExit: the one that goes is still there after five minutes.
    """
    name = manifest["metadata"]["name"]
    owners = _uids(manifest)
    for _ in range(60):
        try:
            create(cluster, VOLUME_CLAIM, manifest)
        except ClusterError as error:
            if error.status != 409:
                raise
        else:
            return None
        found = get(cluster, VOLUME_CLAIM, name)
        if found and "deletionTimestamp" not in found["metadata"]:
            theirs = _uids(found)
            if not owners or not theirs or owners & theirs:
                return found
        cluster.sleep(5)
    raise failure(
        f"a volume claim {name} of an earlier run is there in {cluster.namespace} and does not go",
        "pods that still mount it keep it",
        f"kubectl -n {cluster.namespace} describe pvc {name}",
    )


def _uids(claim: Object) -> set[str]:
    return {owner["uid"] for owner in claim["metadata"].get("ownerReferences", [])}


def use_again(cluster: Client, found: Object, manifest: Object) -> None:
    """Take a claim that already exists, if it is the one wanted; how the run ended before no longer counts.

    Raises:
        SystemExit: it is another run's, or has another size, class or access mode.
    """
    from kubernetes.utils import parse_quantity

    def facts(claim: Object) -> list[object]:
        spec = claim["spec"]
        run = claim["metadata"].get("labels", {}).get(RUN_LABEL)
        return [run, parse_quantity(spec["resources"]["requests"]["storage"]), spec["accessModes"]]

    spec, name = found["spec"], manifest["metadata"]["name"]
    there = spec.get("storageClassName")
    if facts(found) != facts(manifest) or manifest["spec"].get("storageClassName", there) != there:
        raise failure(
            f"a volume claim {name} already exists and is not the one this run needs",
            f"it has {spec['resources']['requests']['storage']}, class {there}, {spec['accessModes']}",
            f"kubectl -n {cluster.namespace} delete pvc {name}, or keep size and class of the first try",
        )
    print(f"volume claim {name} already exists", flush=True)
    if OUTCOME_ANNOTATION in found["metadata"].get("annotations", {}):
        patch(cluster, VOLUME_CLAIM, name, {"metadata": {"annotations": {OUTCOME_ANNOTATION: UNFINISHED}}})


def wait_bound(cluster: Client, name: str, seconds: float = 900, unknown_seconds: float = 60) -> None:
    """Wait until a claim is bound. One whose class waits for the first pod (WaitForFirstConsumer) is left as it is.

    Without the right to read the class, the claim's events show which kind it is. Where these say nothing either, the
    run continues after a while: it may be right.

    Args:
        seconds: deadline; file storage of a cloud takes minutes to make.
        unknown_seconds: how long to wait when neither class nor events tell anything, and for a class that is not
            there: only a volume that was made by hand can be bound then.

    Raises:
        SystemExit: it was not bound in time. The claim, on which nothing is, has been deleted.
    """
    started, told, modes = cluster.clock(), "", dict[str, str]()
    while True:
        claim = cluster.request("get", VOLUME_CLAIM, name)
        if claim.get("status", {}).get("phase") == "Bound":
            print(f"volume claim {name} is bound to {claim['spec'].get('volumeName')}", flush=True)
            return
        storage_class, passed = claim["spec"].get("storageClassName", ""), cluster.clock() - started
        if storage_class not in modes:  # the cluster may give it one later
            modes[storage_class] = binding_mode(cluster, storage_class)
        mode, uid = modes[storage_class], claim["metadata"]["uid"]
        events = [one for one in events_of(cluster, VOLUME_CLAIM, name) if one["involvedObject"]["uid"] == uid]
        if "WaitForFirstConsumer" in (mode or [event["reason"] for event in events]):
            print(f"volume claim {name} is bound when the first pod mounts it", flush=True)
            return
        if not mode and not events and passed > unknown_seconds:
            print(f"volume claim {name} is not bound, and neither class nor events say why: continuing", flush=True)
            return
        news = "; ".join(dict.fromkeys(event["message"] for event in events))
        if news != told:
            told = news
            print(f"volume claim {name} is not bound yet: {news}", flush=True)
        missing = mode == "missing" or f'"{storage_class}" not found' in news
        deadline = min(seconds, unknown_seconds) if missing else seconds
        if passed > deadline:
            break
        cluster.sleep(2)
    delete(cluster, VOLUME_CLAIM, name, "Background")
    none = "" if storage_class else "it has no storage class, and the cluster has no default one; "
    raise failure(
        f"the volume claim {name} in {cluster.namespace} was not bound within {deadline:g} s, and is deleted again",
        none + (told or "no event says why"),
        "correct that, or choose a class that offers ReadWriteMany with k8s_storage_class_name",
    )


def binding_mode(cluster: Client, storage_class: str) -> str:
    """Immediate or WaitForFirstConsumer; "missing" when there is no class, "" when it may not be read."""
    try:
        found = get(cluster, STORAGE_CLASS, storage_class) if storage_class else None
    except ClusterError as error:
        if error.status != 403:
            raise
        return ""
    return found.get("volumeBindingMode", "Immediate") if found else "missing"
