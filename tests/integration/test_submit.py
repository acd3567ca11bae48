"""Submitting to a Kubeflow Pipelines server, over HTTP: a server on loopback that speaks the v2beta1 paths."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kubernetes.config.kube_config
import pytest
import yaml
from click.testing import CliRunner

from tests.integration.answers import Server as AnsweringServer
from utils.cli.compile import our_pipeline
from utils.cli.submit import pipeline_command, submit_run
from utils.errors import IlabError, PrerequisiteError, UsageError
from utils.runners.kfp import KfpServer, Server, ServerAway, find_server

TOKEN = "canary-77ab"
PACKAGE = """\
components: {}
deploymentSpec: {executors: {}}
pipelineInfo: {name: small}
root:
  dag: {tasks: {}}
  inputDefinitions:
    parameters:
      seed: {parameterType: NUMBER_INTEGER, defaultValue: 42.0, isOptional: true}
schemaVersion: 2.1.0
sdkVersion: kfp-2.17.0
---
platforms: {kubernetes: {deploymentSpec: {executors: {}}}}
"""


class FakeServer(AnsweringServer):
    """The paths of the v2beta1 API that a submission uses. `runs` are the answers about the run, the last for ever."""

    def __init__(self) -> None:
        self.experiments: list[dict[str, Any]] = []
        self.runs: list[Any] = [{"state": "SUCCEEDED"}]
        self.multi_user = False
        self.pipeline_servers: dict[str, dict[str, Any]] = {}
        self.asked = 0
        super().__init__([])

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        place = urlsplit(path)
        name = place.path.removeprefix("/apis/v2beta1/")
        if name == "healthz":
            return 200, {"multi_user": self.multi_user}
        if name == "experiments" and method == "GET":
            wanted = json.loads(parse_qs(place.query)["filter"][0])["predicates"][0]
            assert (wanted["key"], wanted["operation"]) == ("display_name", "EQUALS")
            found = [e for e in self.experiments if e["display_name"] == wanted["stringValue"]]
            return 200, {"experiments": found} if found else {}
        if name == "experiments":
            self.experiments.append({**body, "experiment_id": f"exp-{len(self.experiments)}"})
            return 200, self.experiments[-1]
        if name == "runs":
            return 200, {**body, "run_id": "run-1", "state": "PENDING"}
        if name == "runs/run-1":
            self.asked += 1
            run = self.runs[min(self.asked, len(self.runs)) - 1]
            return (run, {"message": "later"}) if isinstance(run, int) else (200, {"run_id": "run-1", **run})
        if "datasciencepipelinesapplications" in place.path:
            version = place.path.split("/")[3]
            return (200, self.pipeline_servers[version]) if version in self.pipeline_servers else (404, {})
        return 404, {"message": f"no {path}"}

    def sent(self, method: str, path: str) -> list[Any]:
        asked = [(one["method"], urlsplit(one["path"]).path, one["body"]) for one in self.requests]
        return [body for *place, body in asked if place == [method, path]]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    yield fake
    fake.stop()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    file = tmp_path / "small.yaml"
    file.write_text(PACKAGE)
    return file


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Polls follow each other at once."""
    monkeypatch.setattr(KfpServer.follow, "__defaults__", (lambda seconds: None,))


def test_a_submission_carries_the_file_as_it_is_and_typed_arguments(
    server: FakeServer, package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    code = submit_run(
        package, {"seed": 7}, run_id="mine", host=server.url + "/", token_file=tmp_path / "token", experiment="team"
    )
    assert code == 0
    (run,) = server.sent("POST", "/apis/v2beta1/runs")
    spec, platform = yaml.safe_load_all(PACKAGE)
    assert run["pipeline_spec"] == {"pipeline_spec": spec, "platform_spec": platform}
    assert run["runtime_config"] == {"parameters": {"seed": 7}}
    assert run["display_name"] == "mine"
    assert server.experiments == [{"display_name": "team", "experiment_id": "exp-0"}]
    assert run["experiment_id"] == "exp-0"
    assert {one["headers"]["authorization"] for one in server.requests} == {f"Bearer {TOKEN}"}
    printed = capsys.readouterr().out
    assert f"submitted mine (run-1)\n  {server.url}/#/runs/details/run-1" in printed
    assert TOKEN not in printed


def test_an_experiment_that_is_there_is_used(server: FakeServer, package: Path) -> None:
    server.experiments.append({"display_name": "ilab", "experiment_id": "old"})
    submit_run(package, {}, host=server.url)
    assert server.sent("POST", "/apis/v2beta1/runs")[0]["experiment_id"] == "old"
    assert not server.sent("POST", "/apis/v2beta1/experiments")


@pytest.mark.parametrize("multi_user", [False, True])
def test_the_namespace_is_sent_to_multi_user_servers_alone(server: FakeServer, package: Path, multi_user: bool) -> None:
    server.multi_user = multi_user
    submit_run(package, {}, host=server.url, namespace="lab")
    (experiment,) = server.sent("POST", "/apis/v2beta1/experiments")
    assert experiment.get("namespace") == ("lab" if multi_user else None)


TASKS = [{"display_name": "prerequisites", "state": "SUCCEEDED"}, {"display_name": "train", "state": "FAILED"}]


@pytest.mark.parametrize(
    ("runs", "code", "printed"),
    [
        ([{"state": "PENDING"}, {"state": "RUNNING"}, {"state": "SUCCEEDED"}], 0, "succeeded run"),
        ([{"state": "RUNNING"}, 503, 502, 429, {"state": "SUCCEEDED"}], 0, "succeeded run"),
        ([{"state": "FAILED", "run_details": {"task_details": TASKS}}], 1, "failed    train"),
        (
            [{"state": "FAILED", "run_details": {"task_details": [{**TASKS[0], "state": "FAILED"}]}}],
            3,
            "failed    prerequisites",
        ),
        ([{"state": "CANCELING"}, {"state": "CANCELED"}], 130, "canceled  run"),
        ([{"state": "SKIPPED"}], 1, "skipped   run"),
    ],
)
def test_waiting_ends_with_the_outcome_as_exit_code(
    server: FakeServer,
    package: Path,
    capsys: pytest.CaptureFixture[str],
    runs: list[Any],
    code: int,
    printed: str,
) -> None:
    server.runs = runs
    assert submit_run(package, {}, host=server.url, wait=True) == code
    assert server.asked == len(runs)
    assert printed in capsys.readouterr().out


def test_the_servers_own_pods_are_not_shown(
    server: FakeServer, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pods = [{"display_name": name, "state": "RUNNING"} for name in ("root", "train-driver", "executor", "train")]
    server.runs = [{"state": "RUNNING", "run_details": {"task_details": pods}}, {"state": "SUCCEEDED"}]
    submit_run(package, {}, host=server.url, wait=True)
    lines = [line.split(maxsplit=1)[1] for line in capsys.readouterr().out.splitlines()[2:]]
    assert lines == ["running   train", "running   run", "succeeded run"]


def test_interrupted_waiting_leaves_the_run_alone(
    server: FakeServer, package: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(KfpServer.follow, "__defaults__", (interrupt,))
    server.runs = [{"state": "RUNNING"}]
    assert submit_run(package, {}, host=server.url, wait=True) == 130
    assert "the run goes on" in capsys.readouterr().err
    assert not [one for one in server.requests if one["path"].endswith(":terminate")]


def test_json_is_one_document(server: FakeServer, package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = {"code": 5, "message": "out of memory"}
    server.runs = [{"state": "FAILED", "run_details": {"task_details": [{**TASKS[1], "error": error}]}}]
    assert submit_run(package, {}, run_id="r", host=server.url, wait=True, output="json") == 1
    got = json.loads(capsys.readouterr().out)
    assert got == {
        "run_id": "run-1",
        "name": "r",
        "experiment": "ilab",
        "url": f"{server.url}/#/runs/details/run-1",
        "state": "FAILED",
        "exit_code": 1,
        "failed": {"train": "out of memory"},
    }


def test_what_does_not_pass_ends_the_waiting_and_says_that_the_run_goes_on(server: FakeServer, package: Path) -> None:
    server.runs = [{"state": "RUNNING"}, 401]
    with pytest.raises(IlabError) as caught:
        submit_run(package, {}, host=server.url, wait=True)
    assert "refuses the token (401)" in caught.value.what
    assert "it goes on" in caught.value.remedy


def test_a_cluster_that_refuses_has_no_server(
    server: FakeServer, kubeconfig: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    kubeconfig(server.url)
    monkeypatch.setattr(server, "answer", lambda method, path, body: (403, {"message": "no"}))
    with pytest.raises(PrerequisiteError, match="can't look for a pipeline server"):
        find_server()


def test_a_server_that_stays_away_is_given_up_after_a_while(server: FakeServer) -> None:
    server.runs = [503]
    with pytest.raises(ServerAway):
        list(KfpServer(Server(server.url)).follow("run-1"))
    assert server.asked == 41


def test_no_server_at_the_address(server: FakeServer, package: Path) -> None:
    server.http.server_close()
    with pytest.raises(PrerequisiteError, match="can't be reached"):
        submit_run(package, {}, host=server.url)


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("kfp.example.com", "is no URL"),
        ("ftp://kfp.example.com", "is no URL"),
        ("http://kfp.example.com", "a token is not sent to http://kfp.example.com"),
    ],
)
def test_a_token_travels_only_to_an_encrypted_address(package: Path, host: str, message: str) -> None:
    """Trap 28."""
    with pytest.raises(UsageError, match=message):
        submit_run(package, {}, host=host, token=TOKEN)


def test_the_clusters_token_is_never_sent_to_a_host_that_the_user_names(
    server: FakeServer, package: Path, kubeconfig: Callable[[str], None]
) -> None:
    """Trap 28."""
    kubeconfig("https://cluster.example", TOKEN)
    submit_run(package, {}, host=server.url)
    assert all("authorization" not in one["headers"] for one in server.requests)


def application(name: str, **addresses: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "status": {"components": {"apiServer": addresses}}}


@pytest.mark.parametrize("version", ["v1", "v1alpha1"])
def test_the_server_of_the_current_project_is_found_with_the_users_token(
    server: FakeServer, package: Path, kubeconfig: Callable[[str], None], version: str
) -> None:
    kubeconfig(server.url, TOKEN)
    server.pipeline_servers = {version: {"items": [application("dspa", externalUrl=server.url, url="https://inner")]}}
    assert find_server() == Server(server.url, TOKEN, "", "lab")
    assert TOKEN not in repr(find_server())
    assert submit_run(package, {}) == 0
    assert server.requests[-1]["headers"]["authorization"] == f"Bearer {TOKEN}"


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
    server: FakeServer, kubeconfig: Callable[[str], None], items: list[Any], error: type[IlabError], message: str
) -> None:
    kubeconfig(server.url, TOKEN)
    server.pipeline_servers = {"v1": {"items": items}}
    with pytest.raises(error, match=message):
        find_server("other")


def test_without_host_and_cluster_the_error_says_what_to_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes.config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    with pytest.raises(PrerequisiteError) as caught:
        find_server()
    assert "--host URL" in caught.value.remedy


def test_the_servers_refusal_is_shown(server: FakeServer, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = server.answer

    def refuse(method: str, path: str, body: Any) -> tuple[int, Any]:
        refused = method == "POST" and path.endswith("/runs")
        return (400, {"message": "unknown field surprise"}) if refused else answer(method, path, body)

    monkeypatch.setattr(server, "answer", refuse)
    with pytest.raises(IlabError) as caught:
        submit_run(package, {}, host=server.url)
    assert "refused the request (400)" in caught.value.what
    assert caught.value.cause == "unknown field surprise"


def test_pipeline_py_compiles_checks_and_submits_under_the_old_flags(server: FakeServer) -> None:
    """Trap 42: a value may hold `=`."""
    command = pipeline_command(our_pipeline())
    arguments = ["run", "-e", "team", "-r", "mine", "--host", server.url, "-p", "sdg_repo_url=https://h/t?a=b"]
    done = CliRunner().invoke(command, [*arguments, "-p", "sdg_repo_pr=3"])
    assert done.exit_code == 0, done.output
    (run,) = server.sent("POST", "/apis/v2beta1/runs")
    assert run["runtime_config"]["parameters"] == {"sdg_repo_url": "https://h/t?a=b", "sdg_repo_pr": 3}
    assert run["display_name"] == "mine"
    assert run["pipeline_spec"]["pipeline_spec"]["pipelineInfo"]["name"] == "ilab"
    wrong = CliRunner().invoke(command, [*arguments, "-p", "sdg_repo_prr=3"])
    assert isinstance(wrong.exception, UsageError)
    assert "did you mean sdg_repo_pr?" in wrong.exception.cause
    assert len(server.sent("POST", "/apis/v2beta1/runs")) == 1
