"""Synthetic data with instructlab-sdg: taxonomies, good and bad teachers, and resuming after an interruption."""

import json
from typing import Any

import pytest

from tests.e2e.stages import in_stages


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return dict(json.loads(in_stages("tests/e2e/run_sdg.py", str(tmp_path_factory.mktemp("sdg")))))


def test_data_import_refuses_the_leaves_that_the_library_refuses(seen: dict[str, Any]) -> None:
    differing = {name: verdicts for name, verdicts in seen["taxonomies"].items() if len({*verdicts}) > 1}
    assert len(seen["taxonomies"]) > 60
    assert differing == {}


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
    assert f"pellwick/qna.yaml:54: the repository has no commit '{'dead' * 10}'" in wrong["failure"]


def test_only_a_leaf_that_was_corrected_is_generated_again(seen: dict[str, Any]) -> None:
    right, changed = seen["corrections"]["right"], seen["corrections"]["changed"]
    assert (right["prompts"], changed["prompts"]) == (35, 5)  # 5 seed examples a leaf, knowledge also for questions
    assert changed["result"]["samples_by_leaf"] == right["result"]["samples_by_leaf"]
    assert changed["result"]["mmlu_questions"] == right["result"]["mmlu_questions"] == 20


def test_a_run_that_imports_the_samples_trains_on_the_same_bytes(seen: dict[str, Any]) -> None:
    """A training that was copied to the object store continues only with the same data."""
    same = seen["imported_again"]
    assert same.pop("processed/held_out.jsonl") is False, "seed examples that were kept out are not in the archive"
    assert same == {"processed/knowledge/data.jsonl": True, "processed/skills/data.jsonl": True}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("lfs.md", "pellwick/qna.yaml:56: lfs.md is a Git LFS pointer"),
        # Trap 62: a link to the teacher's token put it into the training data.
        ("link.md", "pellwick/qna.yaml:56: link.md is a symbolic link"),
        ("broken.pdf", "the documents of knowledge/geography/towns/pellwick can't be read"),
    ],
)
def test_a_document_that_can_not_be_read_is_named_with_its_leaf(
    seen: dict[str, Any], document: str, message: str
) -> None:
    failure = seen["unreadable"][document]["failure"]
    assert message in failure
    assert document in failure


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
    assert "in the teacher's Secret" in message.partition("next: ")[2]
    assert "sdg" not in seen[teacher]["left"]


def test_a_teacher_that_is_away_for_a_quarter_of_an_hour_is_waited_for(seen: dict[str, Any]) -> None:
    assert seen["away"]["result"]["samples"] > 0
    assert 900 <= seen["away"]["waited"] < 1100  # two requests wait by one clock


def test_a_token_that_is_renewed_during_the_stage_is_taken(seen: dict[str, Any]) -> None:
    assert seen["renewed"]["result"]["samples"] > 0


def test_a_slow_teacher_is_a_clear_failure(seen: dict[str, Any]) -> None:
    assert "timed out" in seen["slow"]


def test_token_is_written_nowhere(seen: dict[str, Any]) -> None:
    assert "canary" not in json.dumps(seen)
