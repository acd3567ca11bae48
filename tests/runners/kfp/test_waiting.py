"""Waiting for a run of a Kubeflow Pipelines server: its outcome, interruptions, servers that stay away."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.fakes.kfp_server import KfpServer as FakeServer
from tests.fakes.kfp_server import Moment
from tests.runners.end_fields import END_FIELDS
from tests.runners.kfp.small_pipeline import TASKS
from utils.cli.submit import submit_run
from utils.errors import IlabError
from utils.ir.model import Pipeline
from utils.runners.kfp import KfpServer, Server, ServerAway
from utils.runners.settings import KfpSettings


def states(*pairs: str) -> dict[str, str]:
    """States of the tasks of the small pipeline."""
    return dict(zip(TASKS, pairs, strict=False))


@pytest.mark.parametrize(
    ("moments", "code", "printed"),
    [
        ([Moment("PENDING"), Moment("RUNNING"), Moment("SUCCEEDED")], 0, "SUCCEEDED run"),
        ([Moment("RUNNING"), 503, 502, 429, Moment("SUCCEEDED")], 0, "SUCCEEDED run"),
        ([Moment("FAILED", states("SUCCEEDED", "FAILED"))], 1, "FAILED    train"),
        ([Moment("FAILED", states("FAILED"))], 3, "FAILED    prerequisites"),
        ([Moment("FAILED", states("SKIPPED"), drivers=("prerequisites",))], 3, "FAILED    prerequisites"),
        ([Moment("FAILED")], 1, "FAILED    run"),
        ([Moment("SKIPPED")], 1, "SKIPPED   run"),
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
    assert submit_run(package, {}, KfpSettings(host=server.url), wait=True) == code
    assert server.runs[0].asked == len(moments)
    assert printed in capsys.readouterr().out


@pytest.mark.parametrize("sign", ["seen", "history", "Workflow"])
def test_stopped_run_is_distinguished_from_a_failed_one(
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
    assert submit_run(package, {}, KfpSettings(host=server.url), wait=True) == 130
    got = capsys.readouterr()
    assert "FAILED    train" in got.out
    assert "the run was stopped" in got.err
    assert "train failed" not in got.err


def test_a_run_that_was_retried_after_a_stop_has_failed(server: FakeServer, package: Pipeline) -> None:
    server.moments = [Moment("CANCELING"), Moment("RUNNING"), Moment("FAILED", states("SUCCEEDED", "FAILED"))]
    assert submit_run(package, {}, KfpSettings(host=server.url), wait=True) == 1


def test_a_stop_that_came_too_late_is_a_success(server: FakeServer, package: Pipeline) -> None:
    server.moments = [Moment("CANCELING"), Moment("SUCCEEDED")]
    assert submit_run(package, {}, KfpSettings(host=server.url), wait=True) == 0


def test_internal_nodes_are_not_shown(
    server: FakeServer, package: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither drivers and executors nor groups nor the Workflow itself."""
    server.moments = [Moment("RUNNING", states("SUCCEEDED", "RUNNING")), Moment("SUCCEEDED", states("SUCCEEDED"))]
    submit_run(package, {}, KfpSettings(host=server.url), wait=True)
    lines = [line.split(maxsplit=1)[1] for line in capsys.readouterr().out.splitlines()[3:]]
    assert sorted(lines[:3]) == ["RUNNING   run", "RUNNING   train", "SUCCEEDED prerequisites"]
    assert lines[3:] == ["SUCCEEDED run"]


def test_interrupted_waiting_leaves_the_run_alone(
    server: FakeServer, package: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(KfpServer.follow, "__defaults__", ({}, interrupt))
    server.moments = [Moment("RUNNING")]
    assert submit_run(package, {}, KfpSettings(host=server.url), wait=True) == 130
    assert "the run; it continues" in capsys.readouterr().err
    assert not [one for one in server.requests if one["path"].endswith(":terminate")]


def test_json_output_is_one_document(server: FakeServer, package: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    server.moments = [Moment("FAILED", states("SUCCEEDED", "FAILED"))]
    server.logs = {"train": "error: out of memory\n  cause: the card is small\n  next: use a larger one\n"}
    settings = KfpSettings(server.url, namespace="lab")
    assert submit_run(package, {}, settings, "r", "json", wait=True) == 1
    got = json.loads(capsys.readouterr().out)
    assert got.keys() >= END_FIELDS
    assert got == {
        "run_id": server.runs[0].id,
        "name": "r",
        "experiment": "ilab",
        "pipeline_version": server.versions[0]["display_name"],
        "url": f"{server.url}/#/runs/details/{server.runs[0].id}",
        "state": "FAILED",
        "stopped": False,
        "exit_code": 1,
        "error": "",
        "failed": {
            "train": {
                "text": "out of memory\n  cause: the card is small\n  next: use a larger one",
                "findings": "",
                "source": "artifact executor-logs",
            }
        },
        "outputs": None,
        "scores": None,
        "archive": None,
        "report": None,
    }


def test_permanent_error_ends_waiting_and_says_that_the_run_continues(server: FakeServer, package: Pipeline) -> None:
    server.moments = [Moment("RUNNING"), 401]
    with pytest.raises(IlabError) as caught:
        submit_run(package, {}, KfpSettings(host=server.url), wait=True)
    assert "refuses the token (401)" in caught.value.what
    assert "it continues" in caught.value.remedy


def test_server_that_stays_away_is_abandoned_after_a_while(server: FakeServer, package: Pipeline) -> None:
    server.moments = [503]
    submit_run(package, {}, KfpSettings(host=server.url))
    with pytest.raises(ServerAway):
        list(KfpServer(Server(server.url)).follow(server.runs[0].id))
    assert server.runs[0].asked == 41
