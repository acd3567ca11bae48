"""Submitting to a Kubeflow Pipelines server, over HTTP: the server of `tests.fakes.kfp_server`."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from tests.fakes.kfp_server import KfpServer as FakeServer
from tests.runners.kfp.small_pipeline import PACKAGE
from utils.cli.compile import our_pipeline
from utils.cli.run import run
from utils.cli.submit import pipeline_command, submit_run
from utils.errors import IlabError, PrerequisiteError, UsageError
from utils.ir.load import parse
from utils.ir.model import Pipeline
from utils.names import QUEUE_LABEL
from utils.runners.kfp.connection import Refused
from utils.runners.settings import KfpSettings

TOKEN = "canary-77ab"


def test_a_run_is_created_from_a_version_that_holds_the_file_as_it_is(
    server: FakeServer, package: Pipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    settings = KfpSettings(server.url + "/", (tmp_path / "token").read_text().strip(), experiment="team")
    assert submit_run(package, {"seed": 7}, settings, run_id="mine") == 0
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


@pytest.mark.parametrize("flags", [[], ["--mlflow-experiment", "pellwick"]])
def test_experiment_of_mlflow_is_sent_only_if_it_is_named(server: FakeServer, tmp_path: Path, flags: list[str]) -> None:
    package = tmp_path / "small.yaml"
    package.write_text(PACKAGE)
    words = ["--on", "kfp", "--package", str(package), "--host", server.url, *flags]
    done = CliRunner().invoke(run, words)
    assert done.exit_code == 0, done.output
    (sent,) = server.sent("POST", "/apis/v2beta1/runs")
    assert sent.get("plugins_input") == ({"mlflow": {"experiment_name": "pellwick"}} if flags else None)


def test_server_that_does_not_know_mlflow_is_told() -> None:
    old = FakeServer("2.14.3")
    try:
        with pytest.raises(Refused) as caught:
            submit_run(parse(PACKAGE), {}, KfpSettings(host=old.url, mlflow_experiment="pellwick"))
    finally:
        old.stop()
    assert "plugins_input" in caught.value.cause and "leave --mlflow-experiment out" in caught.value.remedy


def test_duplicate_form_shows_pipeline_and_version(server: FakeServer, package: Pipeline) -> None:
    submit_run(package, {}, KfpSettings(host=server.url))
    (version,) = server.versions
    assert server.duplicate_form(server.runs[0].id) == {"pipeline": "small", "version": version["display_name"]}


def test_version_of_the_same_file_is_reused(
    server: FakeServer, package: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        submit_run(package, {}, KfpSettings(host=server.url))
    assert len(server.pipelines) == len(server.versions) == 1
    assert "(already on the server)" in capsys.readouterr().out
    other = parse(PACKAGE.replace("image: python", "image: another"))
    submit_run(other, {}, KfpSettings(host=server.url))
    assert len(server.pipelines) == 1
    first, second = server.versions
    assert first["display_name"] != second["display_name"]
    assert second["display_name"].startswith("small-")
    used = [run.request["pipeline_version_reference"]["pipeline_version_id"] for run in server.runs]
    assert used == ["version-0", "version-0", "version-1"]


def test_concurrent_upload_by_someone_else_is_used(
    server: FakeServer, package: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pipeline and version are looked up, created, refused because they exist, and found."""
    submit_run(package, {}, KfpSettings(host=server.url))
    answer, hidden = server.answer, {"pipelines", "versions"}

    def hide_once(method: str, path: str, body: Any) -> tuple[int, Any]:
        last = path.partition("?")[0].rpartition("/")[2]
        if method == "GET" and last in hidden:
            hidden.remove(last)
            return 200, {}
        return answer(method, path, body)

    monkeypatch.setattr(server, "answer", hide_once)
    submit_run(package, {}, KfpSettings(host=server.url))
    assert not hidden
    assert len(server.pipelines) == len(server.versions) == 1
    assert server.runs[1].request["pipeline_version_reference"]["pipeline_version_id"] == "version-0"


def test_the_apis_form_of_a_file_is_uploaded_as_two_documents(server: FakeServer) -> None:
    spec, platform = yaml.safe_load_all(PACKAGE)
    text = json.dumps({"display_name": "v", "pipeline_spec": {"pipeline_spec": spec, "platform_spec": platform}})
    submit_run(parse(text), {}, KfpSettings(host=server.url))
    assert server.versions[0]["pipeline_spec"] == {"pipeline_spec": spec, "platform_spec": platform}


def test_user_who_may_not_upload_can_still_run_and_gets_a_warning(
    server: FakeServer, package: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    server.no_uploads = True
    assert submit_run(package, {}, KfpSettings(host=server.url)) == 0
    (run,) = server.sent("POST", "/apis/v2beta1/runs")
    spec, platform = yaml.safe_load_all(PACKAGE)
    assert run["pipeline_spec"] == {"pipeline_spec": spec, "platform_spec": platform}
    assert server.duplicate_form(server.runs[0].id) == {}
    printed = capsys.readouterr().err
    assert "the run does not belong to a pipeline version" in printed
    assert "may not create pipelines" in printed


def test_existing_experiment_is_used(server: FakeServer, package: Pipeline) -> None:
    server.experiments.append({"display_name": "ilab", "experiment_id": "old"})
    submit_run(package, {}, KfpSettings(host=server.url))
    assert server.sent("POST", "/apis/v2beta1/runs")[0]["experiment_id"] == "old"
    assert not server.sent("POST", "/apis/v2beta1/experiments")


@pytest.mark.parametrize("multi_user", [False, True])
def test_namespace_is_sent_only_to_multi_user_servers(server: FakeServer, package: Pipeline, multi_user: bool) -> None:
    server.multi_user = multi_user
    submit_run(package, {}, KfpSettings(host=server.url, namespace="lab"))
    for made in (*server.experiments, *server.pipelines):
        assert made.get("namespace") == ("lab" if multi_user else None)
    listed = [one["path"] for one in server.requests if one["path"].startswith("/apis/v2beta1/pipelines?")]
    assert ["namespace=lab" in path for path in listed] == [multi_user]


def test_unreachable_server_is_a_missing_prerequisite(server: FakeServer, package: Pipeline) -> None:
    server.http.server_close()
    with pytest.raises(PrerequisiteError, match="can't be reached"):
        submit_run(package, {}, KfpSettings(host=server.url))


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
        submit_run(package, {}, KfpSettings(host=host, token=TOKEN))


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
        submit_run(package, arguments, KfpSettings(host=server.url))
    assert "refused the request (400)" in caught.value.what
    assert said in caught.value.cause


def test_file_that_the_server_cannot_compile_is_not_retried() -> None:
    """Trap 47: KFP 2.5.0 answers 500, as if it were busy."""
    old = FakeServer("2.5.0")
    try:
        with pytest.raises(Refused) as caught:
            submit_run(
                parse(PACKAGE.replace("name: small", "name: small, taskFinalStatus: x")), {}, KfpSettings(host=old.url)
            )
    finally:
        old.stop()
    assert "can't compile the pipeline (500)" in caught.value.what
    assert "task final status not supported yet" in caught.value.cause and "lint" in caught.value.remedy


def test_cause_hidden_by_the_upload_is_reported_by_the_run_creation(server: FakeServer) -> None:
    """A bad file is "Failed to create a pipeline version" (500) there."""
    with pytest.raises(IlabError) as caught:
        submit_run(
            parse(PACKAGE.replace("schemaVersion: 2.1.0", "schemaVersion: 9.9.9")), {}, KfpSettings(host=server.url)
        )
    assert caught.value.cause == "KFP only supports schema version 2.1.0"


@pytest.mark.parametrize("variable", ["KF_PIPELINES_UI_ENDPOINT", "ILAB_UI_HOST"])
def test_links_start_with_the_address_in_the_variable(
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
def test_queue_of_a_run_is_written_into_the_labels_of_its_version(server: FakeServer, command: Any) -> None:
    """A pod's labels are texts of the platform spec: the server fills in no parameter (KFP 2.5.0 to 2.17)."""
    place = ["--on", "kfp"] if command is run else []
    done = CliRunner().invoke(command, [*place, "--host", server.url, "-p", "k8s_queue=gpus"])
    assert done.exit_code == 0, done.output
    found = server.versions[0]["pipeline_spec"]
    executors = found["platform_spec"]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    label = QUEUE_LABEL
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
