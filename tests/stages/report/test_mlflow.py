"""What MLflow gets, and that a run does not fail for it. `make mlflow` tests a real server."""

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
    assert headers({"MLFLOW_TRACKING_TOKEN": "t"}) == {"Authorization": "Bearer t"}
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
