"""The address of the pipeline server and of its dashboard, found in the user's cluster."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.fakes.kfp_server import KfpServer as FakeServer
from utils.cli.submit import submit_run
from utils.errors import IlabError, PrerequisiteError, UsageError
from utils.ir.model import Pipeline
from utils.runners.kfp import Server, find_server
from utils.runners.kfp.discovery import find_ui
from utils.runners.settings import KfpSettings

TOKEN = "canary-77ab"


def test_cluster_that_refuses_the_lookup_is_an_error(
    server: FakeServer, kubeconfig: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    kubeconfig(server.url)
    monkeypatch.setattr(server, "answer", lambda method, path, body: (403, {"message": "no"}))
    with pytest.raises(PrerequisiteError, match="can't look for a pipeline server"):
        find_server()


def test_the_clusters_token_is_never_sent_to_a_host_that_the_user_names(
    server: FakeServer, package: Pipeline, kubeconfig: Callable[..., None]
) -> None:
    """Trap 28."""
    kubeconfig("https://cluster.example", TOKEN)
    submit_run(package, {}, KfpSettings(host=server.url))
    assert all("authorization" not in one["headers"] for one in server.requests)


def application(name: str, **addresses: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "status": {"components": {"apiServer": addresses}}}


@pytest.mark.parametrize("version", ["v1", "v1alpha1"])
def test_the_server_of_the_current_project_is_found_with_the_users_token(
    server: FakeServer, package: Pipeline, kubeconfig: Callable[..., None], version: str
) -> None:
    kubeconfig(server.url, TOKEN)
    server.pipeline_servers = {version: {"items": [application("dspa", externalUrl=server.url, url="https://inner")]}}
    assert find_server() == Server(server.url, TOKEN, "", "lab", project=True, account="pipeline-runner-dspa")
    assert TOKEN not in repr(find_server())
    assert submit_run(package, {}, KfpSettings()) == 0
    assert {one["headers"]["authorization"] for one in server.requests} == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    ("items", "error", "message"),
    [
        ([], PrerequisiteError, "the project other has no pipeline server"),
        (
            [application("a", url="https://a"), application("b", url="https://b")],
            UsageError,
            "several pipeline servers: a, b",
        ),
        ([{"metadata": {"name": "a"}}], PrerequisiteError, "the pipeline server a in other has no address yet"),
    ],
)
def test_a_project_without_exactly_one_server_is_explained(
    server: FakeServer, kubeconfig: Callable[..., None], items: list[Any], error: type[IlabError], message: str
) -> None:
    kubeconfig(server.url, TOKEN)
    server.pipeline_servers = {"v1": {"items": items}}
    with pytest.raises(error, match=message):
        find_server("other")


def test_without_host_and_cluster_the_error_says_what_to_give() -> None:
    with pytest.raises(PrerequisiteError) as caught:
        find_server()
    assert "--host URL" in caught.value.remedy


DASHBOARD = "https://rhods-dashboard-redhat-ods-applications.apps.example.com"
FOUND = Server("https://ds-pipeline-dspa-lab.apps.example.com", namespace="lab", project=True)


@pytest.mark.parametrize(
    ("links", "ui"),
    [
        ({"rhodslink": f"{DASHBOARD}/"}, f"{DASHBOARD}/external/pipelinesSdk/lab"),
        ({"odhlink": "https://rh-ai.apps.example.com"}, "https://rh-ai.apps.example.com/external/pipelinesSdk/lab"),
        ({"rhodslink": "javascript:alert(1)"}, ""),
        ({"other": DASHBOARD}, ""),
        ({}, ""),
    ],
)
def test_the_dashboard_is_found_by_the_link_in_the_console(
    server: FakeServer, kubeconfig: Callable[..., None], links: dict[str, str], ui: str
) -> None:
    server.console_links = links
    kubeconfig(server.url)
    assert find_ui(FOUND) == ui
    assert find_ui(Server(FOUND.host, namespace="lab")) == ui


def test_link_that_may_not_be_read_is_left_out(server: FakeServer, kubeconfig: Callable[..., None]) -> None:
    server.console_links, server.denied = {"rhodslink": DASHBOARD}, {"consolelinks"}
    kubeconfig(server.url)
    assert find_ui(FOUND) == ""


@pytest.mark.parametrize(
    ("server", "ui"),
    [
        (FOUND, ""),
        (Server("https://kubeflow.example.com/pipeline/"), "https://kubeflow.example.com/pipeline"),
        (
            Server(FOUND.host, project=True, ui="https://d/external/pipelinesSdk/lab/"),
            "https://d/external/pipelinesSdk/lab",
        ),
        (Server("https://kubeflow.example.com", ui="kfp.example.com"), "http://kfp.example.com"),
    ],
)
def test_start_of_links_without_a_cluster(server: Server, ui: str) -> None:
    assert find_ui(server) == ui


def test_without_a_link_the_place_in_the_dashboard_is_described(
    server: FakeServer,
    package: Pipeline,
    capsys: pytest.CaptureFixture[str],
    kubeconfig: Callable[..., None],
) -> None:
    kubeconfig(server.url)
    address = {"metadata": {"name": "dspa"}, "status": {"components": {"apiServer": {"externalUrl": server.url}}}}
    server.pipeline_servers = {"v1": {"items": [address]}}
    assert submit_run(package, {}, KfpSettings()) == 0
    assert "in the dashboard: Runs, experiment ilab" in capsys.readouterr().out
    server.console_links = {"rhodslink": DASHBOARD}
    assert submit_run(package, {}, KfpSettings()) == 0
    link = f"{DASHBOARD}/external/pipelinesSdk/lab/#/runs/details/{server.runs[1].id}"
    assert f"\n  {link}\n" in capsys.readouterr().out
