"""What is remembered of a teacher's answers, whatever they are: an error in there would pass for a lost connection."""

import json
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.fakes.models import Models, completion
from utils.stages.credentials import ModelServer
from utils.stages.sdg.teacher import Pool, Teacher


class Tokenizer:
    """One token per word; it refuses what transformers' tokenizers refuse: no texts, and half a character."""

    def __call__(self, texts: list[str]) -> dict[str, list[list[str]]]:
        if not texts:
            raise IndexError("list index out of range")
        for text in texts:
            text.encode()
        return {"input_ids": [text.split() for text in texts]}


@pytest.fixture
def teacher() -> Teacher:
    """A teacher without the libraries of its image."""
    made = Teacher.__new__(Teacher)
    vars(made).update(
        server=ModelServer("", "teacher"), answers="", tokens=0, counting=threading.Lock(), tokenizer=Tokenizer()
    )
    return made


def heard(teacher: Teacher, body: Any, status: int = 200, method: str = "POST", path: str = "/v1/completions") -> str:
    """The teacher's answers after its server has answered with this body, through a real client."""
    server = Models(lambda _: (status, body))
    try:
        with httpx.Client(event_hooks={"response": [teacher.observe]}) as client:
            client.request(method, server.url + path, json={})
    finally:
        server.stop()
    return teacher.answers


def test_texts_of_completions_are_remembered_and_counted(teacher: Teacher) -> None:
    several = {"choices": [{"text": "blue sky"}, {"text": "red"}]}
    assert heard(teacher, several) == "; its last answers:\n    blue sky\n    red"
    assert teacher.tokens == 3


@pytest.mark.parametrize(
    "body",
    [
        {"choices": []},
        {"choices": None},
        {"choices": [None]},
        {"choices": ["text"]},
        {"choices": [{"text": None}]},
        {"choices": [{"text": "blue"}, {"text": None}]},
        {"choices": [{"text": ["a"]}]},
        {"choices": [{"index": 0}]},
        {"choices": [{"message": None}]},
        completion(None, reasoning_content="long thoughts"),
        {"error": {"message": "quota"}},
        [],
        "<html>login</html>",
        "",
    ],
)
def test_an_answer_without_text_does_not_fail_the_client_and_is_shown(teacher: Teacher, body: Any) -> None:
    shown = body if isinstance(body, str) else json.dumps(body)
    assert heard(teacher, body) == f"; it answered without text:\n    {shown}"
    assert teacher.tokens == 0


@pytest.mark.parametrize(
    ("status", "method", "path"),
    [
        # instructlab-sdg 0.8.3 looks for the welcome of llama-cpp-python, each leaf by itself.
        (404, "GET", "/"),
        (200, "GET", "/"),
        (200, "GET", "/v1/models"),
        (503, "POST", "/v1/completions"),
    ],
)
def test_what_is_no_answer_to_a_prompt_leaves_the_last_answer(
    teacher: Teacher, status: int, method: str, path: str
) -> None:
    said = heard(teacher, {"choices": [{"text": "blue sky"}]})
    assert heard(teacher, {"error": "not here"}, status, method, path) == said


class BlockError(Exception):
    """As instructlab-sdg's PipelineBlockError, of an exception that is not the client's."""

    exception = TypeError("a block failed")


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("openai", "instructlab", "instructlab.sdg", "instructlab.sdg.pipeline"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    vars(sys.modules["openai"])["OpenAIError"] = OSError
    vars(sys.modules["instructlab.sdg.pipeline"])["PipelineBlockError"] = BlockError


def answered(teacher: Teacher, text: str | None) -> None:
    request = httpx.Request("POST", "http://teacher.example/v1/completions")
    teacher.observe(httpx.Response(200, request=request, json={"choices": [{"text": text}]}))


@pytest.mark.usefixtures("library")
def test_leaves_that_fail_side_by_side_are_told_with_their_own_answers(teacher: Teacher) -> None:
    barrier = threading.Barrier(3, timeout=30)

    def ask(leaf: str, text: str | None) -> str:
        """The failure of a block; its request is sent by a thread of the library, when all leaves ask."""

        def request() -> None:
            barrier.wait()
            answered(teacher, text)

        with pytest.raises(SystemExit) as failed, teacher.errors(leaf), Pool(1) as library:
            library.submit(request).result()
            barrier.wait()  # another leaf's answer has come meanwhile
            raise BlockError
        return str(failed.value)

    with ThreadPoolExecutor(3) as leaves:
        blue, none, red = leaves.map(ask, ["blue", "none", "red"], ["blue sky", None, "red sun"])
    assert "blue sky" in blue and "red sun" not in blue and "correct the SDG pipeline or this leaf" in blue
    assert "red sun" in red and "blue sky" not in red
    assert "HTTP 200" in none and "sky" not in none and "sun" not in none
    assert "correct the SDG pipeline" not in none


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("texts", [(None, "blue sky"), ("blue sky", None)])
def test_answer_without_text_is_told_whichever_of_a_blocks_requests_ends_last(
    teacher: Teacher, texts: tuple[str | None, ...]
) -> None:
    with pytest.raises(SystemExit, match="HTTP 200"), teacher.errors("leaf"):
        for text in texts:
            answered(teacher, text)
        raise BlockError


def test_half_a_character_does_not_fail_the_client(teacher: Teacher) -> None:
    assert "half" in heard(teacher, {"choices": [{"text": "half \ud83d"}]})


def test_last_three_texts_of_chats_are_shown_without_the_token(teacher: Teacher) -> None:
    vars(teacher).update(server=ModelServer("", "teacher", "canary-1"))
    choices = [{"message": {"content": text}} for text in ("one", "two", "three canary-1", "four")]
    said = heard(teacher, {"choices": choices})
    assert said == "; its last answers:\n    two\n    three ***\n    four"
