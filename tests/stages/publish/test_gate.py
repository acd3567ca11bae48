"""The gate before publication, and the archive's name."""

import json
from pathlib import Path

import pytest

from utils.stages.publish import archive_key, gate_checks, read_scores

SCORES = {
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
WORSE = {"nll": 2.0, "base_nll": 1.5}
UNRATED = {"overall_score": None, "base_overall_score": 4.0}
SKIPPED = {"skipped": True, "reason": "no such questions"}


def verdicts(scores: dict, **limits: float) -> dict[str, bool]:
    checks = gate_checks(scores, limits.get("min_mt_bench", 0.0), limits.get("max_error_rate", 1.0), False)
    return {check.name: check.passed for check in checks}


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


@pytest.mark.parametrize(
    ("changes", "passed", "gains"),
    [
        ({}, True, {"mmlu_branch": 0.0, "mt_bench_branch": 1.0, "likelihood": 0.5}),
        ({"mt_bench_branch": SKIPPED, "mmlu_branch": SKIPPED}, True, {"likelihood": 0.5}),
        ({"mt_bench_branch": SKIPPED, "likelihood": WORSE}, False, {"mmlu_branch": 0.0, "likelihood": -0.5}),
        ({"mmlu_branch": SKIPPED, "likelihood": WORSE}, False, {"mt_bench_branch": 1.0, "likelihood": -0.5}),
        ({"mt_bench_branch": SKIPPED, "likelihood": SKIPPED}, False, {"mmlu_branch": 0.0}),
        ({"mt_bench_branch": SKIPPED, "likelihood": SKIPPED, "mmlu_branch": SKIPPED}, False, {}),
        ({"mt_bench_branch": UNRATED, "mmlu_branch": SKIPPED}, True, {"likelihood": 0.5}),
    ],
)
def test_improvement_needs_one_gain_and_no_loss(changes: dict[str, str], passed: bool, gains: dict[str, float]) -> None:
    (check,) = (c for c in gate_checks({**SCORES, **changes}, 0.0, 1.0, True) if c.name == "require_improvement")
    assert check.passed is passed and check.value == gains


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
