"""The teacher is asked in its format, and so is every model that the SDG pipeline names."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fakes.answers import Answer, Server
from tests.stages.prerequisites.servers import RETRY_SECONDS, TOKEN, secret
from utils.stages.prerequisites.checks import check_teacher
from utils.stages.prerequisites.findings import Finding
from utils.stages.sdg.formats import ADAPTERS, AGENTIC, PIPELINES


class Models(Server):
    """A server that lists models as vLLM does, and has nothing to say for those that are not instruct models."""

    def __init__(self, root: str, *served: str, paths: tuple[str, ...] = ("completions", "chat/completions")) -> None:
        self.served, self.paths = served, paths
        self.cards = [{"id": name, "root": root, "parent": served[0] if name != served[0] else None} for name in served]
        super().__init__([])

    def answer(self, method: str, path: str, body: Any) -> Answer:
        if method == "GET":
            return (200, {"data": self.cards})
        if body["model"] not in self.served or path.removeprefix("/v1/") not in self.paths:
            return (404, {"error": f"no {body['model']} at {path}"})
        text = "Blue" if body["model"] == self.served[0] else ""
        choice = {"text": text, "message": {"content": text}, "finish_reason": "stop"}
        return (200, {"choices": [choice]})


def asked(server: Models, folder: Path, pipeline: str, family: str = "auto") -> tuple[list[Finding], list[Any]]:
    """The findings, and (model, path below /v1/) of each request for an answer."""
    given = secret(folder / "teacher", endpoint=server.url, model_name=server.served[0], api_token=TOKEN)
    found = check_teacher(given, "", RETRY_SECONDS, True, pipeline, family)
    server.stop()
    posts = [one for one in server.requests if one["method"] == "POST"]
    assert all(one["headers"]["authorization"] == f"Bearer {TOKEN}" for one in server.requests)
    return found, [(one["body"]["model"], one["path"].removeprefix("/v1/")) for one in posts]


@pytest.mark.parametrize(
    ("family", "name", "root", "path"),
    [
        ("auto", "teacher", "/mnt/models", "chat/completions"),
        ("auto", "teacher", "/models/mixtral-8x7b", "completions"),
        ("auto", "mixtral", "/mnt/models", "completions"),
        ("chat", "mixtral", "/mnt/models", "chat/completions"),
        ("llama", "teacher", "/mnt/models", "completions"),
    ],
)
def test_teacher_is_asked_as_the_run_will_ask_it(tmp_path: Path, family: str, name: str, root: str, path: str) -> None:
    assert asked(Models(root, name), tmp_path, "simple", family) == ([], [(name, path)])


def test_teacher_without_its_format_is_a_finding(tmp_path: Path) -> None:
    (finding,), _ = asked(Models("/mnt/models", "teacher", paths=("completions",)), tmp_path, "simple")
    assert "gave no answer: it has nothing at this path (HTTP 404: " in finding.problem


def test_every_model_that_the_sdg_pipeline_names_is_asked(tmp_path: Path) -> None:
    blocks = [
        {"type": "LLMBlock", "config": {"gen_kwargs": {"model": "skills"}}},
        {"type": "LLMBlock", "config": {"model_id": "facts", "model_family": "chat"}},
        {"type": "LLMBlock", "config": {"model_prompt": "{{ prompt }}"}},
    ]
    for name, block in zip(PIPELINES, blocks, strict=True):
        (tmp_path / name).write_text(yaml.safe_dump({"version": "1.0", "blocks": [block]}))
    found, requests = asked(Models("/models/mixtral-8x7b", "t", "skills"), tmp_path, str(tmp_path))
    assert requests == [("t", "completions"), ("facts", "chat/completions"), ("skills", "completions")]
    (finding,) = found
    assert "teacher 'facts' at 127.0.0.1 gave no answer: " in finding.problem
    assert "give another sdg_pipeline: this one names it" in finding.remedy


@pytest.mark.parametrize("served", [(), ADAPTERS[:1], ADAPTERS])
def test_agentic_pipeline_needs_both_adapters(tmp_path: Path, served: tuple[str, ...]) -> None:
    """The folder is in another image than prerequisites."""
    found, requests = asked(Models("/mnt/models", "mixtral", *served), tmp_path, AGENTIC)
    assert requests == [(name, "completions") for name in ("mixtral", *ADAPTERS)]
    assert len(found) == 2 - len(served)


def test_server_that_lists_nothing_is_asked_in_chats(tmp_path: Path, serve: Callable[..., Server]) -> None:
    server = serve((404, "no list"), (200, {"choices": [{"message": {"content": "Blue"}, "finish_reason": "stop"}]}))
    given = secret(tmp_path / "teacher", endpoint=server.url, model_name="teacher")
    assert check_teacher(given, "", RETRY_SECONDS, True, "simple", "auto") == []
    assert [one["path"] for one in server.requests] == ["/v1/models", "/v1/chat/completions"]
