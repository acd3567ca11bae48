"""`ilab-pipeline report` and `compare`: the report of a run, wherever it is, and two runs side by side."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.cli.test_results import local, make_run
from tests.docs.guides import commands
from tests.fakes.s3 import S3
from tests.stages.report.example_run import full_run, sparse_run, write
from utils.cli.comparison import compare_scores
from utils.cli.main import main
from utils.cli.reports import Report
from utils.ir.model import Artifact, Outputs
from utils.runners.run_folder import RunFolder
from utils.runners.settings import ClusterSettings, LocalSettings
from utils.stages.evaluation.statistics import Answered
from utils.stages.report.facts import report_facts


def call(*words: object) -> Result:
    return CliRunner().invoke(main, list(map(str, words)))


@pytest.fixture
def facts(tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(report_facts(str(full_run(tmp_path / "v")), "r1", ["A note."])))
    return found


def with_report(
    home: Path, run_id: str, facts: dict[str, Any], settings: LocalSettings | ClusterSettings, address: str = ""
) -> RunFolder:
    """A run whose task report has made page and facts, which lie where the task put them."""
    place = home / "made" / run_id
    place.mkdir(parents=True)
    (place / "page").write_text("<p>")
    (place / "data").write_text(json.dumps(facts))
    artifacts = {name: [Artifact(name, "system.Artifact", f"file://{place / name}")] for name in ("page", "data")}
    outputs = Outputs(parameters={"Output": address}, artifacts={} if address else artifacts)
    return make_run(home, run_id, settings, report=outputs)


def test_report_of_the_newest_run_is_told_and_opened(
    tmp_path: Path, facts: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: not opened.append(url))  # type: ignore[func-returns-value]
    folder = with_report(tmp_path, "r1", facts, local())
    done = call("report", "--home", tmp_path)
    assert done.exit_code == 0 and opened == []
    *told, note, page = done.output.splitlines()
    assert " ".join(told) == f"{facts['headline']}. {facts['fate']}." and len(told) > 1
    assert max(map(len, told)) <= 80
    assert (note, page) == ("  A note.", f"page: {folder.path}/report.html")
    told = json.loads(call("report", "r1", "--home", tmp_path, "-o", "json", "--open").output)
    assert opened == [f"file://{folder.path}/report.html"] and told["page"] == str(folder.path / "report.html")
    assert told["headline"] == facts["headline"] and len(told["comparisons"]) == 5


def test_machine_without_a_browser_names_the_page(
    tmp_path: Path, facts: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webbrowser.open", lambda url: False)
    folder = with_report(tmp_path, "r1", facts, local())
    done = call("report", "--open", "--home", tmp_path)
    assert done.exit_code == 1 and f"the page is {folder.path}/report.html" in done.output


def test_report_of_a_run_that_has_none_is_an_error(tmp_path: Path) -> None:
    make_run(tmp_path, "r1", local())
    done = call("report", "--home", tmp_path)
    assert done.exit_code == 2 and "next: see how far it came: ilab-pipeline status r1" in done.output


def put(s3_server: S3, key: str, facts: dict[str, Any]) -> None:
    for kind, body in (("html", b"<p>stored"), ("json", json.dumps(facts).encode())):
        s3_server.client().put_object(Bucket="ilab", Key=f"{key}.report.{kind}", Body=body)


@pytest.mark.parametrize("place", ["machine", "cluster"])
def test_report_in_the_object_store_is_copied_to_the_runs_folder(
    place: str, tmp_path: Path, facts: dict[str, Any], s3_server: S3
) -> None:
    key = f"reports/{place}.tar.gz"
    put(s3_server, key, facts)
    secret = s3_server.secret(tmp_path / "secrets" / "sdg-object-store-credentials")
    settings = local(tmp_path / "secrets") if place == "machine" else ClusterSettings(namespace="lab")
    folder = with_report(tmp_path, "r1", facts, settings, f"s3://ilab/{key}.report.html")
    if place == "cluster":
        done = call("report", "--home", tmp_path)
        assert done.exit_code == 2 and "next: ilab-pipeline report latest --secret FILE" in done.output
    done = call("report", "--home", tmp_path, *(["--secret", secret] if place == "cluster" else []))
    assert done.exit_code == 0 and f"page: {folder.path}/report.html" in done.output, done.output
    assert (folder.path / "report.html").read_text() == "<p>stored"


@pytest.mark.parametrize("given", ["reports/key.tar", "s3://ilab/reports/key.tar", "reports/key.tar.report.html"])
def test_report_is_found_by_the_key_of_its_archive(
    given: str, tmp_path: Path, facts: dict[str, Any], s3_server: S3
) -> None:
    put(s3_server, "reports/key.tar", facts)
    done = call("report", given, "--home", tmp_path, "--secret", s3_server.secret(tmp_path / "s"))
    assert done.exit_code == 0 and f"page: {tmp_path}/reports/key.tar.report.html" in done.output, done.output
    assert call("report", given, "--home", tmp_path).exit_code == 2


@pytest.mark.parametrize("text", ["{", "[]", "{}", "[" * 100_000, '{"headline": 1}'])
def test_file_that_is_not_a_report_is_an_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(text)
    done = call("report", tmp_path)
    assert done.exit_code == 1 and "is not the report of a run" in done.output


def answered(shift: float, leaf: str = "a", number: int = 40, tokens: float = 10.0) -> list[dict[str, Any]]:
    """Answers of a candidate that is better than another by shift per token, on average."""
    noise, tokens_of = Random(leaf), tokens
    return [
        asdict(Answered(f"q{i}", leaf, 20.0, 15 - tokens * (shift + noise.gauss(0, 0.02)) + i, tokens_of, f"d{i}"))
        for i in range(number)
    ]


def run(name: str, facts: dict[str, Any], **scores: Any) -> Report:
    own = {key: {**facts["scores"].get(key, {}), **score} for key, score in scores.items()}
    return Report(name, {**facts, "scores": own}, None, name, {})


@pytest.mark.parametrize(("shift", "word"), [(0.2, "better"), (-0.2, "worse")])
def test_change_of_the_same_questions_is_that_of_pairs(facts: dict[str, Any], shift: float, word: str) -> None:
    """Between the questions lie whole nats, between the answers to one of them tenths: only pairs show it."""
    first, second = (run(name, facts, likelihood={"answers": answered(by)}) for name, by in (("a", 0.0), ("b", shift)))
    (one,) = compare_scores(first, second, 0.95)
    assert one.difference and one.difference.word == word and one.questions == (40, 40, 40)
    assert one.difference.change == pytest.approx(-shift, abs=0.02)
    assert one.difference.low is not None and one.difference.low <= (one.difference.change or 0)


def test_runs_that_do_not_differ_are_not_told_apart(facts: dict[str, Any]) -> None:
    same = run("a", facts, likelihood={"answers": answered(0.0)})
    (one,) = compare_scores(same, same, 0.95)
    assert one.difference and one.difference.word == "not distinguishable" and one.difference.change == 0


@pytest.mark.parametrize(
    ("second", "note", "same"),
    [
        ({"answers": answered(0.0, "other")}, "no question is the same", 0),
        ({"answers": answered(0.0, tokens=11.0)}, "40 of the same questions have other tokens", 0),
        ({"answers": []}, "the answers were not kept", 0),
        ({"answers": answered(0.1, number=20)}, "", 20),
    ],
)
def test_questions_that_are_not_the_same_are_left_out(
    facts: dict[str, Any], second: dict[str, Any], note: str, same: int
) -> None:
    first = run("a", facts, likelihood={"answers": answered(0.0)})
    (one,) = compare_scores(first, run("b", facts, likelihood=second), 0.95)
    assert note in one.note and one.questions[2] == same and (one.difference is None) == (same == 0)
    assert (one.first, one.second) == (1.304, 1.304)


def bench(score: float, judge: str = "prometheus") -> dict[str, Any]:
    """MT-Bench: ten questions with two turns each."""
    rated = [
        {"question_id": str(q), "turn": turn, "score": score - q % 3} for q in range(80, 90) for turn in (1, 2)
    ]  # fmt: skip
    own = {"model": "c", "overall_score": score, "qa_scores": rated}
    return {"candidate": "c", "checkpoints": [own, {"model": "d"}], "judge_model": judge}


def test_mt_bench_is_compared_by_question_and_by_one_judge(facts: dict[str, Any]) -> None:
    (one,) = compare_scores(run("a", facts, mt_bench=bench(5.0)), run("b", facts, mt_bench=bench(7.0)), 0.95)
    assert one.difference and (one.difference.change, one.difference.word) == (2.0, "better")
    assert one.questions == (20, 20, 20) and one.difference.unit == "document"
    (one,) = compare_scores(run("a", facts, mt_bench=bench(5.0)), run("b", facts, mt_bench=bench(7.0, "x")), 0.95)
    assert one.difference is None and one.note == "judged by prometheus and x" and (one.first, one.second) == (5, 7)


@pytest.mark.parametrize(("metric", "told"), [("acc", "better"), ("f1", "measured by acc and f1")])
def test_tasks_of_the_harness_are_compared_by_one_metric(facts: dict[str, Any], metric: str, told: str) -> None:
    kind = {"lower_is_better": False, "right_or_wrong": True, "model_score": 0.5}
    sides = [[{"question": str(i), "leaf": "arc", "base": 0, "candidate": score} for i in range(9)] for score in (0, 1)]
    first, second = (
        run("a", facts, eval_arc={**kind, "metric": name, "answers": rows})
        for name, rows in zip(("acc", metric), sides, strict=True)
    )
    (one,) = compare_scores(first, second, 0.95)
    assert (one.name, one.what) == ("arc", "acc, a task of the lm-evaluation-harness")
    assert (one.difference.word if one.difference else one.note) == told


def test_scores_of_another_shape_are_an_error(tmp_path: Path, facts: dict[str, Any]) -> None:
    for number, change in enumerate(({"answers": [1]}, {"answers": 1}, {"answers": [{"leaf": "a"}]})):
        folder = tmp_path / str(number)
        write(folder, "report.json", {**facts, "scores": {"likelihood": change}})
        done = call("compare", folder, folder)
        assert done.exit_code == 1 and f"the scores in {folder}/report.json can't be read" in done.output


def test_two_runs_are_compared_on_the_terminal_and_as_json(tmp_path: Path, facts: dict[str, Any]) -> None:
    other = json.loads(json.dumps(facts).replace('"seed": 42', '"seed": 7').replace("2.6.0", "2.7.0"))
    for sides, shift in ((facts, 0.0), (other, 0.2)):
        sides["scores"]["likelihood"]["answers"] = answered(shift)
    first, second = with_report(tmp_path, "r-one", facts, local()), with_report(tmp_path, "r-two", other, local())
    for folder, value in ((first, "simple"), (second, "full")):
        stored = json.loads((folder.path / "run.json").read_text())
        write(folder.path, "run.json", {**stored, "arguments": {"sdg_pipeline": value, "gate_min_mt_bench": 0.0}})
    done = call("compare", "r-one", "r-two", "--home", tmp_path)
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.output.splitlines()]
    assert lines[:3] == [["first:", "r-one"], ["second:", "r-two"], []]
    assert lines[3] == ["measure", "first", "second", "change", "(95%)", "same", "questions"]
    assert lines[4][:3] == ["Likelihood", "1.304", "1.304"] and lines[4][-1] == "40" and lines[5] == ["better"]
    assert "  sdg_pipeline: simple → full\n  version of torch: 2.6.0 → 2.7.0\n" in done.output
    assert "gate_min_mt_bench" not in done.output, "it is the default"
    assert max(map(len, done.output.splitlines())) <= 80
    told = json.loads(call("compare", "r-one", "r-two", "--home", tmp_path, "-o", "json").output)
    assert [one["run_id"] for one in told["runs"]] == ["r-one", "r-two"]
    assert {"name": "sdg_pipeline", "first": "simple", "second": "full"} in told["given"]
    (scored,) = [one for one in told["scores"] if one["key"] == "likelihood"]
    assert scored["difference"]["word"] == "better" and scored["questions"] == [40, 40, 40]


def test_reports_alone_are_compared_by_what_the_stages_were_given(tmp_path: Path, facts: dict[str, Any]) -> None:
    write(tmp_path / "one", "report.json", facts)
    sparse = report_facts(str(sparse_run(tmp_path / "sparse")), "r2", [])
    write(tmp_path / "two", "report.json", json.loads(json.dumps(sparse)))
    done = call("compare", tmp_path / "one", tmp_path / "two" / "report.json")
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.output.splitlines()]
    at = lines.index(["MT-Bench", "6.94", "–", "–", "–"])
    assert lines[at + 1] == ["not", "measured", "in", "r2"]
    assert any(line[0] == "publish.gate:" for line in lines if line)
    shutil.rmtree(tmp_path / "two")
    same = call("compare", tmp_path / "one", tmp_path / "one")
    assert "both were given the same" in same.output


def test_commands_of_the_guide_read_reports_in_the_object_store(
    tmp_path: Path, facts: dict[str, Any], s3_server: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webbrowser.open", lambda url: True)
    (text,) = commands("kubernetes.md", "test_commands_of_the_guide_read_reports_in_the_object_store")
    given = {"secrets.yaml": str(s3_server.secret(tmp_path / "s"))}
    given |= {name: f"s3://ilab/reports/{name}" for name in ("KEY", "FIRST_KEY", "SECOND_KEY")}
    for name in ("KEY", "FIRST_KEY", "SECOND_KEY"):
        put(s3_server, f"reports/{name}", facts)
    for line in text.splitlines():
        words = [given.get(word, word) for word in line.split()]
        done = call(*words[1:], "--home", tmp_path)
        assert done.exit_code == 0, done.output


def test_cost_is_that_of_the_gpu_hours(tmp_path: Path, facts: dict[str, Any]) -> None:
    with_report(tmp_path, "r1", {**facts, "gpu_hours": {"train_phase_2": 60.5, "mt_bench": 2.0}}, local())
    (tmp_path / "rates.yaml").write_text("gpu_hour: 2.5\ncurrency: EUR\n")
    assert "  62.50 GPU-hours\n" in call("report", "--home", tmp_path).output
    words = ("report", "--home", tmp_path, "--rates", tmp_path / "rates.yaml")
    assert "  62.50 GPU-hours, 156.25 EUR\n" in call(*words).output
    told = json.loads(call(*words, "-o", "json").output)
    assert (told["cost"], told["currency"], told["gpu_hours"]["mt_bench"]) == (156.25, "EUR", 2.0)


def test_training_hours_stand_beside_those_estimated(tmp_path: Path, facts: dict[str, Any]) -> None:
    hours = {"gpu_hours": {"train_phase_2": 60.5, "mt_bench": 2.0}, "estimated_gpu_hours": {"train_phase_2": 48.25}}
    with_report(tmp_path, "r1", {**facts, **hours}, local())
    told = call("report", "--home", tmp_path).output
    assert "  62.50 GPU-hours\n  60.50 of them for training; estimated: 48.25 on H100\n" in told


def test_cost_of_a_run_whose_gpu_hours_are_not_known_is_not_zero(tmp_path: Path, facts: dict[str, Any]) -> None:
    with_report(tmp_path, "r1", {**facts, "gpu_hours": {}}, local())
    (tmp_path / "rates.yaml").write_text("gpu_hour: 2.5")
    words = ("report", "--home", tmp_path, "--rates", tmp_path / "rates.yaml")
    assert "  no GPU-hours are known: " in call(*words).output
    assert json.loads(call(*words, "-o", "json").output)["cost"] is None


@pytest.mark.parametrize(
    "text", ["", "gpu_hour: much", "gpu_hour: -1", "- 2", "a: 1", "gpu_hour: .nan", "gpu_hour: true"]
)
def test_rates_without_a_price_are_refused(text: str, tmp_path: Path, facts: dict[str, Any]) -> None:
    with_report(tmp_path, "r1", facts, local())
    (tmp_path / "rates.yaml").write_text(text)
    done = call("report", "--home", tmp_path, "--rates", tmp_path / "rates.yaml")
    assert done.exit_code == 2 and "has no price of a GPU-hour" in done.output


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("versions",), "1.0"),
        (("versions",), {"torch": 2}),
        (("done", "sdg"), []),
        (("done", "sdg", "inputs"), None),
        (("scores", "likelihood"), 5),
        (("scores", "likelihood", "answers"), [{"question": "q", "leaf": [], "base": 1, "candidate": "2"}]),
        (("scores", "mt_bench", "checkpoints"), {"model": "a"}),
        (("notes",), 5),
        (("gpu_hours",), {"mt_bench": "2 h"}),
        (("estimated_gpu_hours",), {"no_stage": 1.0}),
    ],
)
def test_report_of_another_shape_is_an_error_and_no_traceback(
    place: tuple[str, ...], value: object, tmp_path: Path, facts: dict[str, Any]
) -> None:
    (tmp_path / "a.json").write_text(json.dumps(facts))
    inner = facts
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    (tmp_path / "b.json").write_text(json.dumps(facts))
    words = ["report", tmp_path / "b.json"] if place[0] in ("notes", "gpu_hours", "estimated_gpu_hours") else []
    done = call(*(words or ["compare", tmp_path / "a.json", tmp_path / "b.json"]))
    assert isinstance(done.exception, SystemExit) and done.exit_code == 1, done.output
    assert "b.json" in done.output and ("not the report of a run" in done.output or "can't be read" in done.output)


def test_name_of_a_foreign_run_does_not_steer_the_terminal(tmp_path: Path, facts: dict[str, Any]) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.json").write_text(json.dumps({**facts, "run_id": f"{name}\x1b[2J", "code": name}))
    done = call("compare", tmp_path / "a.json", tmp_path / "b.json")
    assert done.exit_code == 0 and "\x1b" not in done.output and "a\\x1b[2J" in done.output


def test_report_of_which_half_was_copied_is_copied_again(tmp_path: Path, facts: dict[str, Any], s3_server: S3) -> None:
    put(s3_server, "half/run.tar.gz", facts)
    folder = with_report(
        tmp_path, "r1", facts, ClusterSettings(namespace="lab"), "s3://ilab/half/run.tar.gz.report.html"
    )
    secret = s3_server.secret(tmp_path / "s")
    write_bytes = Path.write_bytes

    def killed(path: Path, body: bytes) -> int:
        if "json" in path.name:
            write_bytes(path, body[:9])
            raise KeyboardInterrupt
        return write_bytes(path, body)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Path, "write_bytes", killed)
        call("report", "r1", "--home", tmp_path, "--secret", secret)
    assert not (folder.path / "report.json").exists()
    assert call("report", "r1", "--home", tmp_path, "--secret", secret).exit_code == 0
