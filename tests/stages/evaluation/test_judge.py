"""What the clients of models and judges make of odd answers, without the evaluation library."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.fakes.models import Models, Reply, completion
from utils.stages.credentials import ModelServer
from utils.stages.evaluation.client import NO_ANSWER, JudgeClient, ModelClient, rating
from utils.stages.evaluation.judging import plain_name


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("Rating: [[8]]", 8),
        ("Rating: [[8.5]], not [[8.6]]", 8.6),
        ("[[10]]", 10),
        ("[[1]]", 1),
        ("Rating: [[ 8 ]]", 8),
        ("Rating: [[07]]", 7),
        ("Between [[5]] and [[9]], so my rating: [[6]].", 6),
        ("<think>[[3]]? [[2]]?</think> Rating: [[8]]", 8),
        ("[[3]] at first.\n</think>\nRating: [[8]]", 8),
        ("<thinking>[[3]]</thinking>[[8]]", 8),
        ("<reasoning>\n[[3]]</Reasoning>[[8]]", 8),
        ("[THINK]A [[3]].[/THINK]A [[8]].", 8),
        ("◁think▷[[3]]◁/think▷[[8]]", 8),
        ("<|channel|>analysis<|message|>[[3]]<|end|><|channel|>final<|message|>[[8]]", 8),
    ],
)
def test_rating_is_the_last_well_formed_one_after_the_reasoning(text: str, score: float) -> None:
    assert rating(text) == score


@pytest.mark.parametrize(
    "text",
    [
        *("", "Good.", "Rating: 8", "Rating: [8]", "See [1] and [2].\nRating: **8**", "[[8/10]]", "[[eight]]", "[[]]"),
        *("[[85]]", "[[0]]", "[[0.5]]", "[[10.1]]", "[[-3]]", "[[1e1]]", "[[٨]]", "[[" + "9" * 400 + "]]"),
        *("[[7]] out of [[100]]", "<think>Is it a [[3]]? Or"),
        *("[[8]]</think>", "<think>[[8]]</think> I am sure of it."),
    ],
)
def test_text_without_a_rating_in_the_scale_is_unrated(text: str) -> None:
    assert rating(text) is None


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("prometheus-8x7b-v2.0", "prometheus-8x7b-v2.0"),
        ("/models/prometheus", "_models_prometheus"),
        ("../../judge", ".._.._judge"),
        ("prometheus:8x7b@1", "prometheus_8x7b_1"),
    ],
)
def test_evaluation_library_gets_a_judges_name_that_is_a_file_name(name: str, plain: str) -> None:
    assert plain_name(ModelServer("", name)) == plain


class Asked:
    """One request to a server, through a client."""

    def __init__(self) -> None:
        self.servers: list[Models] = []
        self.counted: list[int] = []

    def __call__(self, kind: type[ModelClient], reply: Reply, text: str = "Rate it.", **body: Any) -> httpx.Response:
        self.servers.append(Models(reply))
        server = ModelServer(self.servers[-1].url + "/v1", "/models/judge", "canary")
        with kind(server, {}, lambda: self.counted.append(1)) as client:
            asked = {"model": "judge", "messages": [{"role": "user", "content": text}], "temperature": 0, **body}
            return client.post(server.endpoint + "/chat/completions", json=asked)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return self.servers[-1].bodies


@pytest.fixture
def ask() -> Iterator[Asked]:
    asked = Asked()
    yield asked
    for server in asked.servers:
        server.stop()


def text_of(response: httpx.Response) -> str:
    return str(response.json()["choices"][0]["message"]["content"])


def test_rating_stands_in_front_of_the_judgment_where_the_library_looks_first(ask: Asked) -> None:
    judgment = "<think>[[3]]</think> As in [1]: [[8]]"
    assert text_of(ask(JudgeClient, lambda _: judgment)) == f"[[8]] {judgment}"
    assert [body["model"] for body in ask.bodies] == ["/models/judge"]
    assert ask.counted == [1]


@pytest.mark.parametrize(
    ("reply", "shown"),
    [
        ((200, completion(None, reasoning_content="[[3]]")), "no text"),
        ((200, completion(None, refusal="I will not.")), "I will not."),
        ((200, {"choices": []}), "not a chat completion"),
        ((200, {"choices": None}), "not a chat completion"),
        ((200, {"choices": ["[[8]]"]}), "not a chat completion"),
        ((200, {"choices": [{"message": None}]}), "not a chat completion"),
        ((200, {"error": {"message": "quota"}}), "quota"),
        ((200, "<html>canary [[8]]</html>"), "***"),
        ((200, completion("[[8]] because", "length")), "length"),
        ((200, completion("[[8]]", "content_filter")), "content_filter"),
        ((200, completion([{"type": "text", "text": "[[8]]"}])), "no text"),  # type: ignore[arg-type]
        ((403, "<html>blocked</html>"), "blocked"),
        ("See [1]: [[85]]", "See [ 1]: [[ 85]]"),
    ],
)
def test_odd_judgment_is_asked_for_twice_and_becomes_a_text_without_a_rating(
    ask: Asked, reply: Any, shown: str
) -> None:
    text = text_of(ask(JudgeClient, lambda _: reply))
    assert shown in text and "canary" not in text
    assert not re.search(r"\[\d+\.?\d*\]", text)  # the library's second pattern, which its first one includes
    assert [body["temperature"] for body in ask.bodies] == [0, 0.7]


def test_judge_that_must_sample_is_asked_again_as_it_wants(ask: Asked) -> None:
    ask(JudgeClient, lambda _: "no", temperature=1, seed=1)
    assert [(body["temperature"], body["seed"]) for body in ask.bodies] == [(1, 1), (1, 2)]
    ask(JudgeClient, lambda _: "no", temperature=1, seed="3")
    assert [body["seed"] for body in ask.bodies] == ["3", 1]


def test_missing_answer_is_unrated_without_asking_the_judge(ask: Asked) -> None:
    response = ask(JudgeClient, lambda _: "[[8]]", f"[The Start of the Answer]\n{NO_ANSWER}\n[The End of the Answer]")
    assert "[" not in text_of(response)
    assert ask.bodies == []


@pytest.mark.parametrize("status", [400, 429, 500])
def test_status_that_the_library_understands_is_passed_on(ask: Asked, status: int) -> None:
    assert ask(JudgeClient, lambda _: (status, "no")).status_code == status
    assert len(ask.bodies) == 1


@pytest.mark.parametrize("status", [401, 404])
def test_judge_that_is_gone_or_refuses_the_token_ends_the_stage(ask: Asked, status: int) -> None:
    with pytest.raises(SystemExit, match=f"HTTP {status}"):
        ask(JudgeClient, lambda _: (status, "no"))


@pytest.mark.parametrize("reply", [(200, completion(None)), (200, {"choices": []}), (200, "page")])
def test_model_that_answers_without_text_gave_no_answer(ask: Asked, reply: Any) -> None:
    assert text_of(ask(ModelClient, lambda _: reply)) == NO_ANSWER


@pytest.mark.parametrize("kind", [ModelClient, JudgeClient])
def test_half_a_character_does_not_fail_the_client(ask: Asked, kind: type[ModelClient]) -> None:
    assert "[[8]]?" in text_of(ask(kind, lambda _: (200, completion("[[8]]\ud83d"))))


def test_models_own_words_are_not_changed(ask: Asked) -> None:
    assert text_of(ask(ModelClient, lambda _: (200, completion("See [1].", "length")))) == "See [1]."


CUT = "x" * 290 + "canary-0123456789"  # a message may end within the token


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(401, text=CUT),
        httpx.Response(200, text=CUT),
        httpx.Response(200, json=completion(None, refusal=CUT)),
        httpx.Response(500, text="canary-0123456789"),
        httpx.ConnectError("Bearer canary-0123456789 is refused by the proxy"),
    ],
)
def test_token_that_comes_back_is_in_no_message(answer: httpx.Response | Exception) -> None:
    def send(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    with ModelClient(ModelServer("http://judge.example/v1", "judge", "canary-0123456789"), {}) as client:
        client._transport = httpx.MockTransport(send)
        with contextlib.suppress(SystemExit, httpx.HTTPError):
            client.post("http://judge.example/v1/chat/completions", json={})
        assert client.last_error != "no answer" and "canary" not in str(client.failed(client.last_error))
