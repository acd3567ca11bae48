"""The rights that volumes, training and clean-up need are asked for before anything is made."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes.config import kube_config

from tests.kubernetes_api import KubernetesApi
from utils.stages.checks import check_backends, missing_rights

CLAIMS = ["create persistentvolumeclaims", "get persistentvolumeclaims", "delete persistentvolumeclaims"]
JOBS = ["create pytorchjobs", "get pytorchjobs", "list pytorchjobs", "delete pytorchjobs"]


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesApi]:
    server = KubernetesApi()
    server.write_kubeconfig(tmp_path / "kubeconfig")
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "cluster")
    yield server
    server.stop()


@pytest.mark.parametrize(("launcher", "rights"), [("pytorchjob", CLAIMS + JOBS), ("process", CLAIMS)])
def test_each_right_that_later_tasks_need_is_asked_for(api: KubernetesApi, launcher: str, rights: list[str]) -> None:
    assert check_backends(launcher, "vllm", "full") == []
    assert api.rights == rights


@pytest.mark.parametrize("right", CLAIMS + JOBS)
def test_a_missing_right_is_named_and_not_swallowed(api: KubernetesApi, right: str) -> None:  # trap 9
    api.refused.add(right)
    (finding,) = missing_rights("pytorchjob")
    assert finding["problem"] == f"the pod's ServiceAccount may not {right} in lab"
    assert "the Role ilab-pipeline of manifests/" in finding["remedy"]


def test_a_pod_without_a_token_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    (finding,) = missing_rights("process")
    assert finding["problem"] == "the pod has no token for the Kubernetes API"


def test_rights_that_cannot_be_asked_for_do_not_stop_the_run(api: KubernetesApi, capsys: pytest.CaptureFixture) -> None:
    api.faults.append(404)
    assert missing_rights("pytorchjob") == []
    assert "rights can't be checked (404" in capsys.readouterr().out
