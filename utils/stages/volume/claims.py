"""The run's volume claim, made when the run starts. On one machine it is a directory."""

import json
import os
import time
from typing import Any, Callable

from utils.messages import failure
from utils.names import CLAIMS_DIR, KFP_RUN_LABEL, OUTCOME_ANNOTATION, RUN_LABEL, RUN_OWNER, claim_name


def kube_namespace() -> str:
    """Connect the kubernetes client and return the namespace: the pod's own, or that of the kubeconfig's context."""
    from kubernetes import config

    own = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
    if os.path.exists(own):
        config.load_incluster_config()
        with open(own) as file:
            return file.read().strip()
    config.load_kube_config()
    return config.list_kube_config_contexts()[1]["context"].get("namespace", "default")


def kube_call(call: Callable, *arguments: Any, **options: Any) -> Any:
    """The answer of a method of the kubernetes client. An API server that is away is waited for: two minutes, five when
    it takes connections but never answers.

    Just after its start it refuses with 401 or 403, as it has not read its roles yet: believed the fourth time.

    Raises:
        client.ApiException: it refused.
        SystemExit: it stayed away.
    """
    import urllib3
    from kubernetes import client

    end = time.monotonic() + 300
    for attempt in range(1, 31):
        try:
            return call(*arguments, **{"_request_timeout": 60, **options})
        except client.ApiException as error:
            if attempt == 30 or error.status not in (401, 403, 429, 500, 502, 503, 504):
                raise
            if error.status in (401, 403) and attempt > 3:
                raise
        except urllib3.exceptions.HTTPError as error:
            problem = f"{type(error).__name__}: {error}"
            if time.monotonic() > end:
                break
        time.sleep(min(attempt, 5))
    raise failure("the Kubernetes API server stayed away", problem, "run it again when it is back")


def pod_owners(namespace: str) -> list:
    """ownerReferences of the pod this runs in (its Workflow or Job), [] when the pod may not be read or is not one."""
    from kubernetes import client

    try:
        pod = kube_call(client.CoreV1Api().read_namespaced_pod, os.uname().nodename, namespace)
    except client.ApiException as error:
        print(f"the objects made here get no owner: the own pod could not be read ({error.status})", flush=True)
        return []
    owners = pod.metadata.owner_references or []
    return [{"apiVersion": o.api_version, "kind": o.kind, "name": o.name, "uid": o.uid} for o in owners]


def run_owners(namespace: str) -> list:
    """ownerReferences of what belongs to the run: the objects in ILAB_RUN_OWNER (JSON), else this pod's owners."""
    return json.loads(os.environ.get(RUN_OWNER, "[]")) or pod_owners(namespace)


def make_claim(namespace: str, manifest: dict) -> Any:
    """Make a claim; returns the one of its name that already exists, None when it was created now.

    One that goes, since it was deleted or since what it belongs to was, is waited for.

    Raises:
        SystemExit: the API refuses it, or the one that goes is still there after five minutes.
    """
    from kubernetes import client

    api, name = client.CoreV1Api(), manifest["metadata"]["name"]
    owners = {owner["uid"] for owner in manifest["metadata"]["ownerReferences"]}
    for _ in range(60):
        try:
            kube_call(api.create_namespaced_persistent_volume_claim, namespace, manifest)
            return None
        except client.ApiException as error:
            if error.status != 409:
                raise failure(
                    f"the volume claim {name} could not be made in {namespace} ({error.status})",
                    str(error.body),
                    "let the pod's service account create persistentvolumeclaims, or correct size and class",
                ) from None
        try:
            found = kube_call(api.read_namespaced_persistent_volume_claim, name, namespace)
            theirs = {owner.uid for owner in found.metadata.owner_references or []}
            if not found.metadata.deletion_timestamp and not (owners and theirs and not owners & theirs):
                return found
        except client.ApiException as error:
            if error.status != 404:
                raise
        time.sleep(5)
    raise failure(
        f"a volume claim {name} of an earlier run is there in {namespace} and does not go",
        "pods that still mount it keep it",
        f"kubectl -n {namespace} describe pvc {name}",
    )


def create_claim(run_id: str, size: str, storage_class: str, access_mode: str) -> str:
    """Make the claim `ilab-<run_id>`, which belongs to the run. One that it made before is used again if the same.

    Where its class binds at once, it is bound when this returns.

    Args:
        size: like 100Gi.
        storage_class: "" for the cluster's default.
        access_mode: ReadWriteMany when training has several pods.

    Returns:
        its name.

    Raises:
        SystemExit: a claim of this name is another run's, or has another size, class or access mode; or it can't be
            made or bound.
    """
    name = claim_name(run_id)
    local = os.environ.get(CLAIMS_DIR)
    if local:
        os.makedirs(os.path.join(local, name), exist_ok=True)
        if os.path.exists(os.path.join(local, name, "outcome")):
            os.remove(os.path.join(local, name, "outcome"))
        return name
    namespace = kube_namespace()
    spec: dict = {"accessModes": [access_mode], "resources": {"requests": {"storage": size}}}
    if storage_class:
        spec["storageClassName"] = storage_class
    owners, labels = run_owners(namespace), {RUN_LABEL: run_id}
    if "Workflow" in [owner["kind"] for owner in owners]:
        labels[KFP_RUN_LABEL] = run_id  # as the pods of Kubeflow Pipelines have it: one command removes both
    metadata = {"name": name, "labels": labels, "ownerReferences": owners}
    manifest = {"metadata": metadata, "spec": spec}
    found = make_claim(namespace, manifest)
    if found:
        use_again(namespace, found, manifest)
    else:
        print(f"volume claim {name}: {size}, class {storage_class or '(default)'}", flush=True)
    wait_bound(namespace, name)
    return name


def use_again(namespace: str, found: Any, manifest: dict) -> None:
    """Take a claim that already exists, if it is the one wanted; how the run ended before no longer counts.

    Raises:
        SystemExit: it is another run's, or has another size, class or access mode.
    """
    from kubernetes import client
    from kubernetes.utils import parse_quantity

    name, spec = manifest["metadata"]["name"], manifest["spec"]
    there, wanted = found.spec.resources.requests["storage"], spec["resources"]["requests"]["storage"]
    same = (found.metadata.labels or {}).get(RUN_LABEL) == manifest["metadata"]["labels"][RUN_LABEL]
    same = same and parse_quantity(there) == parse_quantity(wanted) and found.spec.access_modes == spec["accessModes"]
    if not same or spec.get("storageClassName") not in (None, found.spec.storage_class_name):
        raise failure(
            f"a volume claim {name} already exists and is not the one this run needs",
            f"it has {there}, class {found.spec.storage_class_name}, {found.spec.access_modes}",
            f"kubectl -n {namespace} delete pvc {name}, or keep size and class of the first try",
        )
    print(f"volume claim {name} already exists", flush=True)
    if OUTCOME_ANNOTATION in (found.metadata.annotations or {}):
        forget = {"metadata": {"annotations": {OUTCOME_ANNOTATION: None}}}
        kube_call(client.CoreV1Api().patch_namespaced_persistent_volume_claim, name, namespace, forget)


def wait_bound(namespace: str, name: str, seconds: float = 900, unknown_seconds: float = 60) -> None:
    """Wait until a claim is bound. One whose class waits for the first pod (WaitForFirstConsumer) is left as it is.

    Without the right to read the class, the claim's events tell which kind it is. Where these say nothing either, the
    run goes on after a while: it may be right.

    Args:
        seconds: deadline; file storage of a cloud takes minutes to make.
        unknown_seconds: how long to wait when neither class nor events tell anything, and for a class that is not
            there: only a volume that was made by hand can be bound then.

    Raises:
        SystemExit: it was not bound in time. The claim, on which nothing is, has been deleted.
    """
    from kubernetes import client

    core, started, told, modes = client.CoreV1Api(), time.monotonic(), "", {}
    while True:
        claim = kube_call(core.read_namespaced_persistent_volume_claim, name, namespace)
        if claim.status and claim.status.phase == "Bound":
            print(f"volume claim {name} is bound to {claim.spec.volume_name}", flush=True)
            return
        storage_class, passed = claim.spec.storage_class_name, time.monotonic() - started
        if storage_class not in modes:  # the cluster may give it one later
            modes[storage_class] = binding_mode(storage_class)
        mode, events = modes[storage_class], claim_events(namespace, claim)
        if "WaitForFirstConsumer" in (mode or [reason for reason, _ in events]):
            print(f"volume claim {name} is bound when the first pod mounts it", flush=True)
            return
        if not mode and not events and passed > unknown_seconds:
            print(f"volume claim {name} is not bound, and neither class nor events tell why: going on", flush=True)
            return
        news = "; ".join(dict.fromkeys(message for _, message in events))
        if news != told:
            told = news
            print(f"volume claim {name} is not bound yet: {news}", flush=True)
        missing = mode == "missing" or f'"{storage_class}" not found' in news
        deadline = min(seconds, unknown_seconds) if missing else seconds
        if passed > deadline:
            break
        time.sleep(2)
    kube_call(core.delete_namespaced_persistent_volume_claim, name, namespace)
    none = "" if storage_class else "it has no storage class, and the cluster has no default one; "
    raise failure(
        f"the volume claim {name} in {namespace} was not bound within {deadline:g} s, and is deleted again",
        none + (told or "no event says why"),
        "mend that, or choose a class that offers ReadWriteMany (kubectl get storageclass) with k8s_storage_class_name",
    )


def binding_mode(storage_class: str | None) -> str:
    """Immediate or WaitForFirstConsumer; "missing" when there is no class, "" when it may not be read."""
    from kubernetes import client

    if not storage_class:
        return "missing"
    try:
        found = kube_call(client.StorageV1Api().read_storage_class, storage_class)
    except client.ApiException as error:
        return "missing" if error.status == 404 else ""
    return found.volume_binding_mode or "Immediate"


def claim_events(namespace: str, claim: Any) -> list:
    """(reason, message) of a claim's events, the newest last; [] when they may not be read."""
    from kubernetes import client

    selector = f"involvedObject.kind=PersistentVolumeClaim,involvedObject.uid={claim.metadata.uid}"
    try:
        found = kube_call(client.CoreV1Api().list_namespaced_event, namespace, field_selector=selector).items
    except client.ApiException:
        return []
    found = [event for event in found if event.involved_object.uid == claim.metadata.uid]
    found.sort(key=lambda event: str(event.last_timestamp or event.event_time or event.metadata.creation_timestamp))
    return [(event.reason, event.message) for event in found]
