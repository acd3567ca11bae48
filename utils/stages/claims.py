"""The run's volume claim: made when the run starts, deleted when it ends. On one machine it is a directory."""

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


def pod_owners(namespace: str) -> list:
    """ownerReferences of the pod this runs in (its Workflow or Job), [] when the pod may not be read or is not one."""
    import os

    from kubernetes import client

    try:
        pod = client.CoreV1Api().read_namespaced_pod(os.uname().nodename, namespace)
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
        api.create_namespaced_persistent_volume_claim(namespace, {"metadata": metadata, "spec": spec})
        print(f"volume claim {name}: {size}, class {storage_class or '(default)'}", flush=True)
    except client.ApiException as error:
        if error.status != 409:
            raise failure(
                f"the volume claim {name} could not be made in {namespace} ({error.status})",
                str(error.body),
                "let the pod's service account create persistentvolumeclaims, or correct size and class",
            ) from None
        found = api.read_namespaced_persistent_volume_claim(name, namespace)
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
        found = custom.list_namespaced_custom_object(*jobs, label_selector=f"ilab-pipeline/run={run_id}")
        for job in found["items"]:
            print(f"deleting PyTorchJob {job['metadata']['name']}", flush=True)
            custom.delete_namespaced_custom_object(*jobs, job["metadata"]["name"])
    except client.ApiException as error:
        if error.status != 404:  # the kind is unknown: no training operator, no jobs
            problems.append(f"PyTorchJobs: {error.status} {error.reason}")
    try:
        if not keep_claim:
            core.delete_namespaced_persistent_volume_claim(name, namespace)
    except client.ApiException as error:
        if error.status != 404:
            problems.append(f"volume claim {name}: {error.status} {error.reason}")
    if problems:
        raise failure(
            f"not everything of the run {run_id} could be deleted in {namespace}",
            "; ".join(problems),
            f"kubectl -n {namespace} delete pytorchjobs,pvc -l ilab-pipeline/run={run_id}",
        )
