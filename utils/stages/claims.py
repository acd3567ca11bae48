"""The run's volume claim: made when the run starts, deleted when it ends. On one machine it is a directory."""

from typing import Any, Callable

from utils.stages.outcome import failure


def kube_namespace() -> str:
    """Connect the kubernetes client and return the namespace: the pod's own, or that of the kubeconfig's context."""
    import os

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
    import time

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
    import os

    from kubernetes import client

    try:
        pod = kube_call(client.CoreV1Api().read_namespaced_pod, os.uname().nodename, namespace)
    except client.ApiException as error:
        print(f"the objects made here get no owner: the own pod could not be read ({error.status})", flush=True)
        return []
    owners = pod.metadata.owner_references or []
    return [{"apiVersion": o.api_version, "kind": o.kind, "name": o.name, "uid": o.uid} for o in owners]


def make_claim(namespace: str, manifest: dict) -> Any:
    """Make a claim; returns the one of its name that is there already, None when it was made now.

    One that goes, since it was deleted or since what it belongs to was, is waited for.

    Raises:
        SystemExit: the API refuses it, or the one that goes is still there after five minutes.
    """
    import time

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
    """Make the claim `ilab-<run_id>`; one that this run made before is used again when it is the same.

    It belongs to the objects in ILAB_RUN_OWNER (JSON, ownerReferences), else to the owner of the pod this runs in.

    Args:
        size: like 100Gi.
        storage_class: "" for the cluster's default.
        access_mode: ReadWriteMany when training has several pods.

    Returns:
        its name. It need not be bound yet.

    Raises:
        SystemExit: a claim of this name is another run's, or has another size, class or access mode.
    """
    import json
    import os

    name = f"ilab-{run_id}"
    local = os.environ.get("ILAB_CLAIMS_DIR")
    if local:
        os.makedirs(os.path.join(local, name), exist_ok=True)
        return name
    from kubernetes.utils import parse_quantity

    namespace = kube_namespace()
    spec: dict = {"accessModes": [access_mode], "resources": {"requests": {"storage": size}}}
    if storage_class:
        spec["storageClassName"] = storage_class
    owners = json.loads(os.environ.get("ILAB_RUN_OWNER", "[]")) or pod_owners(namespace)
    metadata = {"name": name, "labels": {"ilab-pipeline/run": run_id}, "ownerReferences": owners}
    found = make_claim(namespace, {"metadata": metadata, "spec": spec})
    if found is None:
        print(f"volume claim {name}: {size}, class {storage_class or '(default)'}", flush=True)
        return name
    there = found.spec.resources.requests["storage"]
    same = (found.metadata.labels or {}).get("ilab-pipeline/run") == run_id
    same = same and parse_quantity(there) == parse_quantity(size) and found.spec.access_modes == [access_mode]
    if not same or (storage_class and found.spec.storage_class_name != storage_class):
        raise failure(
            f"a volume claim {name} is there already and is not the one wanted",
            f"it has {there}, class {found.spec.storage_class_name}, {found.spec.access_modes}",
            f"kubectl -n {namespace} delete pvc {name}, or keep size and class of the first try",
        )
    print(f"volume claim {name} is there already", flush=True)
    return name


def delete_run_objects(run_id: str, keep_claim: bool) -> None:
    """Delete the run's PyTorchJobs and, unless it is kept, its volume claim. What is gone already is fine.

    Raises:
        SystemExit: something could not be deleted; the rest was.
    """
    import os
    import shutil

    name = f"ilab-{run_id}"
    local = os.environ.get("ILAB_CLAIMS_DIR")
    if local:
        if not keep_claim:
            shutil.rmtree(os.path.join(local, name), ignore_errors=True)
        return
    from kubernetes import client

    namespace = kube_namespace()
    jobs, problems = ("kubeflow.org", "v1", namespace, "pytorchjobs"), []
    custom, core = client.CustomObjectsApi(), client.CoreV1Api()

    def attempt(what: str, call: Callable, *arguments: Any, **options: Any) -> dict:
        try:
            return kube_call(call, *arguments, **options)
        except client.ApiException as error:
            if error.status != 404:  # it is gone; or the kind is unknown: no training operator, no jobs
                problems.append(f"{what}: {error.status} {error.reason}")
            return {"items": []}

    label = f"ilab-pipeline/run={run_id}"
    found = attempt("PyTorchJobs", custom.list_namespaced_custom_object, *jobs, label_selector=label)
    for job in [job["metadata"]["name"] for job in found["items"]]:
        print(f"deleting PyTorchJob {job}", flush=True)
        attempt(f"PyTorchJob {job}", custom.delete_namespaced_custom_object, *jobs, job)
    if not keep_claim:
        attempt(f"volume claim {name}", core.delete_namespaced_persistent_volume_claim, name, namespace)
    if problems:
        raise failure(
            f"not everything of the run {run_id} could be deleted in {namespace}",
            "; ".join(problems),
            f"kubectl -n {namespace} delete pytorchjobs,pvc -l ilab-pipeline/run={run_id}",
        )
