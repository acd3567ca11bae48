"""Kubeflow Trainer and JobSet with their own manifests, webhooks included; only their image is the base image here.

One version at a time: its CustomResourceDefinitions are the dialect that the API server serves.
"""

import shutil
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.cluster import Cluster
from tests.cluster.image import NAME as BASE_IMAGE
from tests.cluster.programs import TRAINER, TRAINERS, module_folder, program
from tests.cluster.settings import STATE

MODULE = TRAINERS[TRAINER]
FOLDER = STATE / MODULE
NAMESPACE = "kubeflow-system"
# Deployment: its program. Its container is called `manager` in both.
DEPLOYMENTS = {
    "kubeflow-trainer-controller-manager": "trainer-controller-manager",
    "jobset-controller-manager": "jobset",
}


def install(cluster: Cluster) -> None:
    """Install it, and wait until it serves its webhooks.

    Raises:
        NotOursError: the cluster is not ours.
    """
    cluster.must_be_owned("install Kubeflow Trainer")
    write_manifests(FOLDER)
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-k", str(FOLDER))
    for deployment in DEPLOYMENTS:
        cluster.kubectl("rollout", "status", f"deployment/{deployment}", "-n", NAMESPACE, "--timeout=240s")


def write_manifests(folder: Path) -> None:
    """Write a kustomization over the manifests of both to a folder."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("manifests", "jobset"):
        shutil.copytree(module_folder(MODULE) / name, folder / name)
    # Trainer's own manifests fetch JobSet's from the release page.
    third_party = folder / "manifests/third-party/jobset/kustomization.yaml"
    kustomization = yaml.safe_load(third_party.read_text())
    third_party.write_text(yaml.safe_dump(kustomization | {"resources": ["../../../jobset/default"]}))
    for part in ("manifests/base", "jobset/components"):
        # On a busy machine they lose their lease, and end.
        config = folder / part / "manager/controller_manager_config.yaml"
        settings = yaml.safe_load(config.read_text())
        settings["leaderElection"]["leaderElect"] = False
        config.write_text(yaml.safe_dump(settings))
    patches = [
        {"target": {"kind": "Deployment", "name": name}, "patch": yaml.safe_dump(_patch(name, binary))}
        for name, binary in DEPLOYMENTS.items()
    ]
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["manifests/overlays/manager"],
        "patches": patches,
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))


def _patch(name: str, binary: str) -> dict[str, Any]:
    path = str(program(MODULE, binary))
    container = {
        "name": "manager",
        "image": BASE_IMAGE,
        "imagePullPolicy": "Never",
        "command": [path],
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
        "readinessProbe": {"initialDelaySeconds": 1, "periodSeconds": 1, "timeoutSeconds": 10},
        "livenessProbe": {"timeoutSeconds": 10},
        "volumeMounts": [{"name": "program", "mountPath": path, "readOnly": True}],
    }
    volumes = [{"name": "program", "hostPath": {"path": path, "type": "File"}}]
    # One at a time: a new version waits for no lease of the old one.
    spec = {"strategy": {"type": "Recreate", "rollingUpdate": None}}
    template = {"spec": {"containers": [container], "volumes": volumes}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {**spec, "template": template},
    }
