"""What the report says about a run: comparisons, verdict, numbers."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.stages.report.example_run import KNOWLEDGE, SKILLS, full_run
from utils.stages.model_card import model_card
from utils.stages.provenance import stage_records
from utils.stages.report.facts import comparisons, leaf_rows, outcome, report_facts, versions_of
from utils.stages.report.page import render
from utils.stages.report.text import counted, duration, flat, leaf_label, listed, number, plain


@pytest.mark.parametrize(
    ("run", "headline", "fate"),
    [
        (
            "full",
            "The candidate is better than the base model on Likelihood and MMLU-branch; not distinguishable on "
            "MT-Bench-branch",
            "It passed the gate and was published as 2025-06-13_09-49-31.lumera.tar",
        ),
        (
            "held back",
            "The candidate is better than the base model on Likelihood and MMLU-branch; worse on MT-Bench-branch",
            "The gate rejected it (min_mt_bench): nothing was published",
        ),
        (
            "sparse",
            "The candidate is better than the base model on Likelihood",
            "Nothing was published: the publish stage has not run",
        ),
        (
            "empty",
            "The candidate was not compared with the base model",
            "Nothing was published: the publish stage has not run",
        ),
    ],
)
def test_verdict_follows_from_the_comparisons(
    facts: dict[str, dict[str, Any]], run: str, headline: str, fate: str
) -> None:
    assert (facts[run]["headline"], facts[run]["fate"]) == (headline, fate)


LIKELIHOOD = {"likelihood": {"nll": 1.5, "base_nll": 2.0}}
MMLU = {"mmlu": {"model_score": 0.5, "base_model_score": 0.4}}


@pytest.mark.parametrize(
    ("words", "headline"),
    [
        ({"likelihood": "worse"}, "is worse than the base model on Likelihood"),
        ({"likelihood": "better"}, "is better than the base model on Likelihood"),
        ({"likelihood": "not distinguishable"}, "is not distinguishable from the base model on Likelihood"),
        ({}, "is not distinguishable from the base model on Likelihood and MMLU"),
        ({"likelihood": "worse", "mmlu": "better"}, "is better than the base model on MMLU; worse on Likelihood"),
        (
            {"likelihood": "better", "mmlu": "not distinguishable"},
            "is better than the base model on Likelihood; not distinguishable on MMLU",
        ),
    ],
)
def test_headline_says_one_of_three_words_for_each_measure(words: dict[str, str], headline: str) -> None:
    """A measure whose pairs an earlier version did not keep can't be told apart."""
    scores = {name: score for name, score in {**LIKELIHOOD, **MMLU}.items() if name in words or not words}
    found = comparisons(scores, {name: {"word": word} for name, word in words.items()})
    assert outcome(found, {})[0] == f"The candidate {headline}"


TASKS: dict[str, Any] = {
    "eval_arc": {"metric": "acc_norm", "model_score": 0.5, "base_model_score": 0.75, "lower_is_better": False,
                 "right_or_wrong": True, "questions": 40, "right": 20, "base_right": 30},
    "eval_text": {"metric": "word_perplexity", "model_score": 9.0, "base_model_score": 9.5, "lower_is_better": True,
                  "right_or_wrong": False},
}  # fmt: skip


@pytest.mark.parametrize(
    ("word", "headline"),
    [
        ("worse", "is not distinguishable from the base model on Likelihood"),
        ("not distinguishable", "is not distinguishable from the base model on Likelihood"),
    ],
)
def test_tasks_of_the_harness_come_after_our_measures(word: str, headline: str) -> None:
    found = comparisons({**LIKELIHOOD, **TASKS}, {"eval_arc": {"word": word, "said": word, "p": 0.01}})
    arc, text = found[-2:]
    assert (arc.key, arc.name, arc.what) == ("eval_arc", "arc", "acc_norm, a task of the lm-evaluation-harness")
    assert (arc.base, arc.candidate, arc.right, arc.verdict["word"]) == (0.75, 0.5, [30, 20], word)
    assert text.what.endswith("harness, lower is better") and text.change == -0.5 and text.better is None
    assert text.verdict["said"] == "no verdict: the metric has no score of single questions"
    said = "is worse than the base model on arc; not distinguishable on Likelihood" if word == "worse" else headline
    assert outcome(found, {})[0] == f"The candidate {said}"


def test_report_shows_tasks_of_the_harness(tmp_path: Path) -> None:
    full_run(tmp_path)
    (tmp_path / "scores/verdict.json").unlink()
    (tmp_path / "done/publish.json").unlink()
    pairs = [{"question": str(i), "leaf": "arc", "base": 1.0, "candidate": float(i < 4)} for i in range(12)]
    (tmp_path / "scores/eval_arc.json").write_text(json.dumps({**TASKS["eval_arc"], "answers": pairs}))
    (tmp_path / "scores/eval_text.json").write_text(json.dumps(TASKS["eval_text"]))
    facts = report_facts(str(tmp_path), "run", [])
    assert [one["verdict"]["word"] for one in facts["comparisons"][-2:]] == ["worse", "no verdict"]
    page = " ".join(render(facts).split())
    assert "<b>arc</b><small>acc_norm, a task of the lm-evaluation-harness; 40 questions" in page
    assert "the metric has no score of single questions" in page
    card = model_card(str(tmp_path), "run")
    assert "| arc | 0.750 | 0.500 |" in card and "type: acc_norm" in card


def test_verdict_of_the_gate_is_shown_and_not_another(tmp_path: Path) -> None:
    full_run(tmp_path)
    path = tmp_path / "scores/verdict.json"
    judged = json.loads(path.read_text())
    judged["confidence"], judged["measures"]["likelihood"]["word"] = 0.999, "worse"
    path.write_text(json.dumps(judged))
    found = report_facts(str(tmp_path), "run", [])
    assert found["confidence"] == 0.999 and found["comparisons"][0]["better"] is False
    (tmp_path / "done/publish.json").unlink()
    found = report_facts(str(tmp_path), "run", [])
    assert found["confidence"] == 0.95 and found["comparisons"][0]["better"] is True


def test_leaves_have_a_verdict_of_their_own(facts: dict[str, dict[str, Any]]) -> None:
    measures = {c["key"]: c for c in facts["full"]["comparisons"]}
    assert {one["leaf"] for one in measures["mt_bench_branch"]["leaves"]} == {f"{leaf}/qna.yaml" for leaf in SKILLS}
    words = {one["leaf"]: one["word"] for one in measures["likelihood"]["leaves"]}
    assert words[KNOWLEDGE[0]] == "better" and measures["likelihood"]["leaves"][-1]["leaf"] == SKILLS[2]
    assert "leaves" not in measures["likelihood"]["verdict"]


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


def test_uninformative_ratings_are_shown_instead_of_a_score(tmp_path: Path) -> None:
    full_run(tmp_path)
    path = tmp_path / "scores/mt_bench.json"
    bench = json.loads(path.read_text())
    bench["audit"] |= {"uninformative": "uninformative: the judge rated all 640 answers 7"}
    path.write_text(json.dumps(bench))
    found = {c["key"]: c for c in report_facts(str(tmp_path), "run", [])["comparisons"]}["mt_bench"]
    assert (found["candidate"], found["reason"]) == (None, "uninformative: the judge rated all 640 answers 7")


def test_candidate_without_a_likelihood_is_not_called_not_run(tmp_path: Path) -> None:
    full_run(tmp_path)
    path = tmp_path / "scores/likelihood.json"
    score = json.loads(path.read_text())
    rows = [{**row, "candidate": float("nan")} for row in score["answers"]]
    path.write_text(json.dumps({**score, "nll": float("nan"), "answers": rows}))
    (tmp_path / "scores/verdict.json").unlink()
    found = {c["key"]: c for c in report_facts(str(tmp_path), "run", [])["comparisons"]}["likelihood"]
    assert found["reason"] == "not distinguishable: 228 answers of the candidate have no score"


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
def test_numbers_are_formatted(value: Any, digits: int, sign: str, text: str) -> None:
    assert number(value, digits, sign) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 steps"), (1, "1 step"), (2000, "2,000 steps"), (None, "– steps")])
def test_counts_have_their_unit_in_the_plural(count: Any, text: str) -> None:
    assert counted(count, "step") == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0.2 s"), (59.9, "59.9 s"), (372.4, "6 min 12 s"), (18_204, "5 h 03 min")]
)
def test_durations_are_formatted(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        ("", "–"),
        ({}, "–"),
        (False, "no"),
        (0, "0"),
        (2e-05, "2e-05"),
        ([1, "a"], "1, a"),
        ({"likelihood": 0.993, "mmlu_branch": None}, "likelihood 0.993, mmlu_branch –"),
    ],
)
def test_values_are_shown_as_plain_text(value: Any, text: str) -> None:
    assert plain(value) == text


def test_nested_parameters_become_dotted_names() -> None:
    facts = {"archive": {"key": "a", "size": 3}, "upstream": "0", "seed": 42, "options": {}}
    assert flat(facts, ("upstream",)) == {"archive.key": "a", "archive.size": "3", "seed": "42", "options": "–"}


@pytest.mark.parametrize(
    ("names", "text"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_lists_are_joined_with_and(names: list[str], text: str) -> None:
    assert listed(names) == text


def test_versions_that_differ_between_images_are_all_named() -> None:
    done = {"sdg": {"versions": {"torch": "2.6.0"}}, "report": {"versions": {"torch": "2.15.0", "kfp": "2.17.0"}}}
    assert versions_of(done) == {"kfp": ["2.17.0"], "torch": ["2.6.0", "2.15.0"]}


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
def test_leaves_have_short_labels(leaf: Any, label: str) -> None:
    assert leaf_label(leaf) == label


def test_multiple_choice_tasks_are_named_after_their_leaf() -> None:
    score = {"summary": {"new": [{"task": "knowledge_arts_tidehorn", "new_score": 1.0}]}}
    assert leaf_rows(score, {"knowledge_arts_tidehorn": "knowledge/arts/tidehorn"}) == [
        ("knowledge/arts/tidehorn", None, 1.0)
    ]


@pytest.mark.parametrize(
    ("launcher", "device", "algorithm", "left_out"),
    [
        ("process", "cpu", {}, {"image", "num_workers", "gpu_per_worker", "cpu_offload"}),
        ("process", "cuda", {}, {"image", "num_workers", "gpu_per_worker"}),
        ("pytorchjob", "cuda", {}, set()),
        ("pytorchjob", "cuda", {"algorithm": ["lora", {"r": 16, "alpha": 32}]}, {"cpu_offload"}),
    ],
)
def test_report_has_no_image_or_setting_without_effect(
    tmp_path: Path, launcher: str, device: str, algorithm: dict[str, Any], left_out: set[str]
) -> None:
    pods = {"image": "registry/image@sha256:0", "num_workers": 2, "gpu_per_worker": 2, "cpu_offload": True}
    inputs = {"launcher": launcher, "seed": 42, **pods, **algorithm}
    marker = {"stage": "train_phase_1", "inputs": inputs, "inputs_hash": "a", "versions": {}, "seconds": 1.0}
    marker |= {"finished": "2026-01-01T00:00:00Z", "result": {"device": device}}
    (tmp_path / "done").mkdir()
    (tmp_path / "done" / "train_phase_1.json").write_text(json.dumps(marker))
    found = report_facts(str(tmp_path), "r1", [])["done"]["train_phase_1"]["inputs"]
    assert found == {name: value for name, value in inputs.items() if name not in left_out}
    told = stage_records(str(tmp_path))["train_phase_1"]["inputs"]
    assert told == found
