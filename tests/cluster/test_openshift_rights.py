"""The account of OpenShift AI's runs on a real API server: missing rights are found before a run costs anything."""

import base64
import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.node import wait_for
from tests.cluster.openshift import ACCOUNT, openshift_objects, operator_role
from tests.manifests.openshift_role import OPERATOR_RULES
from tests.manifests.rights import asked_rights
from utils.stages.prerequisites.findings import Finding
from utils.stages.prerequisites.rights import missing_rights

Rules = list[dict[str, Any]]
JOBS = {"pytorchjob": ["pytorchjobs"], "trainjob": ["trainjobs", "trainingruntimes"]}
"""What each launcher creates."""


@pytest.fixture
def project(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A namespace with the operator's Role. Stages' functions called here act as the account of its runs."""
    with cluster.namespace(f"openshift-{uuid.uuid4().hex[:8]}", mounted=False) as name:
        operator_role(cluster, name)
        place = "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION"
        monkeypatch.setattr(place, str(kubeconfig(cluster, name, tmp_path)))
        yield name


def kubeconfig(cluster: Cluster, namespace: str, folder: Path) -> Path:
    """A kubeconfig with a token of the account."""
    view = json.loads(cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    token = cluster.kubectl("create", "token", ACCOUNT, "-n", namespace).strip()
    view["users"] = [{"name": "account", "user": {"token": token}}]
    view["contexts"][0]["context"] |= {"user": "account", "namespace": namespace}
    path = folder / "kubeconfig"
    path.write_text(json.dumps(view))
    return path


def settled(expected: set[str], what: str, launcher: str) -> list[Finding]:
    """The findings, once the API server goes by the Roles of the moment: the verbs and kinds that they name."""
    found: list[Finding] = []

    def known() -> bool:
        found[:] = missing_rights(launcher)
        return {one.problem.partition(" may not ")[2].partition(" in ")[0] for one in found} == expected

    wait_for(what, known, 20)
    return found


@pytest.mark.parametrize("launcher", JOBS)
def test_operators_role_lacks_training_jobs_and_one_command_per_kind_grants_them(
    cluster: Cluster, project: str, launcher: str
) -> None:
    lacking = {f"create, get, list, delete {kind}" for kind in JOBS[launcher]}
    found = settled({*lacking, "list events"}, "the operator's Role", launcher)
    errors = [one.problem for one in found if one.level != "warning"]
    assert len(errors) == len(lacking) and all(f"ServiceAccount {ACCOUNT} may not" in problem for problem in errors)
    for one in found:
        run_remedy(cluster, one.remedy)
    settled(set(), "rights by the lines of the findings", launcher)


def run_remedy(cluster: Cluster, remedy: str) -> None:
    """Paste the line of a finding into a shell, `oc` being this cluster's kubectl."""
    line = remedy.partition("this alone: ")[2]
    assert line.startswith("oc "), remedy
    text = f'set -eu; oc() {{ "{cluster.kubectl_path}" --kubeconfig "{cluster.kubeconfig}" "$@"; }}; {line}'
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_manifests_for_openshift_give_all_that_a_run_needs(cluster: Cluster, project: str, tmp_path: Path) -> None:
    cluster.apply(*openshift_objects(cluster, project, tmp_path))
    for launcher in JOBS:
        settled(set(), "the Roles of operator and manifests/openshift", launcher)
    secrets = {one["metadata"]["name"]: one["data"] for one in cluster.get("secrets", "-n", project)["items"]}
    assert set(secrets) == {"sdg-object-store-credentials", "teacher-secret", "judge-secret"}
    assert base64.b64decode(secrets["teacher-secret"]["model_name"]) == b"mixtral"


@pytest.mark.parametrize("launcher", JOBS)
def test_each_missing_verb_in_turn_is_a_finding(cluster: Cluster, project: str, tmp_path: Path, launcher: str) -> None:
    """Trap 9, without a pod: the Role loses one verb after another."""
    asked = [(group, resource, verb, loss) for group, resource, verbs, loss in asked_rights(launcher) for verb in verbs]
    (ours,) = [one for one in openshift_objects(cluster, project, tmp_path) if one["kind"] == "Role"]
    whole = [*OPERATOR_RULES, *ours["rules"]]
    for group, resource, verb, loss in asked:
        give(cluster, project, without(whole, group, resource, verb))
        found = settled({f"{verb} {resource}"}, f"a Role without {verb} {resource}", launcher)
        (finding,) = found
        assert (finding.level == "warning") == bool(loss)
    give(cluster, project, whole)
    settled(set(), "the whole Role", launcher)


def without(rules: Rules, group: str, resource: str, verb: str) -> Rules:
    """The rules with one verb of one kind taken out."""
    kept: Rules = []
    for rule in rules:
        if group in rule["apiGroups"] and resource in rule["resources"]:
            others = [one for one in rule["resources"] if one != resource]
            kept += [{**rule, "resources": others}] if others else []
            rule = {**rule, "resources": [resource], "verbs": [one for one in rule["verbs"] if one != verb]}
        kept.append(rule)
    return [rule for rule in kept if rule["verbs"]]


def give(cluster: Cluster, namespace: str, rules: Rules) -> None:
    """Let the account's Role be these rules."""
    patch = json.dumps([{"op": "replace", "path": "/rules", "value": rules}])
    cluster.kubectl("patch", "role", ACCOUNT, "-n", namespace, "--type=json", "-p", patch)
