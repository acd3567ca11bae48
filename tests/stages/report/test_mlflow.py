"""What MLflow gets, and that a run does not fail for it. `make mlflow` tests a real server."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from utils.stages.report import mlflow
from utils.stages.report.mlflow import MlflowServer, Tracked, account, batches, headers, track, tracked

RUN = Tracked("ilab-1", "note", {}, {}, [], "<p>page", 0)


def test_parameters_curves_and_scores_come_from_the_facts(facts: dict[str, dict[str, Any]]) -> None:
    run = tracked(facts["full"], {"likelihood_change": -1.0}, "page", 12.5)
    assert run.parameters["train_phase_1.learning_rate"] == "2e-05"
    assert not any(name.endswith(".upstream") for name in run.parameters)
    curves = [name for name, _, _ in run.curves]
    assert [curves.count(name) for name in ("knowledge_train_loss", "skills_train_loss")] == [189, 470]
    assert [step for name, _, step in run.curves if name == "mt_bench_by_samples"] == [2430, 4860, 7290, 12150]
    assert (run.scores, run.milliseconds) == ({"likelihood_change": -1.0}, 12500)
    assert run.note.startswith("The candidate is better than the base model on Likelihood")


def test_run_that_did_nothing_has_nothing_to_log(facts: dict[str, dict[str, Any]]) -> None:
    run = tracked(facts["empty"], {}, "page", 0)
    assert (run.parameters, run.curves) == ({}, [])


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, ""),
        ({"MLFLOW_TRACKING_URI": ""}, ""),
        (
            {"MLFLOW_TRACKING_URI": "sqlite:///x"},
            "warning: MLflow at sqlite:///x does not have all of the run: MLFLOW_",
        ),
        (
            {"MLFLOW_TRACKING_URI": "http://me:CANARY@127.0.0.1:9/"},
            "warning: MLflow at http://***@127.0.0.1:9 does not",
        ),
        ({"MLFLOW_TRACKING_URI": "http://[/"}, "warning: MLflow at http://[ does not"),
        ({"MLFLOW_TRACKING_URI": "http://x", "MLFLOW_TRACKING_AUTH": "kubernetes"}, "No such file or directory"),
    ],
)
def test_failure_is_a_warning_without_the_password(
    environment: dict[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    track(RUN, environment)
    out = capsys.readouterr().out
    assert said in out and bool(out) == bool(said) and "CANARY" not in out


def test_server_is_told_who_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow, "TOKEN", tmp_path / "token")
    (tmp_path / "token").write_text("of-the-pod\n")
    assert headers({}) == {} and account({}) is None
    assert headers({"MLFLOW_TRACKING_TOKEN": "t\n"}) == {"Authorization": "Bearer t"}
    pod = {"MLFLOW_TRACKING_AUTH": "kubernetes", "MLFLOW_WORKSPACE": "team"}
    assert headers(pod) == {"Authorization": "Bearer of-the-pod", "X-MLFLOW-WORKSPACE": "team"}
    assert account({"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "p"}) == ("me", "p")


def test_requests_hold_no_more_than_the_server_takes() -> None:
    sent = [*batches(params=[*range(101)], metrics=[*range(2500)])]
    assert [len(of) for body in sent for of in body.values()] == [100, 1, 1000, 1000, 500]


@pytest.mark.parametrize("place", ["s3://bucket/1/x/artifacts", "mlflow-artifacts://other:80/1/x", "", "/mlruns/1"])
def test_page_goes_to_no_other_server(place: str) -> None:
    with httpx.Client() as client, pytest.raises(ValueError, match="does not take them"):
        MlflowServer(client, "http://127.0.0.1:9").upload(place, "report.html", "page")


@contextlib.contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """A server that answers everything alike: its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "body", "more", "said"),
    [
        (200, b"[1]", {}, "it answers as no MLflow does"),
        (200, b'{"run": {"info": {}}}', {"MLFLOW_RUN_ID": "r"}, "it answers as no MLflow does: KeyError('run_id')"),
        (200, b"<html>", {}, "Expecting value"),
        (302, b"", {}, "HTTP 302"),
        (404, b"no run", {"MLFLOW_RUN_ID": "r"}, "mlflow/runs/get: HTTP 404: no run"),
        (404, b"not here", {}, "mlflow/experiments/create: HTTP 404: not here"),
    ],
)
def test_server_that_is_no_mlflow_is_a_warning(
    status: int, body: bytes, more: dict[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(status, body) as url:
        track(RUN, {"MLFLOW_TRACKING_URI": url + "\n", **more})
    assert f"warning: MLflow at {url} does not have all of the run: " in (out := capsys.readouterr().out)
    assert said in out


@pytest.mark.parametrize("token", ["CANARY\nCANARY", "CANARY\xe9"])
def test_token_that_no_header_can_have_is_not_shown(token: str, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(200, b"{}") as url:
        track(RUN, {"MLFLOW_TRACKING_URI": url, "MLFLOW_TRACKING_TOKEN": token})
    out = capsys.readouterr().out
    assert "MLFLOW_TRACKING_TOKEN or MLFLOW_WORKSPACE has characters that can't be sent" in out and "CANARY" not in out


def test_server_that_does_not_answer_does_not_hold_up_the_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mlflow, "WAIT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        track(RUN, {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{silent.getsockname()[1]}"})
        assert "it has not taken it in 0.05 s" in capsys.readouterr().out
