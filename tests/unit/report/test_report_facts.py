"""What the report says about a run: comparisons, verdict, numbers."""

import json
from pathlib import Path
from typing import Any

import pytest
from example_run import full_run

from utils.report.facts import comparisons, report_facts, verdict
from utils.report.text import duration, leaf_label, number


@pytest.mark.parametrize(
    ("run", "headline", "fate"),
    [
        (
            "full",
            "The candidate beats the base model on Likelihood, MMLU-branch, MT-Bench-branch",
            "The gate let it pass; archive 2025-06-13_09-49-31.lumera.tar",
        ),
        (
            "held back",
            "The candidate beats the base model on Likelihood, MMLU-branch; it loses on MT-Bench-branch",
            "The gate held it back: MT-Bench score",
        ),
        ("sparse", "The candidate beats the base model on Likelihood", "The publish stage has not run"),
        ("empty", "The candidate was not compared with the base model", "The publish stage has not run"),
    ],
)
def test_verdict_of_a_run(facts: dict[str, dict[str, Any]], run: str, headline: str, fate: str) -> None:
    assert (facts[run]["headline"], facts[run]["fate"]) == (headline, fate)


def likelihood(nll: float, base: float) -> dict[str, Any]:
    return {"likelihood": {"nll": nll, "base_nll": base}}


@pytest.mark.parametrize(
    ("scores", "headline"),
    [
        (likelihood(2.0, 1.5), "The candidate does not beat the base model; it loses on Likelihood"),
        (likelihood(1.5, 1.5), "The candidate does not beat the base model; unchanged: Likelihood"),
        (likelihood(1.0, 1.5), "The candidate beats the base model on Likelihood"),
        ({"mmlu": {"model_score": 0.5, "base_model_score": 0.4}}, "The candidate beats the base model on MMLU"),
        (
            {"mmlu_branch": {"model_score": 0.3, "base_model_score": 0.4}, **likelihood(1.0, 1.5)},
            "The candidate beats the base model on Likelihood; it loses on MMLU-branch",
        ),
    ],
)
def test_verdict_names_the_measures(scores: dict[str, Any], headline: str) -> None:
    assert verdict(comparisons(scores), {})[0] == headline


def test_mt_bench_shows_the_candidate_and_not_the_best_score(tmp_path: Path) -> None:
    full_run(tmp_path)
    path = tmp_path / "scores/mt_bench.json"
    bench = json.loads(path.read_text())
    bench["candidate"] = bench["checkpoints"][1]["model"]
    path.write_text(json.dumps(bench))
    found = {c["name"]: c for c in report_facts(str(tmp_path), "run", [])["comparisons"]}
    assert (found["MT-Bench"]["candidate"], found["MT-Bench"]["base"], found["MT-Bench"]["change"]) == (
        6.48,
        None,
        None,
    )


def test_skipped_measure_keeps_its_reason(facts: dict[str, dict[str, Any]]) -> None:
    reasons = {c["name"]: c["reason"] for c in facts["sparse"]["comparisons"]}
    assert reasons["MMLU-branch"] == "the taxonomy gave no multiple-choice questions"
    assert reasons["MT-Bench-branch"] == "not run"
    assert reasons["Likelihood"] == ""


def test_branch_scores_by_leaf_come_from_every_kind_of_summary_entry(facts: dict[str, dict[str, Any]]) -> None:
    rows = next(c["rows"] for c in facts["full"]["comparisons"] if c["key"] == "mt_bench_branch")
    assert [(leaf.split("/")[-2], base, new) for leaf, base, new in rows] == [
        ("harbour_notice", 5.2, 7.6),
        ("tide_riddle", 6.4, 6.2),
        ("ship_manifest", 7.1, 7.1),
    ]


def test_not_a_number_becomes_null(tmp_path: Path) -> None:
    full_run(tmp_path)
    path = tmp_path / "scores/likelihood.json"
    path.write_text(path.read_text().replace("1.304", "NaN"))
    found = report_facts(str(tmp_path), "run", [])
    assert found["comparisons"][0]["candidate"] is None
    assert "NaN" not in json.dumps(found)


def test_stages_are_in_the_order_they_finished(facts: dict[str, dict[str, Any]]) -> None:
    assert list(facts["full"]["done"]) == [
        *("data_import", "sdg", "data_processing", "train_phase_1"),
        *("train_phase_2", "mt_bench", "final_eval", "publish"),
    ]


@pytest.mark.parametrize(
    ("value", "digits", "sign", "text"),
    [
        (1234567, 0, "", "1,234,567"),
        (-0.5, 2, "+", "−0.50"),
        (0.5, 2, "+", "+0.50"),
        (None, 2, "", "–"),
        ("many", 0, "", "–"),
    ],
)
def test_number(value: Any, digits: int, sign: str, text: str) -> None:
    assert number(value, digits, sign) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "0:00:00"), (41.2, "0:00:41"), (18_204, "5:03:24")])
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("leaf", "label"),
    [
        ("knowledge/astronomy/lumera/orbit", "lumera/orbit"),
        ("compositional_skills/writing/tide_riddle/qna.yaml", "writing/tide_riddle"),
        ("a/" + "x" * 50, "…" + "x" * 33),
        ("a/b\x00\ud800", "a/b"),
        (None, "None"),
    ],
)
def test_leaf_label(leaf: Any, label: str) -> None:
    assert leaf_label(leaf) == label
