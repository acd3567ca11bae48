"""The report of a run in a real MLflow server: what its users see there, also when the report is made again."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from kfp import dsl

from components.report import report
from tests.stages.report.example_run import full_run
from utils.names import CLAIMS_DIR
from utils.stages.evaluation.serving import free_port

STARTED = 600.0
"""Seconds that the server may take to start."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """MLflow with a database and artifacts of its own ($ILAB_MLFLOW, set by `make mlflow`)."""
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    stores = ["--backend-store-uri", "sqlite:///mlflow.sqlite", "--artifacts-destination", "./artifacts"]
    command = [os.environ["ILAB_MLFLOW"], "server", *stores, "--host", "127.0.0.1", "--port", str(port), "--workers=1"]
    with (folder / "log").open("w") as log, subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                wait_until_up(client, process, folder / "log")
                yield client
        finally:
            process.terminate()


def wait_until_up(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + STARTED
    while True:
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-2000:]
        try:
            if client.get("/health").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.5)


def make_report(folder: Path, run_id: str) -> dict[str, float]:
    """Run the task on the volume of a finished run; its metrics."""
    if not (folder / "volume").exists():
        full_run(folder / "volume")
    metrics = dsl.Metrics(uri=str(folder / "metrics"))
    report.python_func(
        data_dir=str(folder / "volume"), run_id=run_id, notes=[], ca_file="", name="", images={},
        store_secret_dir="", data_key="", page=dsl.HTML(uri=str(folder / "page.html")),
        data=dsl.Artifact(uri=str(folder / "data.json")), metrics=metrics,
    )  # fmt: skip
    return dict(metrics.metadata)


def call(server: httpx.Client, path: str, **body: Any) -> dict[str, Any]:
    """An answer of MLflow's API."""
    answer = server.post(f"/api/2.0/mlflow/{path}", json=body).raise_for_status()
    return dict(answer.json())


def runs(server: httpx.Client, experiment: str) -> list[dict[str, Any]]:
    query = {"experiment_name": experiment}
    found = server.get("/api/2.0/mlflow/experiments/get-by-name", params=query).raise_for_status().json()
    listed = call(server, "runs/search", experiment_ids=[found["experiment"]["experiment_id"]])
    return list(listed.get("runs", []))


def named(entries: list[dict[str, Any]]) -> dict[str, Any]:
    return {one["key"]: one["value"] for one in entries}


def page_of(server: httpx.Client, run: dict[str, Any]) -> str:
    place = run["info"]["artifact_uri"].removeprefix("mlflow-artifacts:/")
    return server.get(f"/api/2.0/mlflow-artifacts/artifacts/{place}/report.html").raise_for_status().text


@pytest.fixture(autouse=True)
def environment(server: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CLAIMS_DIR, str(tmp_path / "claims"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(server.base_url))


def test_run_is_there_once_with_parameters_curves_scores_and_page(
    server: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "pellwick")
    for _ in range(2):
        scores = make_report(tmp_path, "ilab-1")
    (run,) = runs(server, "pellwick")
    assert (run["info"]["run_name"], run["info"]["status"]) == ("ilab-1", "FINISHED")
    parameters, metrics = named(run["data"]["params"]), named(run["data"]["metrics"])
    assert parameters["train_phase_2.learning_rate"] == "2e-05" and parameters["train_phase_1.phase"] == "1"
    assert scores and {name: metrics[name] for name in scores} == pytest.approx(scores)
    assert "better than the base model" in named(run["data"]["tags"])["mlflow.note.content"]
    query: dict[str, Any] = {"run_id": run["info"]["run_id"], "metric_key": "skills_train_loss", "max_results": 1000}
    history = server.get("/api/2.0/mlflow/metrics/get-history", params=query).json()["metrics"]
    assert [one["step"] for one in history] == list(range(1, 471))
    assert page_of(server, run) == (tmp_path / "page.html").read_text()
    out = capsys.readouterr().out
    assert f"MLflow: {server.base_url}".rstrip("/") in out and "warning" not in out


def test_task_that_has_a_run_of_its_own_leaves_scores_and_end_to_the_launcher(
    server: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in pods of Kubeflow Pipelines 2.17."""
    experiment = call(server, "experiments/create", name="nested")["experiment_id"]
    nested = call(server, "runs/create", experiment_id=experiment, run_name="report")["run"]["info"]["run_id"]
    monkeypatch.setenv("MLFLOW_RUN_ID", nested)
    scores = make_report(tmp_path, "ilab-2")
    (run,) = runs(server, "nested")
    assert (run["info"]["run_id"], run["info"]["status"]) == (nested, "RUNNING")
    metrics = named(run["data"]["metrics"])
    assert "skills_train_loss" in metrics and not scores.keys() & metrics.keys()
    assert page_of(server, run) == (tmp_path / "page.html").read_text()


def test_server_that_refuses_is_a_warning(
    server: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "no-such-run")
    assert make_report(tmp_path, "ilab-3")
    assert f"warning: MLflow at {server.base_url}".rstrip("/") in capsys.readouterr().out
