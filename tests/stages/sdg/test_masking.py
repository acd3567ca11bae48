"""What the teacher answers may repeat the token of its Secret: no message does."""

import sys
import types
from pathlib import Path

import httpx
import pytest

from utils.stages.credentials import ModelServer
from utils.stages.sdg.teacher import Teacher

TOKEN = "canary-5f2c-0123456789"


class LibraryError(Exception):
    """As instructlab-sdg and openai raise."""


@pytest.fixture
def teacher(monkeypatch: pytest.MonkeyPatch) -> Teacher:
    for name in ("openai", "transformers", "instructlab", "instructlab.sdg", "instructlab.sdg.pipeline"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setattr(sys.modules["openai"], "OpenAI", lambda **settings: None, raising=False)
    monkeypatch.setattr(sys.modules["openai"], "OpenAIError", LibraryError, raising=False)
    monkeypatch.setattr(sys.modules["instructlab.sdg.pipeline"], "PipelineBlockError", LibraryError, raising=False)
    tokenizer = types.SimpleNamespace(from_pretrained=lambda model: lambda texts: {"input_ids": [[1]] * len(texts)})
    monkeypatch.setattr(sys.modules["transformers"], "AutoTokenizer", tokenizer, raising=False)
    return Teacher(ModelServer("http://teacher.example/v1", "teacher", TOKEN), Path("model"))


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(401, text=f"unknown key {TOKEN}"),
        httpx.Response(200, json={"choices": [{"text": f"My key is {TOKEN}."}]}),
        httpx.Response(500, text="x" * (300 - len(TOKEN) // 2) + TOKEN),  # the message ends within it
    ],
    ids=["refusal", "completion", "cut"],
)
def test_token_that_an_answer_repeats_is_masked(teacher: Teacher, answer: httpx.Response) -> None:
    answer.request = httpx.Request("POST", "http://teacher.example/v1/completions")
    with pytest.raises(SystemExit) as failed, teacher.errors("knowledge/a"):
        teacher.observe(answer)
        raise LibraryError("the block failed")
    assert "the block failed" in str(failed.value)
    assert TOKEN[:8] not in str(failed.value)


def test_token_in_the_error_of_a_block_that_broke_down_by_itself_is_masked(teacher: Teacher) -> None:
    """instructlab-sdg's PipelineBlockError has what its block raised, which need not be the client's error."""
    with pytest.raises(SystemExit, match="correct the SDG pipeline or this leaf") as failed, teacher.errors("leaf"):
        error = LibraryError("the block failed")
        error.exception = KeyError(f"Bearer {TOKEN}")  # type: ignore[attr-defined]
        raise error
    assert "***" in str(failed.value) and TOKEN[:8] not in str(failed.value)


@pytest.mark.parametrize("part", ["message", "cause"])
def test_token_in_the_librarys_own_error_is_masked(teacher: Teacher, part: str) -> None:
    with pytest.raises(SystemExit) as failed, teacher.errors("knowledge/a"):
        error = LibraryError(TOKEN if part == "message" else "failed")
        raise error from (ValueError(f"Bearer {TOKEN}") if part == "cause" else None)
    assert "***" in str(failed.value) and TOKEN[:8] not in str(failed.value)
