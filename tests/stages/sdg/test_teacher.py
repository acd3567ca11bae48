"""What is remembered of a teacher's answers, whatever they are: an error in there would pass for a lost connection."""

import json
import threading
from typing import Any

import httpx
import pytest

from tests.fakes.models import Models, completion
from utils.stages.credentials import ModelServer
from utils.stages.sdg.teacher import Teacher


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


def test_half_a_character_does_not_fail_the_client(teacher: Teacher) -> None:
    assert "half" in heard(teacher, {"choices": [{"text": "half \ud83d"}]})


def test_last_three_texts_of_chats_are_shown_without_the_token(teacher: Teacher) -> None:
    vars(teacher).update(server=ModelServer("", "teacher", "canary-1"))
    choices = [{"message": {"content": text}} for text in ("one", "two", "three canary-1", "four")]
    said = heard(teacher, {"choices": choices})
    assert said == "; its last answers:\n    two\n    three ***\n    four"
