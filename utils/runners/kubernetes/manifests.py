"""From a task to the Job that runs it. Pure: nothing here asks a cluster."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from utils.cluster.pod_overlay import merge_overlay
from utils.ir.claims import checked_name
from utils.ir.command import executor_input, resolve_command, runs_executor
from utils.ir.model import EnvFrom, Mount, RunIds, Task
from utils.names import (
    API_LABEL,
    ATTEMPT_LABEL,
    HASH_LABEL,
    POD_OVERLAY,
    QUEUE_LABEL,
    RUN_LABEL,
    RUN_OWNER,
    SHM_LABEL,
    SIDECAR_LABEL,
    TASK_LABEL,
)
from utils.queues import LONGEST_WAIT
from utils.runners.kubernetes.affinity import affinity
from utils.runners.settings import PENDING_SECONDS

Manifest = dict[str, Any]

CONTAINER = "main"
TERMINATION_LOG = "/dev/termination-log"
"""The kubelet puts what a container writes here, up to 4096 bytes, into the pod's status."""

# Pods' names are a Job's with six characters more.
_LONGEST_NAME = 57
_LONGEST_LABEL = 63
_LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
# KFP's command is a shell that starts Python. As first process of the container it takes no SIGTERM and passes none on;
# so that stages can clean up, everything else in the container gets one.
_STOP = ("sh", "-c", "kill -s TERM -- -1")
_NO_SIDECAR = {SIDECAR_LABEL: "false"}
# Any user id has no home and no name: libraries get both here.
_ENVIRONMENT = {
    "HOME": "/tmp",
    "USER": "ilab",
    "HF_HOME": "/tmp/huggingface",
    "XDG_CACHE_HOME": "/tmp/cache",
    "TRITON_CACHE_DIR": "/tmp/triton",
    "TORCHINDUCTOR_CACHE_DIR": "/tmp/torchinductor",
    "MPLCONFIGDIR": "/tmp/matplotlib",
    "PYTHONUNBUFFERED": "1",
}


@dataclass(frozen=True)
class PodSettings:
    """What all pods of a run have in common.

    `owner` is the ownerReference to the run's object ({} in a dry run), `overlay` the user's patch for every pod.
    `pending_seconds` is how long a pod may wait before it starts, `queue_seconds` how long a queue may hold it back
    before that.
    """

    run_id: str
    namespace: str = ""
    owner: Mapping[str, Any] = field(default_factory=dict)
    service_account: str = ""
    overlay: Mapping[str, Any] = field(default_factory=dict)
    pending_seconds: float = PENDING_SECONDS
    queue_seconds: float = LONGEST_WAIT


def task_slug(task_id: str) -> str:
    """A task's id as label and file name: its slashes as dots; shortened, with a hash, if that is not a valid label."""
    slug = task_id.replace("/", ".")
    if len(slug) <= _LONGEST_LABEL and _LABEL.fullmatch(slug):
        return slug
    plain = re.sub(r"[^-A-Za-z0-9_.]+", "-", slug).strip("-_.")
    return f"{plain[: _LONGEST_LABEL - 9].strip('-_.') or 'task'}-{fingerprint(task_id)[:8]}"


def job_name(run_id: str, task_id: str, digest: str) -> str:
    """`<run id>-<task>-<8 characters of the hash>`; run id and task are cut where that is too long for a pod."""
    task = re.sub(r"[^a-z0-9]+", "-", task_id.rpartition("/")[2].lower()).strip("-")[:24].strip("-") or "task"
    run = run_id[: _LONGEST_NAME - len(task) - 10].strip("-")
    return f"{run}-{task}-{digest[:8]}"


def fingerprint(value: Any) -> str:
    """16 hexadecimal characters of the SHA-256 of a value's canonical JSON."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def claim_of(task: Task) -> Mount | None:
    """The claim that a task's artifacts go to: the first it mounts."""
    return next((mount for mount in task.mounts if mount.kind == "claim"), None)


def task_root(task: Task) -> str:
    """Where a task's artifacts go, in its container's eyes: on its claim, or else they end with the container."""
    claim = claim_of(task)
    folder = f"{claim.path.rstrip('/')}/.artifacts" if claim else "/tmp/artifacts"
    return f"{folder}/{task_slug(task.id)}"


def task_command(task: Task, ids: RunIds) -> list[str]:
    """The container's command line. What the task reports goes into the pod's status.

    Raises:
        TaskFailed: a placeholder names something the task doesn't have.
    """
    message = executor_input(task, task_root(task), output_file=TERMINATION_LOG)
    if not runs_executor(task.command):
        for parameter in message["outputs"]["parameters"].values():
            parameter["outputFile"] = TERMINATION_LOG
    return [*task.preamble, *resolve_command(task, message, ids)]


def job_manifest(task: Task, command: list[str], settings: PodSettings) -> dict[str, Any]:
    """The Job that runs one attempt at a task, in one pod that is replaced only when the cluster takes it away.

    Label `ilab-pipeline/hash` covers all that decides what the Job does; the attempt's number and deadlines do not.
    """
    run = {RUN_LABEL: settings.run_id, TASK_LABEL: task_slug(task.id)}
    template = _template(task, command, settings, run)
    disrupted = {"type": "DisruptionTarget", "status": "True"}
    spec: dict[str, Any] = {
        "backoffLimit": 0,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": [{"action": "Ignore", "onPodConditions": [disrupted]}]},
        "template": template,
    }
    queue = template["metadata"]["labels"].get(QUEUE_LABEL, "")
    digest = fingerprint([settings.run_id, task.id, spec])
    if task.timeout_seconds:
        # The runner keeps the deadlines; this ends a Job whose runner never comes back.
        waits = settings.pending_seconds + (settings.queue_seconds if queue else 0)
        spec["activeDeadlineSeconds"] = int(task.timeout_seconds + waits + 600)
    overlay = settings.overlay.get("metadata", {})
    labels = {**overlay.get("labels", {}), **run, HASH_LABEL: digest, ATTEMPT_LABEL: str(task.attempt)}
    if queue:
        labels[QUEUE_LABEL] = queue  # Kueue suspends the Job that has it, and leaves that Job's pods alone
    metadata: dict[str, Any] = {"name": job_name(settings.run_id, task.id, digest), "labels": labels}
    if overlay.get("annotations"):
        metadata["annotations"] = dict(overlay["annotations"])
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": owned(metadata, settings), "spec": spec}


def owned(metadata: Mapping[str, Any], settings: PodSettings) -> dict[str, Any]:
    """metadata with the run's namespace and owner, where these are known."""
    place = {"namespace": settings.namespace} if settings.namespace else {}
    owner = {"ownerReferences": [dict(settings.owner)]} if settings.owner else {}
    return {**metadata, **place, **owner}


def _template(task: Task, command: list[str], settings: PodSettings, run: dict[str, str]) -> dict[str, Any]:
    """The pod template, with the overlay merged in; the run's own labels stay as they are."""
    pod = task.kubernetes
    labels = {**_NO_SIDECAR, **pod.get("labels", {}), **run}
    if not _resources(pod.get("resources", {})).get("limits", {}).keys() - {"cpu", "memory"}:
        labels.pop(QUEUE_LABEL, None)  # with a number of 0 the task asks for no accelerator
    asks_api = labels.get(API_LABEL) == "true"
    volumes, mounts = _volumes(task)
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": asks_api,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [_container(task, command, mounts, _api_environment(settings) if asks_api else {})],
        "volumes": volumes,
        "nodeSelector": dict(pod.get("node_selector", {})),
        "tolerations": list(pod.get("tolerations", ())),
        "imagePullSecrets": [{"name": name} for name in pod.get("image_pull_secrets", ())],
        "affinity": affinity(pod.get("node_affinity", ()), pod.get("pod_affinity", ())),
        "serviceAccountName": settings.service_account,
    }
    metadata = {"labels": labels, "annotations": {**_NO_SIDECAR, **pod.get("annotations", {})}}
    wanted = {key: value for key, value in spec.items() if value not in ({}, [], "")}
    template: dict[str, Any] = merge_overlay({"metadata": metadata, "spec": wanted}, settings.overlay)
    template["metadata"]["labels"] = {**template["metadata"]["labels"], **run}
    return template


def _container(
    task: Task, command: list[str], mounts: list[dict[str, Any]], environment: Mapping[str, str]
) -> dict[str, Any]:
    pod = task.kubernetes
    security = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        **pod.get("security_context", {}),
    }
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": task.image,
        "imagePullPolicy": pod.get("image_pull_policy", ""),
        "command": [_literal(part) for part in command],
        "env": _env(task, environment),
        "resources": _resources(pod.get("resources", {})),
        "volumeMounts": mounts,
        "securityContext": security,
        "lifecycle": {"preStop": {"exec": {"command": list(_STOP)}}} if runs_executor(task.command) else {},
        # What a failed container printed last is in the pod's status even when its log can't be read.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    return {key: value for key, value in container.items() if value not in ({}, [], "")}


def _literal(text: str) -> str:
    """text so that the kubelet, which replaces $(NAME) and $$, hands it to the container as it is."""
    return re.sub(r"\$(?=[$(])", "$$", text)


def _api_environment(settings: PodSettings) -> dict[str, str]:
    """What stages that make objects themselves must know: whom these belong to, and how pods are patched."""
    return {
        RUN_OWNER: json.dumps([settings.owner] if settings.owner else [], sort_keys=True),
        POD_OVERLAY: json.dumps(settings.overlay, sort_keys=True),
    }


def _env(task: Task, more: Mapping[str, str]) -> list[dict[str, Any]]:
    variables: dict[str, dict[str, Any]] = {
        name: {"value": _literal(value)} for name, value in {**_ENVIRONMENT, **more, **task.env}.items()
    }
    for source in task.env_from:
        variables[source.env] = {"valueFrom": _from_key(source)}
    for name, path in task.kubernetes.get("field_env", {}).items():
        variables[name] = {"valueFrom": {"fieldRef": {"fieldPath": path}}}
    return [{"name": name, **value} for name, value in variables.items()]


def _from_key(source: EnvFrom) -> dict[str, Any]:
    kind = "secretKeyRef" if source.kind == "secret" else "configMapKeyRef"
    return {kind: {"name": source.name, "key": source.key, **({"optional": True} if source.optional else {})}}


def _resources(wanted: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Requests and limits; an accelerator's request is its limit, as Kubernetes wants it."""
    found: dict[str, dict[str, str]] = {"requests": {}, "limits": {}}
    for name in ("cpu", "memory"):
        for side in found:
            if value := wanted.get(f"{name}_{side.removesuffix('s')}"):
                found[side][name] = value
    kind, count = wanted.get("accelerator_type", ""), wanted.get("accelerator_count", "0")
    if kind and count != "0":
        for side in found:
            found[side][kind] = count
    return {side: values for side, values in found.items() if values}


def _volumes(task: Task) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Volumes and their mounts; a claim, Secret or ConfigMap mounted twice is one volume."""
    shm = "/dev/shm"
    wanted = list(task.mounts)
    accelerated = task.kubernetes.get("resources", {}).get("accelerator_type")
    asked = task.kubernetes.get("labels", {}).get(SHM_LABEL) == "true"
    if (accelerated or asked) and not any(mount.path == shm for mount in wanted):
        wanted.append(Mount("empty_dir", "shm", shm, options={"medium": "Memory"}))
    volumes: dict[tuple[str, str], dict[str, Any]] = {}
    mounts = []
    for mount in wanted:
        if mount.kind == "claim":
            checked_name(mount.name)
        name = f"{mount.kind.replace('_', '-')}-{len(volumes)}"
        volume = volumes.setdefault((mount.kind, mount.name), {"name": name, **_source(mount)})
        one: dict[str, Any] = {"name": volume["name"], "mountPath": mount.path}
        if mount.sub_path:
            one["subPath"] = mount.sub_path
        if mount.kind in ("secret", "config_map"):
            one["readOnly"] = True
        mounts.append(one)
    return list(volumes.values()), mounts


def _source(mount: Mount) -> dict[str, Any]:
    optional = {"optional": True} if mount.optional else {}
    options = mount.options
    if mount.kind == "claim":
        return {"persistentVolumeClaim": {"claimName": mount.name}}
    if mount.kind == "secret":
        return {"secret": {"secretName": mount.name, **optional}}
    if mount.kind == "config_map":
        return {"configMap": {"name": mount.name, **optional}}
    if mount.kind == "empty_dir":
        given = {"medium": options.get("medium"), "sizeLimit": options.get("size_limit")}
        return {"emptyDir": {key: value for key, value in given.items() if value}}
    spec = {"accessModes": options["access_modes"], "resources": {"requests": {"storage": options["size"]}}}
    if options.get("storage_class"):
        spec["storageClassName"] = options["storage_class"]
    metadata = {key: options[key] for key in ("labels", "annotations") if options.get(key)}
    return {"ephemeral": {"volumeClaimTemplate": {**({"metadata": metadata} if metadata else {}), "spec": spec}}}


def claim_manifest(
    name: str, size: str, access_modes: list[str], storage_class: str, settings: PodSettings
) -> dict[str, Any]:
    """A volume claim of the run; storage class "" is the cluster's default."""
    spec: dict[str, Any] = {"accessModes": access_modes, "resources": {"requests": {"storage": size}}}
    if storage_class:
        spec["storageClassName"] = storage_class
    metadata = {"name": name, "labels": {RUN_LABEL: settings.run_id}}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": owned(metadata, settings), "spec": spec}
