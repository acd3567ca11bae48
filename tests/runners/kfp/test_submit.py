"""Submitting to a Kubeflow Pipelines server, over HTTP: the server of `tests.fakes.kfp_server`."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes.config.kube_config
import pytest
import yaml
from click.testing import CliRunner

from tests.fakes.kfp_server import KfpServer as FakeServer
from tests.fakes.kfp_server import Moment
from utils.cli.compile import our_pipeline
from utils.cli.run import run
from utils.cli.submit import pipeline_command, submit_run
from utils.errors import IlabError, PrerequisiteError, UsageError
from utils.ir.load import load
from utils.ir.model import Pipeline
from utils.runners.kfp import KfpServer, Server, ServerAway
from utils.runners.kfp.connection import Refused

TOKEN = "canary-77ab"
TASKS = ("prerequisites", "train")
PACKAGE = """\
components:
  comp-prerequisites: {executorLabel: exec}
  comp-train: {executorLabel: exec}
  comp-exit-handler-1:
    dag:
      tasks:
        prerequisites: {componentRef: {name: comp-prerequisites}, taskInfo: {name: prerequisites}}
        train: {componentRef: {name: comp-train}, taskInfo: {name: train}, dependentTasks: [prerequisites]}
deploymentSpec: {executors: {exec: {container: {image: python}}}}
pipelineInfo: {name: small}
root:
  dag:
    tasks:
      exit-handler-1: {componentRef: {name: comp-exit-handler-1}, taskInfo: {name: exit-handler-1}}
  inputDefinitions:
    parameters:
      seed: {parameterType: NUMBER_INTEGER, defaultValue: 42.0, isOptional: true}
schemaVersion: 2.1.0
sdkVersion: kfp-2.17.0
---
platforms: {kubernetes: {deploymentSpec: {executors: {}}}}
"""


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    fake.group = "exit-handler-1"
    yield fake
    fake.stop()


@pytest.fixture
def package(tmp_path: Path) -> Pipeline:
    file = tmp_path / "small.yaml"
    file.write_text(PACKAGE)
    return load(file)


@pytest.fixture(autouse=True)
def no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No kubeconfig but a test's own; polls follow each other at once."""
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setattr(kubernetes.config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    monkeypatch.setattr(KfpServer.follow, "__defaults__", ({}, lambda seconds: None))


def states(*pairs: str) -> dict[str, str]:
    """States of the tasks of the small pipeline."""
    return dict(zip(TASKS, pairs, strict=False))


def test_a_run_is_created_from_a_version_that_holds_the_file_as_it_is(
    server: FakeServer, package: Pipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    code = submit_run(
        package, {"seed": 7}, run_id="mine", host=server.url + "/", token_file=tmp_path / "token", experiment="team"
    )
    assert code == 0
    (run,) = server.sent("POST", "/apis/v2beta1/runs")
    (version,) = server.versions
    spec, platform = yaml.safe_load_all(PACKAGE)
    assert version["pipeline_spec"] == {"pipeline_spec": spec, "platform_spec": platform}
    assert run["pipeline_version_reference"] == {"pipeline_id": "pipeline-0", "pipeline_version_id": "version-0"}
    assert "pipeline_spec" not in run
    assert run["runtime_config"] == {"parameters": {"seed": 7}}
    assert run["display_name"] == "mine"
    assert server.experiments == [{"display_name": "team", "experiment_id": "exp-0"}]
    assert run["experiment_id"] == "exp-0"
    assert {one["headers"]["authorization"] for one in server.requests} == {f"Bearer {TOKEN}"}
    printed = capsys.readouterr().out
    run_id = server.runs[0].id
    assert f"submitted mine ({run_id})\n  {server.url}/#/runs/details/{run_id}" in printed
    assert f"version {version['display_name']} of the pipeline (uploaded now)" in printed
    assert TOKEN not in printed


def test_duplicate_knows_pipeline_and_version(server: FakeServer, package: Pipeline) -> None:
    submit_run(package, {}, host=server.url)
    (version,) = server.versions
    assert server.duplicate_form(server.runs[0].id) == {"pipeline": "small", "version": version["display_name"]}


def test_a_version_is_used_again_when_the_file_is_the_same(
    server: FakeServer, package: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        submit_run(package, {}, host=server.url)
    assert len(server.pipelines) == len(server.versions) == 1
    assert "(there already)" in capsys.readouterr().out
    other = load_text(PACKAGE.replace("image: python", "image: another"))
    submit_run(other, {}, host=server.url)
    assert len(server.pipelines) == 1
    first, second = server.versions
    assert first["display_name"] != second["display_name"]
    assert second["display_name"].startswith("small-")
    used = [run.request["pipeline_version_reference"]["pipeline_version_id"] for run in server.runs]
    assert used == ["version-0", "version-0", "version-1"]


def load_text(text: str) -> Pipeline:
    from utils.ir.load import parse

    return parse(text)


def test_what_somebody_else_uploads_at_the_same_time_is_used(
    server: FakeServer, package: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pipeline and version are looked for, made, refused as there already, and found."""
    submit_run(package, {}, host=server.url)
    answer, hidden = server.answer, {"pipelines", "versions"}

    def hide_once(method: str, path: str, body: Any) -> tuple[int, Any]:
        last = path.partition("?")[0].rpartition("/")[2]
        if method == "GET" and last in hidden:
            hidden.remove(last)
            return 200, {}
        return answer(method, path, body)

    monkeypatch.setattr(server, "answer", hide_once)
    submit_run(package, {}, host=server.url)
    assert not hidden
    assert len(server.pipelines) == len(server.versions) == 1
    assert server.runs[1].request["pipeline_version_reference"]["pipeline_version_id"] == "version-0"


def test_the_apis_form_of_a_file_is_uploaded_as_two_documents(server: FakeServer) -> None:
    spec, platform = yaml.safe_load_all(PACKAGE)
    text = json.dumps({"display_name": "v", "pipeline_spec": {"pipeline_spec": spec, "platform_spec": platform}})
    submit_run(load_text(text), {}, host=server.url)
    assert server.versions[0]["pipeline_spec"] == {"pipeline_spec": spec, "platform_spec": platform}


def test_who_may_not_upload_still_runs_and_is_told(
    server: FakeServer, package: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    server.no_uploads = True
    assert submit_run(package, {}, host=server.url) == 0
    (run,) = server.sent("POST", "/apis/v2beta1/runs")
    spec, platform = yaml.safe_load_all(PACKAGE)
    assert run["pipeline_spec"] == {"pipeline_spec": spec, "platform_spec": platform}
    assert server.duplicate_form(server.runs[0].id) == {}
    printed = capsys.readouterr().err
    assert "the run belongs to no version of a pipeline" in printed
    assert "may not create pipelines" in printed


def test_an_experiment_that_is_there_is_used(server: FakeServer, package: Pipeline) -> None:
    server.experiments.append({"display_name": "ilab", "experiment_id": "old"})
    submit_run(package, {}, host=server.url)
    assert server.sent("POST", "/apis/v2beta1/runs")[0]["experiment_id"] == "old"
    assert not server.sent("POST", "/apis/v2beta1/experiments")


@pytest.mark.parametrize("multi_user", [False, True])
def test_the_namespace_is_sent_to_multi_user_servers_alone(
    server: FakeServer, package: Pipeline, multi_user: bool
) -> None:
    server.multi_user = multi_user
    submit_run(package, {}, host=server.url, namespace="lab")
    for made in (*server.experiments, *server.pipelines):
        assert made.get("namespace") == ("lab" if multi_user else None)
    listed = [one["path"] for one in server.requests if one["path"].startswith("/apis/v2beta1/pipelines?")]
    assert ["namespace=lab" in path for path in listed] == [multi_user]


@pytest.mark.parametrize(
    ("moments", "code", "printed"),
    [
        ([Moment("PENDING"), Moment("RUNNING"), Moment("SUCCEEDED")], 0, "succeeded run"),
        ([Moment("RUNNING"), 503, 502, 429, Moment("SUCCEEDED")], 0, "succeeded run"),
        ([Moment("FAILED", states("SUCCEEDED", "FAILED"))], 1, "failed    train"),
        ([Moment("FAILED", states("FAILED"))], 3, "failed    prerequisites"),
        ([Moment("FAILED", states("SKIPPED"), drivers=("prerequisites",))], 3, "failed    prerequisites"),
        ([Moment("FAILED")], 1, "failed    run"),
        ([Moment("SKIPPED")], 1, "skipped   run"),
    ],
)
def test_waiting_ends_with_the_outcome_as_exit_code(
    server: FakeServer,
    package: Pipeline,
    capsys: pytest.CaptureFixture[str],
    moments: list[Any],
    code: int,
    printed: str,
) -> None:
    server.moments = moments
    assert submit_run(package, {}, host=server.url, wait=True) == code
    assert server.runs[0].asked == len(moments)
    assert printed in capsys.readouterr().out


@pytest.mark.parametrize("sign", ["seen", "history", "Workflow"])
def test_a_stopped_run_is_told_from_a_failed_one(
    server: FakeServer,
    package: Pipeline,
    kubeconfig: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    sign: str,
) -> None:
    """The server says FAILED of both. CANCELING before is seen, or in its history, or neither if it was quick."""
    server.moments = [Moment("RUNNING", states("SUCCEEDED", "RUNNING"))]
    if sign == "Workflow":
        kubeconfig(server.url)
    answer = server.answer

    def stop_after_first(method: str, path: str, body: Any) -> tuple[int, Any]:
        given = answer(method, path, body)
        if method == "GET" and "/runs/" in path and not server.runs[0].stopped:
            run = server.runs[0]
            assert answer("POST", f"/apis/v2beta1/runs/{run.id}:terminate", {}) == (200, {})
            if sign == "seen":
                run.history.clear()
                run.history.append("RUNNING")
            else:
                run.answer()
            if sign == "Workflow":
                run.history.remove("CANCELING")
        return given

    monkeypatch.setattr(server, "answer", stop_after_first)
    assert submit_run(package, {}, host=server.url, wait=True) == 130
    got = capsys.readouterr()
    assert "failed    train" in got.out
    assert "the run was stopped" in got.err
    assert "train failed" not in got.err


def test_a_run_that_was_retried_after_a_stop_has_failed(server: FakeServer, package: Pipeline) -> None:
    server.moments = [Moment("CANCELING"), Moment("RUNNING"), Moment("FAILED", states("SUCCEEDED", "FAILED"))]
    assert submit_run(package, {}, host=server.url, wait=True) == 1


def test_a_stop_that_came_too_late_is_a_success(server: FakeServer, package: Pipeline) -> None:
    server.moments = [Moment("CANCELING"), Moment("SUCCEEDED")]
    assert submit_run(package, {}, host=server.url, wait=True) == 0


def test_the_machinery_is_not_shown(server: FakeServer, package: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither drivers and executors nor groups nor the Workflow itself."""
    server.moments = [Moment("RUNNING", states("SUCCEEDED", "RUNNING")), Moment("SUCCEEDED", states("SUCCEEDED"))]
    submit_run(package, {}, host=server.url, wait=True)
    lines = [line.split(maxsplit=1)[1] for line in capsys.readouterr().out.splitlines()[3:]]
    assert sorted(lines[:3]) == ["running   run", "running   train", "succeeded prerequisites"]
    assert lines[3:] == ["succeeded run"]


def test_interrupted_waiting_leaves_the_run_alone(
    server: FakeServer, package: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(KfpServer.follow, "__defaults__", ({}, interrupt))
    server.moments = [Moment("RUNNING")]
    assert submit_run(package, {}, host=server.url, wait=True) == 130
    assert "the run goes on" in capsys.readouterr().err
    assert not [one for one in server.requests if one["path"].endswith(":terminate")]


def test_json_is_one_document(server: FakeServer, package: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    server.moments = [Moment("FAILED", states("SUCCEEDED", "FAILED"))]
    server.logs = {"train": "error: out of memory\n  cause: the card is small\n  next: use a larger one\n"}
    assert submit_run(package, {}, run_id="r", host=server.url, namespace="lab", wait=True, output="json") == 1
    got = json.loads(capsys.readouterr().out)
    assert got == {
        "run_id": server.runs[0].id,
        "name": "r",
        "experiment": "ilab",
        "pipeline_version": server.versions[0]["display_name"],
        "url": f"{server.url}/#/runs/details/{server.runs[0].id}",
        "state": "FAILED",
        "stopped": False,
        "exit_code": 1,
        "failed": {
            "train": {
                "text": "out of memory\n  cause: the card is small\n  next: use a larger one",
                "findings": "",
                "source": "artifact executor-logs",
            }
        },
    }


def test_what_does_not_pass_ends_the_waiting_and_says_that_the_run_goes_on(
    server: FakeServer, package: Pipeline
) -> None:
    server.moments = [Moment("RUNNING"), 401]
    with pytest.raises(IlabError) as caught:
        submit_run(package, {}, host=server.url, wait=True)
    assert "refuses the token (401)" in caught.value.what
    assert "it goes on" in caught.value.remedy


def test_a_server_that_stays_away_is_given_up_after_a_while(server: FakeServer, package: Pipeline) -> None:
    server.moments = [503]
    submit_run(package, {}, host=server.url)
    with pytest.raises(ServerAway):
        list(KfpServer(Server(server.url)).follow(server.runs[0].id))
    assert server.runs[0].asked == 41


def test_no_server_at_the_address(server: FakeServer, package: Pipeline) -> None:
    server.http.server_close()
    with pytest.raises(PrerequisiteError, match="can't be reached"):
        submit_run(package, {}, host=server.url)


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("kfp.example.com", "is not a URL"),
        ("ftp://kfp.example.com", "is not a URL"),
        ("http://kfp.example.com", "a token is not sent to http://kfp.example.com"),
    ],
)
def test_a_token_travels_only_to_an_encrypted_address(package: Pipeline, host: str, message: str) -> None:
    """Trap 28."""
    with pytest.raises(UsageError, match=message):
        submit_run(package, {}, host=host, token=TOKEN)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"seed": "x"}, "input parameter seed requires type double or integer"),
        ({"sed": 1}, "parameter(s) provided are not required by pipeline: sed"),
    ],
)
def test_the_servers_refusal_is_shown(
    server: FakeServer, package: Pipeline, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(IlabError) as caught:
        submit_run(package, arguments, host=server.url)
    assert "refused the request (400)" in caught.value.what
    assert said in caught.value.cause


def test_a_file_that_the_server_cannot_compile_is_not_tried_again() -> None:
    """Trap 47: KFP 2.5.0 answers 500, as if it were busy."""
    old = FakeServer("2.5.0")
    try:
        with pytest.raises(Refused) as caught:
            submit_run(load_text(PACKAGE.replace("name: small", "name: small, taskFinalStatus: x")), {}, host=old.url)
    finally:
        old.stop()
    assert "can't compile the pipeline (500)" in caught.value.what
    assert "task final status not supported yet" in caught.value.cause and "lint" in caught.value.remedy


def test_what_the_upload_of_a_version_hides_is_said_by_the_creation_of_the_run(server: FakeServer) -> None:
    """A bad file is "Failed to create a pipeline version" (500) there."""
    with pytest.raises(IlabError) as caught:
        submit_run(load_text(PACKAGE.replace("schemaVersion: 2.1.0", "schemaVersion: 9.9.9")), {}, host=server.url)
    assert caught.value.cause == "KFP only supports schema version 2.1.0"


@pytest.mark.parametrize("variable", ["KF_PIPELINES_UI_ENDPOINT", "ILAB_UI_HOST"])
def test_links_start_where_the_variable_says(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "https://dashboard.example.com/external/pipelinesSdk/lab")
    (tmp_path / "small.yaml").write_text(PACKAGE)
    arguments = ["--on", "kfp", "--host", server.url, "--package", str(tmp_path / "small.yaml")]
    done = CliRunner().invoke(run, arguments)
    assert done.exit_code == 0, done.output
    link = f"https://dashboard.example.com/external/pipelinesSdk/lab/#/runs/details/{server.runs[0].id}"
    assert f"\n  {link}\n" in done.output


@pytest.mark.parametrize("command", [run, pipeline_command(our_pipeline()).commands["run"]], ids=["run", "pipeline.py"])
def test_the_queue_of_a_run_is_written_into_the_labels_of_the_version_it_uploads(
    server: FakeServer, command: Any
) -> None:
    """A pod's labels are texts of the platform spec: the server fills in no parameter (KFP 2.5.0 to 2.17)."""
    place = ["--on", "kfp"] if command is run else []
    done = CliRunner().invoke(command, [*place, "--host", server.url, "-p", "k8s_queue=gpus"])
    assert done.exit_code == 0, done.output
    found = server.versions[0]["pipeline_spec"]
    executors = found["platform_spec"]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    label = "kueue.x-k8s.io/queue-name"
    labelled = {n for n, e in executors.items() if label in e.get("podMetadata", {}).get("labels", {})}
    containers = {n: e["container"] for n, e in found["pipeline_spec"]["deploymentSpec"]["executors"].items()}
    assert labelled == {n for n, c in containers.items() if "accelerator" in c.get("resources", {})}
    assert {"exec-mt-bench", "exec-final-eval"} <= labelled
    dags = [one["dag"]["tasks"] for one in found["pipeline_spec"]["components"].values() if "dag" in one]
    (checked,) = [tasks["prerequisites"] for tasks in dags if "prerequisites" in tasks]
    assert checked["inputs"]["parameters"]["labelled_queue"] == {"runtimeValue": {"constant": "gpus"}}
    assert server.sent("POST", "/apis/v2beta1/runs")[0]["runtime_config"]["parameters"] == {"k8s_queue": "gpus"}


def test_pipeline_py_compiles_checks_and_submits_under_the_old_flags(server: FakeServer) -> None:
    """Trap 42: a value may hold `=`."""
    command = pipeline_command(our_pipeline())
    arguments = ["run", "-e", "team", "-r", "mine", "--host", server.url, "-p", "sdg_repo_url=https://h/t?a=b"]
    done = CliRunner().invoke(command, [*arguments, "-p", "sdg_repo_pr=3"])
    assert done.exit_code == 0, done.output
    (run,) = server.sent("POST", "/apis/v2beta1/runs")
    assert run["runtime_config"]["parameters"] == {"sdg_repo_url": "https://h/t?a=b", "sdg_repo_pr": 3}
    assert run["display_name"] == "mine"
    assert server.versions[0]["pipeline_spec"]["pipeline_spec"]["pipelineInfo"]["name"] == "ilab"
    wrong = CliRunner().invoke(command, [*arguments, "-p", "sdg_repo_prr=3"])
    assert isinstance(wrong.exception, UsageError)
    assert "did you mean sdg_repo_pr?" in wrong.exception.cause
    assert len(server.sent("POST", "/apis/v2beta1/runs")) == 1
