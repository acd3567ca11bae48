"""Chats in place of plain completions, without the library."""

import sys
import types
from types import SimpleNamespace
from typing import Any

import pytest

from utils.stages.sdg.blocks import ChatClient


class BadRequestError(Exception):
    """As openai raises for a status 400."""


class Server:
    """Stands for an openai.OpenAI; its server refuses `n`, or one prompt whatever comes with it."""

    def __init__(self, refuses_n: bool, refused: str = "") -> None:
        self.refuses_n, self.refused, self.asked = refuses_n, refused, list[int]()
        self.chat = SimpleNamespace(completions=self)

    def create(self, messages: list[dict[str, str]], n: int = 1) -> Any:
        self.asked.append(n)
        if messages[0]["content"] == self.refused or (self.refuses_n and n > 1):
            raise BadRequestError
        return SimpleNamespace(choices=[SimpleNamespace(message=SimpleNamespace(content="sky"))] * n)


@pytest.fixture(autouse=True)
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = types.ModuleType("openai")
    module.BadRequestError = module.UnprocessableEntityError = BadRequestError
    monkeypatch.setitem(sys.modules, "openai", module)


def test_server_that_refuses_several_answers_at_once_is_asked_so_once() -> None:
    server = Server(refuses_n=True)
    client: Any = ChatClient(server)
    for _ in range(2):
        assert [choice.text for choice in client.create(prompt=["blue?"], n=3).choices] == ["sky"] * 3
    assert server.asked == [3, 1, 1, 1, 1, 1, 1]


def test_prompt_that_is_refused_says_nothing_about_those_of_other_leaves() -> None:
    server = Server(refuses_n=False, refused="too long")
    client: Any = ChatClient(server)
    with pytest.raises(BadRequestError):
        client.create(prompt=["too long"], n=3)
    client.create(prompt=["blue?"], n=3)
    assert server.asked == [3, 1, 3]
