"""The account of OpenShift AI's runs: with the operator's Role, and with manifests/openshift on top."""

import shutil
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.cluster import Cluster
from tests.cluster.guide import change_settings
from tests.manifests.openshift_role import OPERATOR_RULES
from tests.manifests.settings import root

ACCOUNT = "pipeline-runner-dspa"


def operator_role(cluster: Cluster, namespace: str) -> None:
    """Make the account with the Role that the operator gives it."""
    rbac = "rbac.authorization.k8s.io"
    metadata = {"name": ACCOUNT, "namespace": namespace}
    account: dict[str, Any] = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
    role = {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": metadata, "rules": OPERATOR_RULES}
    binding = {
        "apiVersion": f"{rbac}/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": rbac, "kind": "Role", "name": ACCOUNT},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}],
    }
    cluster.apply(account, role, binding)


def openshift_objects(cluster: Cluster, namespace: str, folder: Path) -> list[dict[str, Any]]:
    """What `oc apply -k manifests/openshift` makes in this namespace; the values in its files are the examples'."""
    shutil.copytree(root(), folder / "manifests", dirs_exist_ok=True)
    change_settings(folder, {"namespace": namespace, "pipeline-runner": ACCOUNT})
    write_values(folder)
    return list(yaml.safe_load_all(cluster.kubectl("kustomize", str(folder / "manifests/openshift"))))


def write_values(folder: Path) -> None:
    """Make the files with the Secrets' values in a copy of manifests/, as a person does who changes nothing."""
    for example in (folder / "manifests/openshift").glob("*.env.example"):
        shutil.copy(example, example.with_suffix(""))
