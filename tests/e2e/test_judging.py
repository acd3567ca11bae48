"""The real evaluation library with models and judges whose answers are odd: what is rated, and what is compared."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stages import in_stages

ODD = ["null", "no_choices", "error", "page", "list", "refusal", "filtered", "cut", "unrated"]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What run_judging.py saw."""
    work_dir = tmp_path_factory.mktemp("work") / "inner"
    work_dir.mkdir()
    result: dict[str, Any] = json.loads(in_stages("tests/e2e/run_judging.py", str(work_dir)))
    return {**result, "beside": sorted(p.name for p in Path(work_dir.parent).iterdir())}


@pytest.mark.parametrize(
    ("kind", "score"),
    [
        *(("think", 8.0), ("leading_zero", 8.0), ("decimal", 7.5)),
        *(("too_big", None), ("zero", None), ("bracket", None), ("never_ends", None)),
    ],
)
def test_rating_is_the_last_after_the_reasoning_and_within_the_scale(
    seen: dict[str, Any], kind: str, score: float | None
) -> None:
    (rated,) = seen["rated"][kind]["rated"]
    assert rated["overall_score"] == score
    assert rated["error_rate"] == (score is None)


@pytest.mark.parametrize("kind", ODD)
def test_odd_judgment_is_asked_for_once_more_with_another_temperature(seen: dict[str, Any], kind: str) -> None:
    (rated,) = seen["odd_once"][kind]["rated"]
    assert (rated["overall_score"], rated["error_rate"]) == (7.0, 0.0)
    temperatures = [body["temperature"] for body in seen["odd_once"][kind]["judged"]]
    assert sorted(temperatures) == [0, 0, 0, 0, 0.7]


def test_odd_judgment_of_a_judge_with_a_seed_is_asked_for_with_another_seed(seen: dict[str, Any]) -> None:
    assert sorted((b["temperature"], b["seed"]) for b in seen["seed"]["judged"]) == [(0.2, 1), *[(0.2, 5)] * 4]


@pytest.mark.parametrize("kind", ODD)
def test_odd_judgment_counts_as_unrated_and_the_others_count(seen: dict[str, Any], kind: str) -> None:
    (rated,) = seen["odd_twice"][kind]["rated"]
    assert (rated["overall_score"], rated["error_rate"], len(rated["qa_scores"])) == (7.0, 0.25, 3)
    assert rated["unrated"]
    assert len(seen["odd_twice"][kind]["judged"]) == 5


@pytest.mark.parametrize("kind", ["forbidden", "bad_request", "failing"])
def test_refused_judgment_counts_as_unrated(seen: dict[str, Any], kind: str) -> None:
    (rated,) = seen[kind]["rated"]
    assert (rated["overall_score"], rated["error_rate"]) == (7.0, 0.25)


def test_answers_are_kept_with_what_the_judge_was_asked(seen: dict[str, Any]) -> None:
    """`ilab-pipeline sample` and `judges` need them."""
    (rated,) = seen["spread"]["rated"]
    asked = {"\n".join(message["content"] for message in body["messages"]) for body in seen["spread"]["judged"]}
    assert {entry["prompt"] for entry in rated["qa_scores"]} == asked
    answers = [(entry["answer"][0]["turns"][entry["turn"] - 1], entry["prompt"]) for entry in rated["qa_scores"]]
    assert all(answer and answer in prompt for answer, prompt in answers)
    branch = seen["branch_path"]["scores"]
    for side in ("qa_scores", "base_qa_scores"):
        assert [entry["question_id"] for entry in branch[side]] and "Reference Answer" in branch[side][0]["prompt"]


def test_some_judgments_of_each_checkpoint_are_asked_for_twice(seen: dict[str, Any]) -> None:
    assert [len(one["twice"]) for one in seen["audit"]["rated"]] == [2, 2]
    assert all({*pair} <= {5.0, 6.0} for one in seen["audit"]["rated"] for pair in one["twice"])
    assert len(seen["audit"]["judged"]) == 2 * (4 + 2)


@pytest.mark.parametrize(("kind", "name"), [("path", "/models/judge"), ("outside", "../../../judge")])
def test_judge_whose_name_is_a_path_is_asked_by_it_and_its_judgments_are_counted(
    seen: dict[str, Any], kind: str, name: str
) -> None:
    (rated,) = seen[kind]["rated"]
    assert (rated["overall_score"], rated["error_rate"]) == (6.0, 0.5)
    assert {body["model"] for body in seen[kind]["judged"]} == {name}
    assert seen["beside"] == ["inner"]
    assert not Path("/models/judge_single.jsonl").exists()
    assert seen["branch_path"]["scores"]["judge_model"] == "/models/judge"


def test_no_judgments_are_a_failure_and_not_an_error_rate_of_zero(seen: dict[str, Any]) -> None:
    assert "0 judgments of 4 answers" in seen["no_records"]["rated"]["failed"]


@pytest.mark.parametrize("kind", ["one_missing", "model_null"])
def test_missing_answer_counts_as_unrated_and_is_not_judged(seen: dict[str, Any], kind: str) -> None:
    (rated,) = seen[kind]["rated"]
    assert (rated["overall_score"], rated["error_rate"], len(rated["qa_scores"])) == (7.0, 2 / 16, 14)
    turns = {(entry["question_id"], entry["turn"]) for entry in rated["qa_scores"]}
    assert len(turns) == 14 and {turn for _, turn in turns} == {1, 2}
    assert not [body for body in seen[kind]["judged"] if "Hawaii" in json.dumps(body)]


def test_checkpoint_with_too_many_missing_answers_is_not_scored(seen: dict[str, Any]) -> None:
    assert [(one["overall_score"], one["error_rate"]) for one in seen["errors"]["rated"]] == [(None, 0.375), (7.0, 0)]
    assert len(seen["errors"]["judged"]) == 16
    first, second = seen["many_errors"]["rated"]
    assert first["overall_score"] is second["overall_score"] is None
    assert "the model gave no answer: HTTP 400: " in first["unrated"] and "no such option" in first["unrated"]


def test_few_questions_are_of_all_categories(seen: dict[str, Any]) -> None:
    (rated,) = seen["spread"]["rated"]
    assert len({entry["category"] for entry in rated["qa_scores"]}) == 8


def test_taxonomy_questions_are_answered_at_temperature_zero_unless_the_user_says_so(seen: dict[str, Any]) -> None:
    assert {body["temperature"] for body in seen["branch"]["asked"]} == {0.0}
    assert {body["temperature"] for body in seen["branch_option"]["asked"]} == {0.3}
    assert {body["temperature"] for body in seen["spread"]["asked"]} == {0.0, 0.1, 0.7}


def test_models_are_compared_on_questions_that_were_rated_for_both(seen: dict[str, Any]) -> None:
    scores = seen["branch_one_unrated"]["scores"]
    assert (scores["questions"], scores["error_rate"]) == (2, pytest.approx(1 / 3))
    assert scores["overall_score"] == scores["base_overall_score"] == 6.0
    assert [entry["qna"].split("/")[1] for entry in scores["summary"]["no_changes"]] == ["a", "b"]
    assert scores["summary"]["new"] == []
    assert [(answer["base"], answer["candidate"]) for answer in scores["answers"]] == [(6.0, 6.0)] * 2


def test_models_are_not_compared_with_too_many_answers_unrated(seen: dict[str, Any]) -> None:
    scores = seen["branch_many_unrated"]["scores"]
    assert scores["skipped"] and "no rating in 33% of the judgments of base" in scores["reason"]
    assert scores["error_rate"] == pytest.approx(1 / 3)
    assert "the judge rated no answer" in seen["branch_never_rated"]["scores"]["failed"]
