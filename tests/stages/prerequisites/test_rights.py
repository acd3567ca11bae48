"""The rights that volumes, training and clean-up need are checked before anything is created."""

from pathlib import Path

import pytest
from kubernetes.config import kube_config

from tests.fakes.kubernetes_api import KubernetesApi
from utils.stages.prerequisites.checks import check_rights
from utils.stages.prerequisites.findings import run_checks
from utils.stages.prerequisites.rights import missing_rights

NEEDED = {
    "persistentvolumeclaims": ["create", "get", "delete"],
    "pytorchjobs": ["create", "get", "list", "delete"],
}
USEFUL = {
    "persistentvolumeclaims": ["patch"],
    "pods": ["get", "list", "delete"],
    "events": ["list"],
    "pods/log": ["get"],
}
JOBS = {
    "pytorchjob": ["pytorchjobs"],
    "trainjob": ["trainjobs", "trainingruntimes"],
    "process": [],
}


@pytest.fixture(autouse=True)
def in_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "cluster")


def words(rights: dict[str, list[str]]) -> list[str]:
    return [f"{verb} {resource}" for resource, verbs in rights.items() for verb in verbs]


@pytest.mark.parametrize("launcher", JOBS)
def test_each_right_that_later_tasks_need_is_checked(api: KubernetesApi, launcher: str) -> None:
    assert check_rights(launcher) == []
    asked = [right for right in words(NEEDED) + words(USEFUL) if "pytorchjobs" not in right]
    asked += words(dict.fromkeys(JOBS[launcher], NEEDED["pytorchjobs"]))
    assert sorted(api.rights) == sorted(asked if JOBS[launcher] else [one for one in asked if "pods/log" not in one])


def test_where_only_trainjobs_are_served_auto_names_the_command_that_allows_them(api: KubernetesApi) -> None:
    """OpenShift AI 3.6 has no PyTorchJobs, and no release lets the account of runs use TrainJobs."""
    api.kinds, api.dialect = [], "runtimePatches"
    api.refused |= {f"{verb} trainjobs" for verb in NEEDED["pytorchjobs"]}
    (finding,) = check_rights("auto")
    assert finding.problem.endswith("may not create, get, list, delete trainjobs in lab")
    assert "--verb=create,get,list,delete --resource=trainjobs.trainer.kubeflow.org" in finding.remedy
    assert finding.level == "error"


@pytest.mark.parametrize("right", words(NEEDED))
def test_a_missing_right_is_named_and_not_swallowed(api: KubernetesApi, right: str) -> None:  # trap 9
    api.refused.add(right)
    (finding,) = missing_rights("pytorchjob")
    assert finding.problem == f"the pod's ServiceAccount pipeline-runner-dspa may not {right} in lab"
    assert finding.level == "error"
    assert finding.remedy.startswith("oc apply -k manifests/openshift grants all")


@pytest.mark.parametrize("right", words(USEFUL))
def test_missing_right_for_diagnostics_is_a_warning_that_says_what_is_lost(api: KubernetesApi, right: str) -> None:
    api.refused.add(right)
    (finding,) = missing_rights("pytorchjob")
    assert finding.level == "warning"
    assert f"may not {right}" in finding.problem.partition(": ")[0]
    assert finding.problem.partition(": ")[2]


def test_one_command_grants_all_verbs_of_a_kind(api: KubernetesApi) -> None:
    api.refused |= set(words({"pytorchjobs": NEEDED["pytorchjobs"]}))
    (finding,) = missing_rights("pytorchjob")
    name = "ilab-pytorchjobs-create-get-list-delete"
    assert finding.remedy.partition("this alone: ")[2] == (
        f"oc -n lab create role {name} --verb=create,get,list,delete --resource=pytorchjobs.kubeflow.org; "
        f"oc -n lab create rolebinding {name}-pipeline-runner-dspa --role={name} "
        "--serviceaccount=lab:pipeline-runner-dspa"
    )


def test_remedy_for_plain_kubernetes_names_its_manifests_folder(api: KubernetesApi) -> None:
    api.user = "system:serviceaccount:lab:ilab-pipeline"
    api.refused.add("create persistentvolumeclaims")
    (finding,) = missing_rights("process")
    assert finding.remedy.startswith("kubectl apply -k manifests/access grants all")


def test_user_who_is_not_a_service_account_gets_a_command_to_complete(api: KubernetesApi) -> None:
    api.user = "someone"
    api.refused.add("create persistentvolumeclaims")
    (finding,) = missing_rights("process")
    assert finding.problem == "the pod's ServiceAccount may not create persistentvolumeclaims in lab"
    assert "--serviceaccount=lab:ACCOUNT" in finding.remedy


def test_pod_without_a_token_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    (finding,) = run_checks({"rights": lambda: check_rights("process")})
    assert finding.problem.startswith("the pod has no token for the Kubernetes API: ")
    assert finding.remedy == "let it mount its account's token"


def test_failed_review_of_rights_does_not_stop_the_run(api: KubernetesApi, capsys: pytest.CaptureFixture) -> None:
    api.faults.append(404)
    assert missing_rights("pytorchjob") == []
    assert (
        "rights can't be checked: can't create selfsubjectaccessreviews.authorization.k8s.io in lab (404)"
        in capsys.readouterr().out
    )
