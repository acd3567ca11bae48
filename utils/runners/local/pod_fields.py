"""Environment variables from fields of a pod (`use_field_path_as_env`), as far as a task on one machine has them."""

import re
import socket
import uuid

from utils.errors import TaskFailed
from utils.ir.model import Task
from utils.names import KFP_RUN_LABEL

# What Kubernetes allows as a variable: https://kubernetes.io/docs/concepts/workloads/pods/downward-api/
_ENTRY = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")
_ADDRESSES = ("status.podIP", "status.podIPs", "status.hostIP", "status.hostIPs")
_OTHERS = ("metadata.name", "metadata.uid", "spec.nodeName", *_ADDRESSES)
_LOOPBACK = "127.0.0.1"
_LONGEST_NAME = 63


def is_known(path: str) -> bool:
    """Whether a task on one machine has this field. It has no namespace and no service account."""
    return path in _OTHERS or _ENTRY.fullmatch(path) is not None


def field_value(path: str, task: Task, run_id: str) -> str:
    """The value of a field; "" for a label or annotation that is not set, as in a cluster.

    Raises:
        TaskFailed: the field is not known.
    """
    if not is_known(path):
        raise TaskFailed(f"there is no {path} on one machine", remedy="run the pipeline on a cluster")
    if entry := _ENTRY.fullmatch(path):
        kind, key = entry.groups()
        own = {KFP_RUN_LABEL: run_id} if kind == "labels" else {}
        return str({**own, **task.kubernetes.get(kind, {})}.get(key, ""))
    name = f"{run_id}-{task.id}-{task.attempt}"
    if path == "metadata.name":
        return re.sub(r"[^a-z0-9]+", "-", name.lower())[-_LONGEST_NAME:].strip("-")
    if path == "metadata.uid":
        return str(uuid.uuid5(uuid.NAMESPACE_URL, name))
    return socket.gethostname() if path == "spec.nodeName" else _LOOPBACK
