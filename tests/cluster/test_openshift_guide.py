"""docs/openshift.md as far as it can be followed without OpenShift AI: rights, Secrets, what a run leaves."""

import base64
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster import mounts
from tests.cluster.cluster import Cluster
from tests.cluster.guide import Guide, follow
from tests.cluster.openshift import ACCOUNT, operator_role
from tests.cluster.pods import pod, pod_spec, wait_until_ended
from utils.names import KFP_RUN_LABEL, RUN_LABEL

# `oc project -q` says the project's name; all else in the guide kubectl does as well.
OC = """#!/bin/sh
if [ "$1" = project ]; then echo "{namespace}"; else exec "{kubectl}" "$@"; fi
"""
FILL_IN = """
import pathlib, sys
for name in sys.argv[1:]:
    path = pathlib.Path(name)
    assert path.stat().st_mode & 0o77 == 0
    path.write_text(path.read_text().replace("api_token=\\n", f"api_token={path.stem}-token\\n"))
"""


@pytest.fixture(scope="module")
def guide(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guide]:
    """One who has a project, with the account that the operator makes for its runs."""
    with cluster.namespace(f"openshift-{uuid.uuid4().hex[:8]}", mounted=False) as name:
        operator_role(cluster, name)
        found = follow(cluster, tmp_path_factory.mktemp("checkout"), name, "openshift.md")
        (found.folder / "bin").mkdir()
        oc = found.folder / "bin/oc"
        oc.write_text(OC.format(namespace=name, kubectl=cluster.kubectl_path))
        oc.chmod(0o755)
        kubeconfig = str(found.folder / "kubeconfig")
        cluster.kubectl("--kubeconfig", kubeconfig, "config", "set-context", "--current", f"--namespace={name}")
        yield found


def may(guide: Guide, verb: str, what: str) -> bool:
    account = f"system:serviceaccount:{guide.namespace}:{ACCOUNT}"
    words = ("auth", "can-i", "--list", "-n", guide.namespace, f"--as={account}")
    lines = [line for line in guide.cluster.kubectl(*words).splitlines() if line.split()[:1] == [what]]
    return any(verb in line for line in lines)


def token(guide: Guide, secret: str) -> str:
    data = guide.cluster.get("secret", secret, "-n", guide.namespace)["data"]
    return base64.b64decode(data["api_token"]).decode().strip()


def test_rights_and_secrets(guide: Guide) -> None:
    training = ("pytorchjobs.kubeflow.org", "trainjobs.trainer.kubeflow.org")
    assert not any(may(guide, "create", kind) for kind in training)
    editor = {"EDITOR": guide.editor("fill-in", FILL_IN)}
    guide.run("test_rights_and_secrets", environment=editor)
    assert all(may(guide, "create", kind) for kind in training)
    assert may(guide, "list", "events")
    assert token(guide, "teacher-secret") == "teacher-token"
    # Once more, with an editor that changes nothing: what was filled in stays.
    guide.run("test_rights_and_secrets", environment={"EDITOR": "true"})
    assert token(guide, "judge-secret") == "judge-token"


def test_permissions_by_commands(guide: Guide) -> None:
    guide.run("test_permissions_by_commands")
    for name in ("ilab-trainjobs", "ilab-pytorchjobs"):
        binding = guide.cluster.get("rolebinding", name, "-n", guide.namespace)
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": guide.namespace}]


def test_secrets_one_by_one(guide: Guide) -> None:
    names = ("sdg-object-store-credentials", "teacher-secret", "judge-secret")
    guide.cluster.kubectl("delete", "secret", *names, "-n", guide.namespace, "--ignore-not-found")
    for name in ("s3.key", "teacher.token", "judge.token"):
        (guide.folder / name).write_text(f"value of {name}\n")
    guide.run("test_secrets_one_by_one")
    assert token(guide, "judge-secret") == "value of judge.token"


def test_quotas(guide: Guide) -> None:
    words = ("create", "quota", "project", "--hard=persistentvolumeclaims=30", "-n", guide.namespace)
    guide.cluster.kubectl(*words)
    assert "persistentvolumeclaims" in guide.run("test_quotas")


def test_objects_left_by_a_run_are_listed_and_deleted(guide: Guide) -> None:
    labels = {RUN_LABEL: "r1", KFP_RUN_LABEL: "r1"}
    claim: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "ilab-r1", "namespace": guide.namespace, "labels": labels},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    guide.cluster.apply({**claim, "spec": {**claim["spec"], "storageClassName": guide.cluster.storage_class}})
    spec = pod_spec("true") | {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "ilab-r1"}}]}
    spec["securityContext"]["runAsUser"] = mounts.ANY_UID
    ended = pod(guide.namespace, "ended", spec)
    guide.cluster.apply({**ended, "metadata": {**ended["metadata"], "labels": labels}})
    wait_until_ended(guide.cluster, guide.namespace, "ended")
    said = guide.run("test_objects_left_by_a_run_are_listed_and_deleted", replace={"RUN_ID": "r1"})
    assert "ilab-r1" in said and "deleted" in said
    left = guide.cluster.get("pvc", "-n", guide.namespace, "-l", f"{RUN_LABEL}=r1")["items"]
    assert left == []
