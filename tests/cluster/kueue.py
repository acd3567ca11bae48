"""Kueue with its own manifests and webhooks, for a while; only its image is the base image here.

Kueue 0.17 writes `spec.runtimePatches` into TrainJobs, which Kubeflow Trainer has since 2.2. Its API server extension
(pending workloads) is left out: a namespace can't be deleted while it is away.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.cluster import Cluster
from tests.cluster.image import NAME as BASE_IMAGE
from tests.cluster.programs import KUEUE, build_tools, module_folder, program
from tests.cluster.settings import STATE

NAMESPACE, DEPLOYMENT = "kueue-system", "kueue-controller-manager"
FOLDER = STATE / "kueue"
PARTS = ("crd", "rbac", "manager", "internalcert", "webhook")
LEFT_OUT = ("pod.kb.io", "deployment.kb.io", "statefulset.kb.io")
QUEUE, URGENT = "gpus", "urgent"
CPUS = 2
CONFIGURATION = {
    "apiVersion": "config.kueue.x-k8s.io/v1beta2",
    "kind": "Configuration",
    "health": {"healthProbeBindAddress": ":8081"},
    "webhook": {"port": 9443},
    "leaderElection": {"leaderElect": False},
    "integrations": {"frameworks": ["batch/job", "kubeflow.org/pytorchjob", "trainer.kubeflow.org/trainjob"]},
}


@contextmanager
def kueue(cluster: Cluster, namespace: str) -> Iterator[None]:
    """Kueue while the block runs, with a queue of 2 CPUs in the namespace, held at first; `urgent` jobs preempt."""
    cluster.must_be_owned("install Kueue")
    build_tools()
    _write_manifests()
    objects = yaml.safe_dump_all(_queue(namespace))
    try:
        cluster.kubectl("apply", "--server-side", "--force-conflicts", "-k", str(FOLDER))
        cluster.kubectl("rollout", "status", f"deployment/{DEPLOYMENT}", "-n", NAMESPACE, "--timeout=240s")
        cluster.kubectl("apply", "--server-side", "-f", "-", text_in=objects)
        yield
    finally:
        # Jobs and its own objects first: it takes its finalizers away, and makes a Workload for every job.
        for kinds in ("jobs,pytorchjobs,trainjobs", "workloads"):
            cluster.kubectl("delete", kinds, "--all", "-n", namespace)
        cluster.kubectl("delete", "--ignore-not-found", "-f", "-", text_in=objects)
        cluster.kubectl("delete", "--ignore-not-found", "-k", str(FOLDER))


def hold(cluster: Cluster, value: bool) -> None:
    """Whether the queue admits nothing."""
    policy = "Hold" if value else "None"
    patch = f'{{"spec": {{"stopPolicy": "{policy}"}}}}'
    cluster.kubectl("patch", "clusterqueue", QUEUE, "--type=merge", "-p", patch)


def _write_manifests() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    shutil.copytree(module_folder(KUEUE) / "config", FOLDER / "config")
    (FOLDER / "config/components/manager/controller_manager_config.yaml").write_text(yaml.safe_dump(CONFIGURATION))
    _leave_out_webhooks(FOLDER / "config/components/webhook")
    manager = f"{NAMESPACE.removesuffix('-system')}-controller-manager"
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": NAMESPACE,
        "namePrefix": "kueue-",
        "labels": [{"pairs": {"control-plane": "controller-manager"}, "includeSelectors": True}],
        "resources": [f"config/components/{part}" for part in PARTS],
        "patches": [
            {"path": "config/default/manager_config_patch.yaml"},
            {"path": "config/default/manager_webhook_patch.yaml"},
            {"target": {"kind": "Deployment"}, "patch": yaml.safe_dump(_patch(manager))},
        ],
    }
    (FOLDER / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))


def _leave_out_webhooks(folder: Path) -> None:
    """Those of pods do nothing here, but while Kueue is busy or away they would refuse every pod."""
    file = folder / "manifests.yaml"
    found = list(yaml.safe_load_all(file.read_text()))
    for one in found:
        one["webhooks"] = [hook for hook in one["webhooks"] if hook["name"][1:] not in LEFT_OUT]
    file.write_text(yaml.safe_dump_all(found))
    # Its patches are for those.
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization | {"patches": []}))


def _patch(name: str) -> dict[str, Any]:
    path = str(program(KUEUE, "kueue"))
    manager = {
        "name": "manager",
        "image": BASE_IMAGE,
        "imagePullPolicy": "Never",
        "command": [path],
        "args": ["--config=/controller_manager_config.yaml", "--feature-gates=VisibilityOnDemand=false"],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
        "readinessProbe": {"initialDelaySeconds": 1, "periodSeconds": 1, "timeoutSeconds": 10},
        "livenessProbe": {"timeoutSeconds": 10},
        "volumeMounts": [{"name": "program", "mountPath": path, "readOnly": True}],
    }
    template = {
        "spec": {
            "containers": [manager],
            "volumes": [{"name": "program", "hostPath": {"path": path, "type": "File"}}],
        }
    }
    metadata = {"name": name}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"template": template}}


def _queue(namespace: str) -> list[dict[str, Any]]:
    """A local queue, its cluster queue, held, and a priority class."""
    quota = {
        "coveredResources": ["cpu", "memory"],
        "flavors": [
            {
                "name": "node",
                "resources": [{"name": "cpu", "nominalQuota": CPUS}, {"name": "memory", "nominalQuota": "64Gi"}],
            }
        ],
    }
    cluster_queue = {
        "namespaceSelector": {},
        "preemption": {"withinClusterQueue": "LowerPriority"},
        "resourceGroups": [quota],
        "stopPolicy": "Hold",
    }

    def one(kind: str, name: str, **more: Any) -> dict[str, Any]:
        return {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": kind, "metadata": {"name": name}, **more}

    local = one("LocalQueue", QUEUE, spec={"clusterQueue": QUEUE})
    local["metadata"]["namespace"] = namespace
    return [
        one("ResourceFlavor", "node"),
        one("ClusterQueue", QUEUE, spec=cluster_queue),
        local,
        one("WorkloadPriorityClass", URGENT, value=1000, description="for tests"),
    ]
