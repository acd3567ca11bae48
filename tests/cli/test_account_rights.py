"""Before a run is submitted, the user is told what the service account of the server's runs may not do."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes.kubernetes_api import KubernetesApi
from utils.cli.account_rights import tell_missing_rights
from utils.runners.kfp.connection import Server

SERVER = Server("http://server", namespace="lab", project=True, account="pipeline-runner-dspa")
VERBS = ("create", "get", "list", "delete")


@pytest.fixture
def api(api: KubernetesApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KubernetesApi:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    api.dialect = "podTemplateOverrides"
    return api


@pytest.fixture
def told(api: KubernetesApi, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def tell(launcher: str = "auto", server: Server = SERVER) -> str:
        tell_missing_rights(server, {"train_launcher": launcher})
        return capsys.readouterr().err

    return tell


def test_nothing_is_told_where_one_kind_may_be_used(api: KubernetesApi, told: Callable[..., str]) -> None:
    assert told() == ""
    api.refused |= {f"{verb} trainjobs" for verb in VERBS}
    assert told() == "", "PyTorchJobs will do"
    assert told("process") == ""


def test_command_for_the_administrator_is_printed(api: KubernetesApi, told: Callable[..., str]) -> None:
    api.refused |= {f"{verb} {kind}" for verb in VERBS for kind in ("trainjobs", "trainingruntimes", "pytorchjobs")}
    said = told()
    assert "pipeline-runner-dspa may not create, get, list, delete trainjobs in lab" in said
    assert "oc -n lab create role ilab-trainjobs-create-get-list-delete" in said
    assert "--resource=trainingruntimes.trainer.kubeflow.org" in said
    assert "pytorchjobs" not in said
    assert "--resource=pytorchjobs.kubeflow.org" in told("pytorchjob")


def test_kind_that_is_not_served_needs_no_right(api: KubernetesApi, told: Callable[..., str]) -> None:
    api.kinds = []
    api.refused.add("create trainjobs")
    assert "may not create trainjobs" in told()
    api.dialect = ""
    assert told() == "", "the run's own prerequisites say what to install"


def test_user_who_may_not_ask_can_still_submit(api: KubernetesApi, told: Callable[..., str]) -> None:
    api.forbidden.add("localsubjectaccessreviews")
    api.faults.extend([403] * 50)
    assert "whether pipeline-runner-dspa may train in pods can't be seen" in told()


def test_server_that_was_named_by_its_address_has_no_known_account(told: Callable[..., str]) -> None:
    assert told(server=Server("http://server")) == ""
