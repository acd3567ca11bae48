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
    """The answer of a method of the kubernetes client. An API server that is away for a minute or two is waited for.

    Just after its start it refuses with 401 or 403, as it has not read its roles yet: believed the fourth time.

    Raises:
        client.ApiException: it refused.
        SystemExit: it stayed away.
    """
    import time

    import urllib3
    from kubernetes import client

    for attempt in range(1, 31):
        try:
            return call(*arguments, **options)
        except client.ApiException as error:
            if attempt == 30 or error.status not in (401, 403, 429, 500, 502, 503, 504):
                raise
            if error.status in (401, 403) and attempt > 3:
                raise
        except urllib3.exceptions.HTTPError as error:
            problem = f"{type(error).__name__}: {error}"
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
    from kubernetes import client

    namespace = kube_namespace()
    spec: dict = {"accessModes": [access_mode], "resources": {"requests": {"storage": size}}}
    if storage_class:
        spec["storageClassName"] = storage_class
    labels = {"ilab-pipeline/run": run_id}
    owners = json.loads(os.environ.get("ILAB_RUN_OWNER", "[]")) or pod_owners(namespace)
    metadata = {"name": name, "labels": labels, "ownerReferences": owners}
    api = client.CoreV1Api()
    try:
        kube_call(api.create_namespaced_persistent_volume_claim, namespace, {"metadata": metadata, "spec": spec})
        print(f"volume claim {name}: {size}, class {storage_class or '(default)'}", flush=True)
    except client.ApiException as error:
        if error.status != 409:
            raise failure(
                f"the volume claim {name} could not be made in {namespace} ({error.status})",
                str(error.body),
                "let the pod's service account create persistentvolumeclaims, or correct size and class",
            ) from None
        found = kube_call(api.read_namespaced_persistent_volume_claim, name, namespace)
        there = {"labels": found.metadata.labels or {}, "size": found.spec.resources.requests["storage"]}
        same = there["labels"].get("ilab-pipeline/run") == run_id and there["size"] == size
        same = same and found.spec.access_modes == [access_mode]
        if not same or (storage_class and found.spec.storage_class_name != storage_class):
            raise failure(
                f"a volume claim {name} is there already and is not the one wanted",
                f"it has {there['size']}, class {found.spec.storage_class_name}, {found.spec.access_modes}",
                f"kubectl -n {namespace} delete pvc {name}, or keep size and class of the first try",
            ) from None
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
    try:
        label = f"ilab-pipeline/run={run_id}"
        found = kube_call(custom.list_namespaced_custom_object, *jobs, label_selector=label)
        for job in found["items"]:
            print(f"deleting PyTorchJob {job['metadata']['name']}", flush=True)
            kube_call(custom.delete_namespaced_custom_object, *jobs, job["metadata"]["name"])
    except client.ApiException as error:
        if error.status != 404:  # the kind is unknown: no training operator, no jobs
            problems.append(f"PyTorchJobs: {error.status} {error.reason}")
    try:
        if not keep_claim:
            kube_call(core.delete_namespaced_persistent_volume_claim, name, namespace)
    except client.ApiException as error:
        if error.status != 404:
            problems.append(f"volume claim {name}: {error.status} {error.reason}")
    if problems:
        raise failure(
            f"not everything of the run {run_id} could be deleted in {namespace}",
            "; ".join(problems),
            f"kubectl -n {namespace} delete pytorchjobs,pvc -l ilab-pipeline/run={run_id}",
        )
