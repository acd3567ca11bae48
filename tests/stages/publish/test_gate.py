"""The gate before publication, and the archive's name."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from utils.stages.evaluation.statistics import BETTER, SAME, WORSE, Answered
from utils.stages.evaluation.verdict import verdict_on
from utils.stages.publish import Gate, archive_key, gate_checks, read_scores

SCORES: dict[str, Any] = {
    "mt_bench": {
        "candidate": "phase_2/hf_format/samples_20",
        "checkpoints": [
            {"model": "phase_2/hf_format/samples_10", "overall_score": 9.0, "error_rate": 0.9},
            {"model": "phase_2/hf_format/samples_20", "overall_score": 6.5, "error_rate": 0.1},
        ],
    },
    "mt_bench_branch": {"overall_score": 5.0, "base_overall_score": 4.0},
    "mmlu_branch": {"model_score": 0.5, "base_model_score": 0.5},
    "likelihood": {"nll": 1.5, "base_nll": 2.0},
}
SKIPPED = {"skipped": True, "reason": "no such questions"}


def answers(change: float, questions: int = 12) -> dict[str, Any]:
    """Pairs whose candidate is that far from the base, with a little noise."""
    rows = (Answered(str(i), "leaf", 5.0, 5.0 + change + 0.1 * (i % 3 - 1)) for i in range(questions))
    return {"answers": [*map(asdict, rows)]}


def task(gained: int, lost: int, same: int) -> dict[str, Any]:
    """A task of `eval_tasks`."""
    return {**choices(gained, lost, same), "lower_is_better": False, "right_or_wrong": True}


def choices(gained: int, lost: int, same: int) -> dict[str, Any]:
    """Pairs of right and wrong answers."""
    pairs = [(0, 1)] * gained + [(1, 0)] * lost + [(1, 1)] * same
    return {"answers": [asdict(Answered(str(i), "leaf", *pair)) for i, pair in enumerate(pairs)]}


def verdicts(scores: dict[str, Any], **limits: Any) -> dict[str, bool]:
    gate = Gate(**limits)
    return {check.name: check.passed for check in gate_checks(scores, verdict_on(scores, gate.confidence), gate)}


def test_the_defaults_let_everything_pass() -> None:
    nothing = {"mt_bench": {"candidate": "x", "checkpoints": []}}
    assert all(
        verdicts({**nothing, **dict.fromkeys(("mt_bench_branch", "mmlu_branch", "likelihood"), SKIPPED)}).values()
    )
    assert all(verdicts(SCORES).values())


@pytest.mark.parametrize(("limit", "passed"), [(0.0, True), (6.5, True), (6.6, False)])
def test_candidates_own_score_is_compared_not_the_best_one(limit: float, passed: bool) -> None:
    assert verdicts(SCORES, min_mt_bench=limit)["min_mt_bench"] is passed


@pytest.mark.parametrize(("limit", "passed"), [(1.0, True), (0.1, True), (0.05, False), (0.0, False)])
def test_candidates_own_error_rate_is_compared(limit: float, passed: bool) -> None:
    assert verdicts(SCORES, max_error_rate=limit)["max_error_rate"] is passed


def test_candidate_without_a_score_fails_any_limit_above_zero() -> None:
    bench = {"candidate": "c", "checkpoints": [{"model": "c", "overall_score": None, "error_rate": 1.0}]}
    scores = {**SCORES, "mt_bench": bench}
    assert verdicts(scores)["min_mt_bench"] and not verdicts(scores, min_mt_bench=0.1)["min_mt_bench"]
    assert verdicts(scores)["max_error_rate"] and not verdicts(scores, max_error_rate=0.99)["max_error_rate"]


def test_score_that_is_corrected_for_the_choice_is_compared() -> None:
    """The best of many checkpoints owes part of its score to the questions that chose it."""
    scores = {**SCORES, "mt_bench": {**SCORES["mt_bench"], "corrected_score": 6.2}}
    assert not verdicts(scores, min_mt_bench=6.5)["min_mt_bench"]
    assert verdicts(scores, min_mt_bench=6.2)["min_mt_bench"]


def test_ratings_that_never_vary_are_not_a_score() -> None:
    audit = {"uninformative": "uninformative: the judge rated all 8 answers 7"}
    scores = {**SCORES, "mt_bench": {**SCORES["mt_bench"], "audit": audit}}
    assert not verdicts(scores, min_mt_bench=1.0)["min_mt_bench"]
    assert verdicts(scores)["min_mt_bench"]


@pytest.mark.parametrize(
    ("changes", "passed", "words"),
    [
        ({}, False, {}),
        ({"likelihood": answers(-0.5)}, True, {"likelihood": BETTER}),
        ({"likelihood": answers(0.5)}, False, {"likelihood": WORSE}),
        ({"likelihood": answers(-0.5, questions=5)}, False, {"likelihood": SAME}),
        ({"likelihood": answers(-0.02)}, False, {"likelihood": SAME}),
        ({"mt_bench_branch": answers(0.5)}, True, {"mt_bench_branch": BETTER}),
        (
            {"likelihood": answers(-0.5), "mmlu_branch": choices(1, 3, 9)},
            True,
            {"likelihood": BETTER, "mmlu_branch": SAME},
        ),
        ({"likelihood": answers(-0.5), "mmlu": choices(0, 9, 9)}, False, {"likelihood": BETTER, "mmlu": WORSE}),
        ({"mmlu_branch": choices(9, 0, 9), "likelihood": SKIPPED}, True, {"mmlu_branch": BETTER}),
        ({"eval_arc": task(9, 0, 9)}, False, {}),
        ({"likelihood": answers(-0.5), "eval_arc": task(0, 9, 9)}, True, {"likelihood": BETTER}),
    ],
)
def test_improvement_needs_a_better_that_is_no_chance_and_no_worse(
    changes: dict[str, Any], passed: bool, words: dict[str, str]
) -> None:
    scores = {**SCORES, **changes}
    gate = Gate(require_improvement=True)
    (check,) = (c for c in gate_checks(scores, verdict_on(scores), gate) if c.name == "require_improvement")
    assert check.passed is passed and check.value == words


def test_confidence_decides_what_is_better() -> None:
    scores = {**SCORES, "mmlu_branch": choices(6, 0, 9)}
    assert verdicts(scores, require_improvement=True)["require_improvement"]
    assert not verdicts(scores, require_improvement=True, confidence=0.99)["require_improvement"]


@pytest.mark.parametrize(
    ("changes", "limits", "passed"),
    [
        ({}, {}, True),
        ({}, {"likelihood": 1.0}, False),
        ({"likelihood": answers(-0.5)}, {"likelihood": 0}, True),
        ({"likelihood": answers(0.5)}, {"likelihood": 0.4}, False),
        ({"likelihood": answers(0.5)}, {"likelihood": 0.6}, True),
        ({"mt_bench_branch": answers(-0.5)}, {"mt_bench_branch": 0.6}, True),
        ({"mt_bench_branch": answers(-0.5)}, {"mt_bench_branch": 0.4}, False),
        ({"mmlu_branch": choices(3, 3, 3)}, {"mmlu_branch": 0.02}, False),
        ({"mmlu_branch": choices(2, 2, 900)}, {"mmlu_branch": 0.02}, True),
        ({"eval_arc": task(2, 2, 900)}, {"eval_arc": 0.02}, True),
        ({"eval_arc": task(0, 9, 9)}, {"eval_arc": 0.02}, False),
        ({}, {"eval_arc": 0.02}, False),
        ({"likelihood": answers(-0.5), "mmlu": SKIPPED}, {"likelihood": 0.1, "mmlu": 0.1}, False),
    ],
)
def test_regression_is_limited_by_what_the_interval_leaves_possible(
    changes: dict[str, Any], limits: dict[str, float], passed: bool
) -> None:
    assert verdicts({**SCORES, **changes}, max_regression=limits)["max_regression"] is passed


@pytest.mark.parametrize(
    ("name", "data_key", "key"),
    [
        ("", "data.tar.gz", "2025-01-31_23-59-58.data.tar.gz"),
        ("", "a/b/data.tar.gz", "a/b/2025-01-31_23-59-58.data.tar.gz"),
        ("models/mine.tar", "a/data.tar.gz", "models/2025-01-31_23-59-58.mine.tar"),
        ("models/", "a/data.tar.gz", "models/2025-01-31_23-59-58.model.tar.gz"),
        ("", "", "2025-01-31_23-59-58.model.tar.gz"),
    ],
)
def test_archive_name_has_the_utc_time_and_keeps_the_folders_of_its_key(
    name: str, data_key: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert archive_key(name, data_key, 1738367998.7) == key


def test_missing_results_are_named_and_nothing_is_published(tmp_path: Path) -> None:
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / "mt_bench.json").write_text(json.dumps(SCORES["mt_bench"]))
    with pytest.raises(
        SystemExit, match="scores/mt_bench_branch.json, scores/mmlu_branch.json, scores/likelihood.json"
    ):
        read_scores(str(tmp_path))


def test_candidate_named_by_the_score_file_must_exist(tmp_path: Path) -> None:
    (tmp_path / "scores").mkdir()
    for name, scores in SCORES.items():
        (tmp_path / "scores" / f"{name}.json").write_text(json.dumps(scores))
    with pytest.raises(SystemExit, match="missing: the candidate phase_2/hf_format/samples_20"):
        read_scores(str(tmp_path))
    (tmp_path / "phase_2/hf_format/samples_20").mkdir(parents=True)
    assert read_scores(str(tmp_path)) == SCORES
