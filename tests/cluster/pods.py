"""Pods for tests: small manifests that `restricted` accepts, and how they ended."""

from typing import Any

from tests.cluster.cluster import Cluster
from tests.cluster.node import wait_for
from utils.images import WORKBENCH

ENDED = ("Succeeded", "Failed")


def pod_spec(*command: str, **container: Any) -> dict[str, Any]:
    """A pod's spec with one container, `main`; `container` holds more of its fields."""
    main = {
        "name": "main",
        "image": WORKBENCH,
        "command": list(command),
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        **container,
    }
    security = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [main]}
    return {**spec, "securityContext": security}


def pod(namespace: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """A pod with the label app=NAME."""
    metadata = {"name": name, "namespace": namespace, "labels": {"app": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def service(namespace: str, name: str, port: int, headless: bool = False) -> dict[str, Any]:
    """A service before the pods with the label app=NAME."""
    spec: dict[str, Any] = {"selector": {"app": name}, "ports": [{"port": port}]}
    if headless:
        spec["clusterIP"] = "None"
    metadata = {"name": f"{name}-headless" if headless else name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def claim(namespace: str, name: str, storage_class: str, size: str = "1Gi") -> dict[str, Any]:
    """A ReadWriteMany claim."""
    spec = {
        "accessModes": ["ReadWriteMany"],
        "storageClassName": storage_class,
        "resources": {"requests": {"storage": size}},
    }
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}


def wait_until_ended(cluster: Cluster, namespace: str, name: str) -> tuple[str, str]:
    """How a pod ended (`Succeeded` or `Failed`), and its log."""

    def phase() -> str:
        found: str = cluster.get("pod", name, "-n", namespace)["status"]["phase"]
        return found

    wait_for(f"the end of pod {name}", lambda: phase() in ENDED)
    return phase(), cluster.kubectl("logs", name, "-n", namespace)
