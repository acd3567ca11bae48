"""Leaves side by side with the real library: the same samples, from the same prompts, whatever the teacher takes."""

import json
from typing import Any

import pytest

from tests.e2e.stages import in_stages


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return dict(json.loads(in_stages("tests/e2e/run_sdg_workers.py", str(tmp_path_factory.mktemp("sdg")))))


@pytest.mark.parametrize("pipeline", ["simple", "full"])
def test_files_are_the_same_with_one_worker_and_with_ten(seen: dict[str, Any], pipeline: str) -> None:
    """The datasets library and the blocks are used by many threads; answers overtake each other."""
    case = seen[pipeline]
    assert case["files"] > 15
    assert case["samples"] > 40
    assert case["questions"] > 3
    assert (case["same names"], case["same result"]) == (True, True)
    assert case["differing"] == {"many": [], "few": []}


@pytest.mark.parametrize("pipeline", ["simple", "full"])
def test_every_prompt_is_answered_once_also_where_the_teacher_has_too_many_requests(
    seen: dict[str, Any], pipeline: str
) -> None:
    case = seen[pipeline]
    one, many, few = case["highest"]
    assert case["same prompts"]
    assert few <= 2 < many
    assert one <= 3 < many  # chats: one batch has three
    assert case["refused"] < case["requests"]
