"""What a run leaves for its user: scores, the report as a page, the model; runs found by a part of their id."""

import io
import json
import re
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.fakes.s3 import S3
from utils.cli.main import main
from utils.cli.results import collect_report, result_lines
from utils.files import COMPILED
from utils.ir.model import Artifact, Event, Outputs, TaskState
from utils.runners.journal import Journal
from utils.runners.run_folder import RunFolder, create_run
from utils.runners.settings import ClusterSettings, LocalSettings

WEIGHTS = b"weights of the candidate"
PUBLISH, REPORT = "exit-handler-1/publish", "exit-handler-1/report"


def call(home: Path, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--home", str(home)])


def make_run(home: Path, run_id: str, settings: LocalSettings | ClusterSettings, **outputs: Outputs) -> RunFolder:
    """A run that has succeeded; outputs by task: publish, report."""
    folder = create_run(home, run_id, COMPILED.read_text(), {}, settings)
    with Journal(folder.journal) as journal:
        journal.append("run")
        for task, given in outputs.items():
            journal.on_event(Event(1.0, f"exit-handler-1/{task}", TaskState.SUCCEEDED, outputs=given))
        journal.append("end", state="SUCCEEDED")
    return folder


def local(secrets: Path | None = None) -> LocalSettings:
    return LocalSettings(python="python3", secrets=str(secrets or ""))


def archive(names: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name, data in names.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return content.getvalue()


def test_model_comes_from_the_published_archive(tmp_path: Path, s3_server: S3) -> None:
    body = archive({"model/config.json": b"{}", "model/model.safetensors": WEIGHTS, "scores/mt_bench.json": b"{}"})
    s3_server.client().put_object(Bucket="ilab", Key="results/a.tar.gz", Body=body)
    s3_server.secret(tmp_path / "secrets" / "sdg-object-store-credentials")
    published = Outputs(parameters={"Output": "results/a.tar.gz"})
    make_run(tmp_path, "r1", local(tmp_path / "secrets"), publish=published)
    done = call(tmp_path, "get-model", "r1", str(tmp_path / "new" / "model"))
    assert (done.exit_code, done.stderr) == (0, "")
    assert "the model of r1, from results/a.tar.gz" in done.output
    assert sorted(file.name for file in (tmp_path / "new" / "model").iterdir()) == ["config.json", "model.safetensors"]
    assert (tmp_path / "new" / "model" / "model.safetensors").read_bytes() == WEIGHTS
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model"]  # no scratch folder is left


def test_model_comes_from_the_volume_where_it_is_kept(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "r1", local())
    candidate = folder.claims / "ilab-r1" / "phase_2" / "hf_format" / "samples_8"
    candidate.mkdir(parents=True)
    (candidate / "config.json").write_text("{}")
    (folder.claims / "ilab-r1" / "scores").mkdir()
    (folder.claims / "ilab-r1" / "scores" / "mt_bench.json").write_text(
        json.dumps({"candidate": "phase_2/hf_format/samples_8"})
    )
    assert call(tmp_path, "get-model", str(tmp_path / "model")).exit_code == 0
    assert (tmp_path / "model" / "config.json").exists() and candidate.exists()


@pytest.mark.parametrize(
    ("settings", "published", "existing", "message"),
    [
        (local(), "", False, "the run r1 has no model"),
        (ClusterSettings(namespace="lab"), "a.tar.gz", False, "it is in the archive a.tar.gz"),
        (local(), "a.tar.gz", True, "already exists"),
        (local(), "a.tar.gz", False, "there is no Secret sdg-object-store-credentials"),
    ],
)
def test_model_that_cannot_be_had_is_an_error_with_a_remedy(
    settings: LocalSettings | ClusterSettings, published: str, existing: bool, message: str, tmp_path: Path
) -> None:
    make_run(tmp_path, "r1", settings, publish=Outputs(parameters={"Output": published}))
    if existing:
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "mine").touch()
    done = call(tmp_path, "get-model", "r1", str(tmp_path / "model"))
    assert done.exit_code in (1, 2) and message in done.output, done.output
    assert (tmp_path / "model").exists() is existing
    assert not list(tmp_path.glob(".model*"))


def test_runs_are_found_by_a_part_of_their_id(tmp_path: Path) -> None:
    for run_id in ("run-20260101-000000-aaaa", "run-20260102-000000-bbbb"):
        make_run(tmp_path, run_id, local())
    for words in (["logs", "aaaa"], ["status", "aaaa"], ["resume", "0101"]):
        done = call(tmp_path, *words)
        assert done.exit_code == 0 and "aaaa" in done.output, done.output
    assert "bbbb" in call(tmp_path, "status", "latest").output
    several = call(tmp_path, "status", "run-")
    assert several.exit_code == 2 and "2 runs" in several.output and "aaaa, run-20260102" in several.output
    assert call(tmp_path, "clean", "--yes", "aaa").exit_code == 2  # too short to be meant
    assert call(tmp_path, "clean", "--yes", "latest").exit_code == 0
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["run-20260101-000000-aaaa"]
    assert "no runs" in call(tmp_path, "logs", "cccc").output


@pytest.mark.parametrize("columns", [20, 80, 200])
def test_status_cuts_nothing(columns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = "a" * 30 + "-20260101-000000-aaaa"
    make_run(tmp_path, long, local())
    monkeypatch.setenv("COLUMNS", str(columns))
    (line,) = [line for line in call(tmp_path, "status").output.splitlines() if long in line]
    assert "SUCCEEDED" in line and "0/12" in line and re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", line)


def test_report_of_a_local_run_is_a_page_in_its_folder(tmp_path: Path) -> None:
    for name in ("page", "data"):
        (tmp_path / name).write_text(name)
    files = {name: [Artifact(name, "system.Artifact", f"file://{tmp_path / name}")] for name in ("page", "data")}
    numbers = {"mt_bench_candidate": 6.5, "nll_base": 2.0, "nll_candidate": 1.5, "nll_change": -0.5}
    metrics = [Artifact("metrics", "system.Metrics", "", numbers)]
    outputs = Outputs(parameters={"Output": "s3://b/a.report.html"}, artifacts={**files, "metrics": metrics})
    folder = make_run(tmp_path, "r1", local(), report=outputs)
    page = collect_report(folder)
    assert page and (page.name, page.read_text()) == ("report.html", "page")
    assert list(result_lines(folder.history().finished)) == [
        "mt_bench: candidate 6.5",
        "nll: base 2, candidate 1.5 (-0.5)",
        "report: s3://b/a.report.html",
    ]
    assert collect_report(make_run(tmp_path, "r2", local())) is None


def test_result_in_a_folder_is_shown_and_gives_the_model(tmp_path: Path) -> None:
    result = tmp_path / "results" / "r1"
    (result / "model").mkdir(parents=True)
    (result / "model" / "config.json").write_text("{}")
    outputs = {
        "publish": Outputs(parameters={"Output": str(result)}),
        "report": Outputs(parameters={"Output": f"{result}/report.html"}),
    }
    make_run(tmp_path, "r1", local(), **outputs)
    shown = call(tmp_path, "status", "r1").output
    assert f"  result: {result}\n  report: {result}/report.html\n" in shown
    assert json.loads(call(tmp_path, "status", "r1", "-o", "json").output)["archive"] == str(result)
    done = call(tmp_path, "get-model", "r1", str(tmp_path / "model"))
    assert done.output == f"{tmp_path}/model: the model of r1, from {result}\n"
    assert (tmp_path / "model" / "config.json").read_text() == "{}"
    assert f"the result of r1 stays in {result}" in call(tmp_path, "clean", "r1", "--yes").output
    assert (result / "model").is_dir()


def test_removed_result_is_told(tmp_path: Path) -> None:
    make_run(tmp_path, "r1", local(), publish=Outputs(parameters={"Output": str(tmp_path / "gone")}))
    done = call(tmp_path, "get-model", "r1", str(tmp_path / "model"))
    assert done.exit_code == 2 and "there is no" in done.output


@pytest.mark.parametrize(
    ("metrics", "line"),
    [
        ({"mt_bench_candidate": 6.5}, "mt_bench: candidate 6.5"),
        ({"mmlu_base": 0.5, "mmlu_candidate": 0.6, "mmlu_change": 0.1}, "mmlu: base 0.5, candidate 0.6 (+0.1)"),
        (
            {"mmlu_base": 0.5, "mmlu_candidate": 0.6, "mmlu_change": 0.1, "mmlu_verdict": 0},
            "mmlu: base 0.5, candidate 0.6 (+0.1: not distinguishable)",
        ),
        (
            {"mmlu_base": 0.5, "mmlu_candidate": 0.6, "mmlu_change": 0.1, "mmlu_verdict": 0, "mmlu_needed": 1300},
            "mmlu: base 0.5, candidate 0.6 (+0.1: not distinguishable, at least 1,300 questions needed)",
        ),
        (
            {
                **{"nll_base": 2, "nll_candidate": 1, "nll_change": -1, "nll_low": -3, "nll_high": 1},
                **{"nll_verdict": 0, "nll_needed": 70},
            },
            "nll: base 2, candidate 1 (-1, -3 to +1: not distinguishable, about 70 questions needed)",
        ),
        (
            {"nll_base": 2, "nll_candidate": 1, "nll_change": -1, "nll_low": -1.5, "nll_high": -0.5, "nll_verdict": 1},
            "nll: base 2, candidate 1 (-1, -1.5 to -0.5: better)",
        ),
    ],
)
def test_line_of_a_score_has_its_interval_and_verdict(metrics: dict[str, float], line: str) -> None:
    artifact = Artifact("metrics", "system.Metrics", "file:///m", dict(metrics))
    assert [*result_lines({REPORT: Outputs(artifacts={"metrics": [artifact]})})] == [line]
