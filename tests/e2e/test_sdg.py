"""Synthetic data with instructlab-sdg: taxonomies, good and bad teachers, and resuming after an interruption."""

import json
from typing import Any

import pytest

from tests.e2e.stages import in_stages


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return dict(json.loads(in_stages("tests/e2e/run_sdg.py", str(tmp_path_factory.mktemp("sdg")))))


def test_example_taxonomy_is_valid(seen: dict[str, Any]) -> None:
    assert seen["taxonomies"]["example"] == 5


def test_taxonomy_errors_are_listed_all_at_once_with_file_and_line(seen: dict[str, Any]) -> None:
    message = seen["taxonomies"]["bad"]
    assert "extraction/dates/qna.yaml:13: expected ',' or ']'" in message
    assert "plain_words/qna.yaml:1: no schema for version 99" in message
    assert "harbour_notices/qna.yaml:7: .seed_examples[1]: 'question' is a required property" in message


def test_taxonomy_without_a_leaf_fails(seen: dict[str, Any]) -> None:
    assert "has no leaf" in seen["taxonomies"]["empty"]


def test_generation_resumes_where_it_stopped(seen: dict[str, Any]) -> None:
    assert "out of credit" in seen["broken_off"]["failure"]
    assert "sdg" not in seen["broken_off"]["left"]
    resumed = seen["resumed"]
    # Two questions per seed example.
    assert (resumed["result"]["samples"], resumed["result"]["mmlu_questions"]) == (50, 20)
    # 25 seed examples and the 10 of knowledge again for questions, less the 4 that were answered before the break.
    assert resumed["prompts"] == 31
    assert seen["right_answers"] == [
        0,
        1,
        2,
        3,
    ]  # one right answer, spread over the letters  # the teacher always says B
    assert not {"checkpoints", "preprocessed", "run.json"} & set(seen["files"])


def test_documents_of_every_leaf_are_fetched_before_the_first_request(seen: dict[str, Any]) -> None:
    wrong = seen["corrections"]["wrong"]
    assert wrong["prompts"] == 0
    assert "the documents of knowledge/geography/towns/pellwick can't be read" in wrong["failure"]


def test_only_a_leaf_that_was_corrected_is_generated_again(seen: dict[str, Any]) -> None:
    right, changed = seen["corrections"]["right"], seen["corrections"]["changed"]
    assert (right["prompts"], changed["prompts"]) == (35, 5)  # 5 seed examples a leaf, knowledge also for questions
    assert changed["result"]["samples_by_leaf"] == right["result"]["samples_by_leaf"]
    assert changed["result"]["mmlu_questions"] == right["result"]["mmlu_questions"] == 20


@pytest.mark.parametrize("document", ["empty.md", "UPPER.MD", "broken.pdf"])
def test_a_document_that_the_library_can_not_read_is_named_with_its_leaf(seen: dict[str, Any], document: str) -> None:
    assert (
        "the documents of knowledge/geography/towns/pellwick can't be read" in seen["unreadable"][document]["failure"]
    )


@pytest.mark.parametrize(
    ("kind", "leaves", "file"), [("knowledge", 2, "knowledge_file"), ("compositional_skills", 3, "skills_file")]
)
def test_taxonomy_of_one_kind_works(seen: dict[str, Any], kind: str, leaves: int, file: str) -> None:
    result = seen[kind]["result"]
    assert len(result["samples_by_leaf"]) == leaves
    assert result[file].startswith("sdg/")
    if kind == "compositional_skills":
        assert (result["knowledge_file"], result["mmlu_tasks_dir"], result["mmlu_questions"]) == ("", "", 0)


def test_error_without_valid_samples_shows_the_teachers_answer(seen: dict[str, Any]) -> None:
    assert "gave no valid sample" in seen["chatty"]["failure"]
    assert "Sure! I would love to help you" in seen["chatty"]["failure"]


@pytest.mark.parametrize(
    ("teacher", "cause"),
    [
        ("html", "<html>login</html>"),
        ("refusing", "Error code: 401"),
        ("down", "Connection refused"),
    ],
)
def test_a_bad_teacher_is_a_clear_failure(seen: dict[str, Any], teacher: str, cause: str) -> None:
    message = seen[teacher]["failure"]
    assert cause in message
    assert "next: correct the teacher's Secret" in message
    assert "sdg" not in seen[teacher]["left"]


def test_a_slow_teacher_is_a_clear_failure(seen: dict[str, Any]) -> None:
    assert "timed out" in seen["slow"]


def test_token_is_written_nowhere(seen: dict[str, Any]) -> None:
    assert "canary" not in json.dumps(seen)
