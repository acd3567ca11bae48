"""An OpenAI-compatible server whose chat completions are made of the requests: a judge, a model, or both."""

import json
from collections.abc import Callable
from typing import Any

from tests.fakes.answers import Answer, Server

Reply = Callable[[dict[str, Any]], Answer | str]
"""Of a request's body to the text of the answer, or to a status and a body."""


class Models(Server):
    """A model server that answers with `reply`; `bodies` are the requests that it got."""

    def __init__(self, reply: Reply, port: int = 0) -> None:
        self.reply = reply
        super().__init__([(500, "")], port=port)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [request["body"] for request in self.requests]

    def answer(self, method: str, path: str, body: Any) -> Answer:
        reply = self.reply(body)
        return (200, completion(reply)) if isinstance(reply, str) else reply


def completion(text: str | None, finish_reason: str = "stop", **message: Any) -> dict[str, Any]:
    """The body of a chat completion; text is None where a reasoning model spent its tokens before it answered."""
    choice = {"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", "content": text, **message}}
    return {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}


def prompt(body: dict[str, Any]) -> str:
    """All text that a request sends."""
    return json.dumps(body["messages"])
