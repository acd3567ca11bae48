"""`ilab-pipeline sample` and `judges --ratings`: answers go to people, and their ratings correct the judge."""

import csv
import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.stages.report.example_run import CANDIDATE, SKILLS
from utils.cli.judged.answers import Judged, judged_answers, sampled
from utils.cli.main import main
from utils.cli.reports import Report

SYSTEM = "You are a helpful assistant."


def call(*words: object) -> Result:
    return CliRunner().invoke(main, list(map(str, words)))


def entry(question: str, asked: list[str], said: list[str], turn: int, score: float, leaf: str = "") -> dict[str, Any]:
    """What instructlab-eval gives of an answer, with what the stage adds: turn and prompt."""
    of = {"qna_file": leaf} if leaf else {}
    told = f"[Question]\n{asked[-1]}\n\n[The Start of Reference Answer]\nsee {asked[-1]}\n[The End of Reference Answer]"
    prompt = f"{SYSTEM}\n{told}\n\n[The Start of Assistant's Answer]\n{said[turn - 1]}\n[The End of Assistant's Answer]"
    answer = [{"index": 0, "turns": said}]
    return {"question_id": question, "score": score, "category": "x", "question": asked, "answer": answer, **of,
            "turn": turn, "prompt": prompt}  # fmt: skip


def scores(questions: int = 60) -> dict[str, Any]:
    """A judge that sees the quality of an answer, gives 1 more, and 1 on top to the candidate's answers."""
    chance = Random(5)
    branch: dict[str, list[dict[str, Any]]] = {"qa_scores": [], "base_qa_scores": []}
    for number in range(questions):
        leaf = f"{SKILLS[number % 3]}/qna.yaml"
        for side, plus in (("qa_scores", 2), ("base_qa_scores", 1)):
            quality = chance.randint(2, 7)
            said = [f"={quality} points by {side}"]
            branch[side].append(entry(f"q{number}", [f"What is {number}?"], said, 1, quality + plus, leaf))
    bench = []
    for number in range(81, 101):
        qualities = [chance.randint(2, 8) for _ in range(2)]
        for turn in (1, 2):
            said = [f"{quality} points" for quality in qualities]
            bench.append(entry(str(number), ["First?", "Then?"], said, turn, qualities[turn - 1] + 1))
    chosen = {"model": CANDIDATE, "overall_score": 6.0, "qa_scores": bench, "error_rate": 0.0, "turn_scores": []}
    return {
        "mt_bench_branch": {**branch, "judge_model": "prometheus", "answers": []},
        "mt_bench": {"candidate": CANDIDATE, "judge_model": "prometheus", "checkpoints": [chosen]},
    }


@pytest.fixture
def report(tmp_path: Path) -> Path:
    facts = {"run_id": "r1", "headline": "h", "fate": "f", "done": {}, "comparisons": [], "scores": scores()}
    (tmp_path / "report.json").write_text(json.dumps(facts))
    return tmp_path / "report.json"


def rate(file: Path, most: int = 1000) -> int:
    """People see the quality that an answer names; they rate the first `most` lines. Returns how many they rated."""
    if file.suffix == ".csv":
        rows = list(csv.DictReader(file.read_text("utf-8-sig").splitlines(keepends=True)))
    else:
        rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rows[:most]:
        row["rating"] = row["answer"].lstrip("'=").split()[0]
    if file.suffix == ".csv":
        with file.open("w", newline="") as out:  # as a spreadsheet with German settings writes it
            table = csv.DictWriter(out, list(reversed(rows[0])), delimiter=";")
            table.writeheader()
            table.writerows(rows)
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return min(len(rows), most)


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_ratings_of_people_take_out_the_bias_of_the_judge(ending: str, report: Path, tmp_path: Path) -> None:
    file = tmp_path / f"rate.{ending}"
    done = call("sample", report, file)
    assert done.exit_code == 0, done.output
    assert "50 answers to 25 questions of MT-Bench-branch in r1" in done.output
    text = file.read_text("utf-8-sig")
    assert "prometheus" not in text and "candidate" not in text and SYSTEM not in text and "see What is" in text
    rate(file)
    told = json.loads(call("judges", report, "--ratings", file, "-o", "json").output)
    (people,) = told["people"]
    assert (people["name"], people["answers"], people["left_out"]) == ("MT-Bench-branch", 50, 0)
    bias = {name: score["bias"]["change"] for name, score in people["scores"].items()}
    assert bias == {"base": pytest.approx(1.0), "candidate": pytest.approx(2.0), "change": pytest.approx(1.0)}
    mean = people["scores"]["change"]["mean"]
    assert mean["estimate"] == pytest.approx(mean["judge"] - 1, abs=0.4)
    assert mean["low"] < mean["estimate"] < mean["high"] and (mean["questions"], mean["rated"]) == (60, 25)
    assert people["ordinal"]["units"] == 50 and people["ordinal"]["alpha"] < 1


def test_terminal_shows_bias_and_corrected_scores(report: Path, tmp_path: Path) -> None:
    call("sample", report, tmp_path / "rate.csv")
    rate(tmp_path / "rate.csv")
    done = call("judges", report, "--ratings", tmp_path / "rate.csv")
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0] == "r1, judge prometheus"
    assert "MT-Bench-branch: people rated 50 answers, all of 25 of 60 questions" in lines
    assert any(line.startswith("candidate") and "+2.00" in line for line in lines)
    assert any(line.startswith("  the corrected change: not distinguishable") for line in lines)
    assert "  agreement of judge and people, Krippendorff's alpha of 50 answers:" in lines
    assert any(line.startswith("    by rank 0.") and "not reliable; by number 0." in line for line in lines)
    assert max(map(len, lines)) <= 90


def test_rating_can_stop_anywhere(report: Path, tmp_path: Path) -> None:
    file = tmp_path / "rate.jsonl"
    call("sample", report, file)
    assert rate(file, 31) == 31
    (people,) = json.loads(call("judges", report, "--ratings", file, "-o", "json").output)["people"]
    assert (people["answers"], people["left_out"], people["scores"]["change"]["mean"]["rated"]) == (31, 1, 15)


def test_turns_of_mt_bench_are_one_conversation(report: Path, tmp_path: Path) -> None:
    file = tmp_path / "rate.jsonl"
    assert call("sample", report, file, "--measure", "mt_bench", "--answers", 30).exit_code == 0
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert rows[1]["question"].startswith("First?\n\n[answer]\n") and rows[1]["question"].endswith("\nThen?")
    assert rows[0]["question"] == "First?" and rows[0]["answer"] in rows[1]["question"]
    rate(file)
    (people,) = json.loads(call("judges", report, "--ratings", file, "-o", "json").output)["people"]
    assert [*people["scores"]] == ["candidate"] and people["said"] == ""
    assert people["scores"]["candidate"]["bias"]["change"] == pytest.approx(1.0)
    assert people["scores"]["candidate"]["mean"]["rated"] == 15


def test_place_of_an_answer_does_not_tell_the_model() -> None:
    found = judged_answers(Report("r1", {"scores": scores(200)}, None, "", {}))
    drawn = sampled(found, "mt_bench_branch", 400, 0)
    assert len(drawn) == 400 and len({one.id for one in drawn}) == 400
    first = [one.model for one in drawn[::2]]
    assert 70 < first.count("base") < 130
    assert all(one.question == other.question for one, other in zip(drawn[::2], drawn[1::2], strict=True))
    assert [one.id for one in sampled(found, "mt_bench_branch", 50, 0)] == [one.id for one in drawn[:50]]
    assert [one.id for one in sampled(found, "mt_bench_branch", 50, 1)] != [one.id for one in drawn[:50]]


def test_file_that_may_have_ratings_is_not_written_over(report: Path, tmp_path: Path) -> None:
    file = tmp_path / "rate.csv"
    call("sample", report, file)
    rate(file)
    before = file.read_bytes()
    done = call("sample", report, file)
    assert done.exit_code == 2 and "already exists" in done.output and file.read_bytes() == before


@pytest.mark.parametrize("text", ["=1+1", "@SUM(A1)", "+1", "-1", "\tx"])
def test_answers_are_no_formulas_of_a_spreadsheet(text: str, tmp_path: Path) -> None:
    from utils.cli.judged.ratings_file import write_ratings_file

    write_ratings_file(tmp_path / "a.csv", [Judged("i", "mt_bench", "candidate", "1", "", text, text, text, "", 5)])
    (row,) = csv.DictReader((tmp_path / "a.csv").read_text("utf-8-sig").splitlines(keepends=True))
    assert row["answer"] == row["question"] == row["reference"] == "'" + text


def rows_of(report: Path) -> list[Judged]:
    return judged_answers(Report("r1", json.loads(report.read_text()), None, "", {}))


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ({"id": "unknown", "rating": 5}, "line 2: no answer of this run has the id 'unknown'"),
        ({"id": 0, "rating": 11}, "line 2: '11' is not a rating from 1 to 10"),
        ({"id": 0, "rating": "good"}, "line 2: 'good' is not a rating from 1 to 10"),
        ({"id": 0, "rating": "nan"}, "line 2: 'nan' is not a rating from 1 to 10"),
        ({"id": 0, "rating": True}, "line 2: 'True' is not a rating from 1 to 10"),
        ({"id": 1, "rating": 4}, "has another rating above"),
        ([1], "it is not a JSON object"),
        ("{", "keep the columns"),
    ],
)
def test_line_that_can_not_be_used_is_named(line: Any, fault: str, report: Path, tmp_path: Path) -> None:
    known = rows_of(report)
    if isinstance(line, dict) and isinstance(line["id"], int):
        line = line | {"id": known[2 if line["id"] == 0 else 0].id}
    text = line if line == "{" else json.dumps(line)
    (tmp_path / "r.jsonl").write_text(json.dumps({"id": known[0].id, "rating": "7,5"}) + f"\n{text}\n\n")
    done = call("judges", report, "--ratings", tmp_path / "r.jsonl")
    assert done.exit_code == 2 and fault in done.output, done.output


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("r.csv", "a,b\n1,2\n", "lacks the columns rating and id"),
        ("r.csv", "id,rating\n", "has no ratings"),
        ("r.csv", "id,rating\nx,\n", "has no ratings"),
        ("r.txt", "", "is not named .csv or .jsonl"),
        ("missing.csv", None, "can't be read"),
    ],
)
def test_file_without_ratings_is_an_error(
    name: str, text: str | None, fault: str, report: Path, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    done = call("judges", report, "--ratings", tmp_path / name)
    assert done.exit_code == 2 and fault in done.output, done.output


@pytest.mark.parametrize(
    "broken",
    [
        {"mt_bench_branch": {"qa_scores": [1]}},
        {"mt_bench_branch": {"qa_scores": [{"question_id": "1", "score": 50, "question": ["a"], "answer": []}]}},
        {"mt_bench": {"checkpoints": 5}},
        5,
    ],
)
def test_report_of_another_shape_is_an_error(broken: Any, report: Path, tmp_path: Path) -> None:
    facts = json.loads(report.read_text())
    report.write_text(json.dumps({**facts, "scores": broken}))
    done = call("sample", report, tmp_path / "rate.csv")
    assert done.exit_code == 1 and "can't be read" in done.output, done.output


def test_report_without_answers_says_so(report: Path, tmp_path: Path) -> None:
    facts = json.loads(report.read_text())
    report.write_text(json.dumps({**facts, "scores": {}}))
    done = call("sample", report, tmp_path / "rate.csv")
    assert done.exit_code == 2 and "r1 has no rated answers" in done.output
    done = call("judges", report)
    assert done.exit_code == 2 and "sample" in done.output
