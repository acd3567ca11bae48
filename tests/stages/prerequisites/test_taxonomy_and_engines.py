"""Checks of the taxonomy repository, and of the software that trains and serves."""

import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import kubernetes.config.kube_config
import pytest

from tests.fakes.answers import Answer, Server
from tests.fakes.kubernetes_api import ShortTime
from utils.cluster.client import Client
from utils.images import INSTRUCTLAB
from utils.stages.data_import.git import TaxonomySource
from utils.stages.prerequisites import checks
from utils.stages.prerequisites.findings import Finding, run_checks
from utils.stages.prerequisites.rights import check_launcher
from utils.stages.train.choice import Choice


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    short = ShortTime()
    monkeypatch.setattr("utils.cluster.client.Client", partial(Client, clock=short.clock, sleep=short.sleep))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A git repository with the branch `main` and the tag `v1`, as a file:// URL."""
    folder = tmp_path_factory.mktemp("taxonomy")
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    for command in (
        ["init", "-q", "-b", "main"],
        [*identity, "commit", "-q", "--allow-empty", "-m", "x"],
        ["tag", "v1"],
    ):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return f"file://{folder}"


@pytest.mark.parametrize(
    ("branch", "pr", "commit", "problem"),
    [
        ("", 0, "", ""),
        ("main", 0, "", ""),
        ("v1", 0, "", ""),
        ("", 0, "0123abc", ""),
        ("next", 0, "", "no branch or tag 'next'"),
        ("", 7, "", "no pull request 7"),
    ],
)
def test_requested_revision_is_looked_up_in_the_taxonomy_repository(
    repository: str, tmp_path: Path, branch: str, pr: int, commit: str, problem: str
) -> None:
    findings = checks.check_taxonomy_repo(TaxonomySource(repository, branch, pr, commit), str(tmp_path), "")
    assert [problem in f.problem for f in findings] == ([True] if problem else [])


@pytest.mark.parametrize(
    ("url", "branch", "pr", "commit", "message"),
    [
        ("https://git.example/t", "main", 3, "", "sdg_repo_branch and sdg_repo_pr are set, only one"),
        ("https://git.example/t", "main", 0, "0123abc", "sdg_repo_branch and sdg_repo_commit are set"),
        ("http://git.example/t", "", 0, "", "must be https:// .*, ssh://"),
        ("", "", 3, "", "sdg_repo_pr is set, sdg_repo_url is not"),
    ],
)
def test_branch_pull_request_and_commit_are_mutually_exclusive(
    tmp_path: Path, url: str, branch: str, pr: int, commit: str, message: str
) -> None:
    """Trap 35: a default branch made the pull request dead, silently."""
    with pytest.raises(SystemExit, match=message):
        checks.check_taxonomy_repo(TaxonomySource(url, branch, pr, commit), str(tmp_path), "")


def test_missing_repository_is_a_finding(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="can't be fetched"):
        checks.check_taxonomy_repo(TaxonomySource(f"file://{tmp_path}/absent"), str(tmp_path), "")


# --- what trains and serves


def training_operator() -> list[Finding]:
    return check_launcher(Choice("pytorchjob", ""))


def served(kind: str) -> Answer:
    """What the API server says of the group kubeflow.org/v1 where it has this kind."""
    resource = {"name": kind, "kind": "", "namespaced": True, "singularName": "", "verbs": []}
    return 200, {"groupVersion": "kubeflow.org/v1", "resources": [resource]}


@pytest.mark.parametrize(
    ("answer", "problem", "remedy"),
    [
        (served("pytorchjobs"), "", ""),
        (served("scheduledworkflows"), "the cluster has no PyTorchJobs", "install the Kubeflow training operator"),
        ((404, "not found"), "the cluster has no PyTorchJobs", "oc patch datasciencecluster default-dsc"),
        # Nobody may list what is served: the rights show what may be used.
        ((403, "forbidden"), "", ""),
    ],
)
def test_training_operator_is_looked_up(
    kubeconfig: Callable[[str], None],
    serve: Callable[..., Server],
    quick: None,
    answer: Answer,
    problem: str,
    remedy: str,
) -> None:
    server = serve(answer)
    kubeconfig(server.url)
    findings = training_operator()
    # Who may not use a kind gets 403 whether it is there or not; what is served every account may ask.
    assert server.requests[0]["path"].rstrip("/") == "/apis/kubeflow.org/v1"
    assert bool(findings) == bool(problem)
    if problem:
        assert problem in findings[0].problem
        assert remedy in findings[0].remedy


def test_an_api_server_that_is_busy_for_a_moment_does_not_end_the_run(
    kubeconfig: Callable[[str], None], serve: Callable[..., Server], quick: None
) -> None:
    server = serve((429, "slow down"), (500, "etcd"), served("pytorchjobs"))
    kubeconfig(server.url)
    assert training_operator() == []
    assert len(server.requests) == 3


def test_an_api_server_that_stays_away_is_a_finding_among_others(
    kubeconfig: Callable[[str], None], quick: None
) -> None:
    kubeconfig("http://127.0.0.1:9")
    (finding,) = run_checks({"training": training_operator, "other": list})
    assert "can't get kubeflow.org/v1 in lab (no answer)" in finding.problem and finding.remedy


def test_pytorchjobs_need_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes.config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    (finding,) = training_operator()
    assert "needs a cluster" in finding.problem


def test_on_one_machine_the_libraries_are_checked_without_importing_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "torch" else object())
    findings = checks.check_backends("process", "llama.cpp", "/no/such/folder", "sft", INSTRUCTLAB)
    assert [f.problem for f in findings] == [
        "process needs the Python package torch, which is missing",
        "sdg_pipeline is '/no/such/folder', expected simple, full, or a folder that is there",
    ]


def test_osft_and_lora_need_their_libraries_where_they_train(monkeypatch: pytest.MonkeyPatch) -> None:
    lacks = {"mini_trainer"}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in lacks else object())
    monkeypatch.setattr(checks, "check_launcher", lambda choice: [])
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    def found(launcher: str, algorithm: str, image: str) -> list[str]:
        return [one.problem for one in checks.check_backends(launcher, "llama.cpp", "simple", algorithm, image)]

    assert found("process", "lora", INSTRUCTLAB) == ["process needs the Python package mini_trainer, which is missing"]
    (problem,) = found("trainjob", "osft", INSTRUCTLAB)
    assert problem.startswith("train_algorithm osft needs mini-trainer 0.8 in the training pods")
    assert found("trainjob", "osft", "registry/rhoai/odh-th-torch-cuda@sha256:0") == []
    assert found("trainjob", "sft", INSTRUCTLAB) == []
    lacks = {"peft"}
    assert found("process", "osft", INSTRUCTLAB) == []
    assert found("process", "lora", INSTRUCTLAB) == ["process needs the Python package peft, which is missing"]


@pytest.mark.parametrize(
    ("error", "problem", "remedy"),
    [
        (ModuleNotFoundError("No module named 'boto3'", name="boto3"), "ModuleNotFoundError", "package boto3"),
        (PermissionError(13, "Permission denied", "/mnt/ca/bundle"), "Permission denied", "look at /mnt/ca/bundle"),
        (KeyError("items"), "KeyError: 'items'", "traceback"),
    ],
)
def test_crashed_check_is_a_finding_among_others(
    error: Exception, problem: str, remedy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trap 49: an image without boto3 hid what all other checks had found."""

    def broken() -> list[Finding]:
        raise error

    found = run_checks({"store": broken, "judge": lambda: [Finding("no answer", "start it")]})
    assert [finding.check for finding in found] == ["store", "judge"]
    assert problem in found[0].problem and remedy in found[0].remedy
    assert "Traceback" in capsys.readouterr().err
