"""The Kubeflow training operator with its own manifests, webhooks included; only its image is the base image here."""

import shutil
from typing import Any

import yaml

from tests.cluster.image import NAME as BASE_IMAGE
from tests.cluster.programs import OPERATOR, module_folder, program
from tests.cluster.settings import STATE

NAMESPACE = "kubeflow"
DEPLOYMENT = "training-operator"
FOLDER = STATE / "training-operator"
# What a worker does before it starts: wait until its master's name resolves.
WAIT_FOR_NAME = 'for try in $(seq 200); do getent hosts "$0" && exit 0; sleep 1; done; exit 1'


def write_manifests() -> None:
    """Write a kustomization over the operator's manifests to FOLDER."""
    shutil.copytree(module_folder(OPERATOR) / "manifests", FOLDER / "manifests", dirs_exist_ok=True)
    init = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "init-container", "namespace": NAMESPACE}}
    init["data"] = {"initContainer.yaml": yaml.safe_dump([_init_container()])}
    (FOLDER / "init-container.yaml").write_text(yaml.safe_dump(init))
    patch = {"target": {"kind": "Deployment", "name": DEPLOYMENT}, "patch": yaml.safe_dump(_deployment_patch())}
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["manifests/overlays/standalone", "init-container.yaml"],
        "patches": [patch],
    }
    (FOLDER / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))


def _deployment_patch() -> dict[str, Any]:
    binary = program(OPERATOR, "training-operator.v1")
    probe = {"initialDelaySeconds": 1, "periodSeconds": 1}
    container = {
        "name": DEPLOYMENT,
        "image": BASE_IMAGE,
        "imagePullPolicy": "Never",
        "command": [str(binary), f"--pytorch-init-container-image={BASE_IMAGE}"],
        "readinessProbe": probe,
        "volumeMounts": [
            {"name": "program", "mountPath": str(binary), "readOnly": True},
            {"name": "init-container", "mountPath": "/etc/config", "readOnly": True},
        ],
    }
    volumes = [
        {"name": "program", "hostPath": {"path": str(binary), "type": "File"}},
        {"name": "init-container", "configMap": {"name": "init-container"}},
    ]
    template = {"spec": {"containers": [container], "volumes": volumes}}
    metadata = {"name": DEPLOYMENT}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"template": template}}


def _init_container() -> dict[str, Any]:
    """The operator's template, with the security context that `restricted` asks for (OpenShift's SCC adds it)."""
    return {
        "name": "init-pytorch",
        "image": "{{.InitContainerImage}}",
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", WAIT_FOR_NAME, "{{.MasterAddr}}"],
        "resources": {"requests": {"cpu": "10m", "memory": "10Mi"}, "limits": {"cpu": "100m", "memory": "20Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
