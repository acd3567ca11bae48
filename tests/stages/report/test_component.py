"""The component as a pod runs it: the source in the pipeline file, without this repository."""

import json
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from components.report import report
from utils.names import CLAIMS_DIR
from utils.stages.report.page import render

SOURCE = report.component_spec.implementation.container.command[-1]


@pytest.fixture
def outputs(tmp_path: Path, runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the embedded source made of the full run; nothing but the source is at hand."""
    monkeypatch.setenv(CLAIMS_DIR, str(tmp_path / "claims"))
    names: dict[str, Any] = {}
    exec(compile(SOURCE, "report", "exec"), names)
    made: dict[str, Any] = {
        "page": dsl.HTML(uri=str(tmp_path / "page")),
        "data": dsl.Artifact(uri=str(tmp_path / "data")),
        "metrics": dsl.Metrics(),
    }
    nowhere = {
        "store_secret_dir": str(tmp_path / "none"),
        "ca_file": "",
        "data_key": "",
        "name": "",
    }
    stored = names["report"](data_dir=str(runs["full"]), run_id="run-x4k2", notes=["A small judge."], **nowhere, **made)
    assert stored == "", "without an object store it stays on the volume and in the artifacts"
    return made


def test_artifacts_and_volume_hold_the_same_page_and_facts(
    outputs: dict[str, Any], runs: dict[str, Path], facts: dict[str, dict[str, Any]]
) -> None:
    assert Path(outputs["page"].path).read_text() == (runs["full"] / "report/report.html").read_text()
    assert Path(outputs["page"].path).read_text() == render(facts["full"])
    assert json.loads(Path(outputs["data"].path).read_text()) == json.loads(json.dumps(facts["full"]))
    assert Path(outputs["data"].path).read_text() == (runs["full"] / "report/report.json").read_text()


def test_metrics_hold_base_candidate_and_change(outputs: dict[str, Any]) -> None:
    logged = outputs["metrics"].metadata
    assert logged["likelihood_base"] == 2.297
    assert logged["likelihood_candidate"] == 1.304
    assert logged["likelihood_change"] == pytest.approx(-0.993)
    assert logged["likelihood_low"] < -0.993 < logged["likelihood_high"] < 0
    words = [logged[f"{name}_verdict"] for name in ("likelihood", "mmlu_branch", "mt_bench_branch")]
    assert words == [1, 1, 0] and "mt_bench_verdict" not in logged
    assert logged["mt_bench_branch_needed"] > 40 and "likelihood_needed" not in logged
    assert logged["mt_bench_candidate"] == 6.94
    assert "mt_bench_base" not in logged
