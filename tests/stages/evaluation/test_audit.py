"""How far a judge can be trusted: answers that are judged twice, ratings that never vary, judge and teacher."""

import threading
from typing import Any

import pytest

from tests.fakes.models import Models
from utils.stages.credentials import ModelServer
from utils.stages.evaluation.audit import Twice, audited, families, kinship, never_varies
from utils.stages.evaluation.client import JudgeClient
from utils.stages.evaluation.scores import Rated


def rated(*conversations: tuple[float, ...], twice: Any = (), model: str = "samples_1") -> Rated:
    entries = [
        {"question_id": str(i), "turn": turn, "score": score}
        for i, ratings in enumerate(conversations)
        for turn, score in enumerate(ratings, 1)
    ]
    return Rated(model, 5.0, [], entries, 0.0, "", [*twice])


@pytest.mark.parametrize(
    ("wanted", "total", "chosen"),
    [(0, 8, 0), (2, 8, 2), (8, 8, 8), (40, 8, 8), (3, 160, 3), (1, 1, 1)],
)
def test_as_many_judgments_as_wanted_are_asked_for_twice(wanted: int, total: int, chosen: int) -> None:
    twice = Twice(wanted, total)
    due = [twice.due() for _ in range(total)]
    assert sum(due) == chosen
    assert 0 < chosen < total or len({*due}) == 1
    if chosen == 2:
        assert due.index(True) >= 2  # spread, not the first ones


def test_sample_is_as_large_when_many_threads_judge() -> None:
    twice = Twice(10, 400)
    found: list[bool] = []
    threads = [threading.Thread(target=lambda: found.extend(twice.due() for _ in range(50))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(found) == 10


def judged(replies: list[Any], wanted: int, requests: int = 2) -> tuple[JudgeClient, list[dict[str, Any]]]:
    left = iter(replies)
    server = Models(lambda _: next(left))
    given = ModelServer(server.url + "/v1", "judge")
    with JudgeClient(given, {"seed": 5}) as client:
        client.twice = Twice(wanted, requests)
        for i in range(requests):
            body = {"model": "judge", "messages": [{"role": "user", "content": f"Rate {i}."}], "temperature": 0}
            assert client.post(given.endpoint + "/chat/completions", json=body).is_success
    server.stop()
    return client, server.bodies


def test_same_request_is_sent_twice_and_the_first_rating_counts() -> None:
    client, bodies = judged(["[[7]]", "[[5]]", "[[6]]", "[[6]]"], wanted=2)
    assert client.twice and client.twice.ratings == [(7, 5), (6, 6)]
    assert bodies[0] == bodies[1] and bodies[2] == bodies[3] != bodies[0]


@pytest.mark.parametrize("odd", ["I can't rate this.", (403, "no"), (200, [])])
def test_second_judgment_without_a_rating_does_not_count(odd: Any) -> None:
    client, bodies = judged(["[[7]]", odd, "[[6]]", "[[6]]"], wanted=2)
    assert client.twice and client.twice.ratings == [(6, 6)] and len(bodies) == 4


def test_judgment_that_needed_another_temperature_is_not_asked_for_twice() -> None:
    client, bodies = judged(["no rating", "[[7]]", "[[6]]", "[[5]]"], wanted=2)
    assert client.twice and client.twice.ratings == [(6, 5)] and len(bodies) == 4


def test_without_an_audit_each_judgment_is_asked_for_once() -> None:
    client, bodies = judged(["[[7]]", "[[6]]"], wanted=0)
    assert client.twice and client.twice.ratings == [] and len(bodies) == 2


def test_audit_counts_changed_ratings_and_turns_that_agree() -> None:
    scores = [rated((7, 6), (8, 5), twice=[(7, 7), (8, 6)]), rated((7, 7), (3,), model="samples_2", twice=[(3, 4)])]
    audit = audited(scores, "judge", "teacher")
    assert (audit.twice, audit.changed, audit.by) == (3, 2, 1.0)
    assert audit.turns == pytest.approx(2 / 3)
    assert (audit.uninformative, audit.kinship) == ("", "")


def test_audit_of_nothing_says_nothing() -> None:
    audit = audited([rated((7, 8))], "judge", "")
    assert (audit.twice, audit.changed, audit.by, audit.uninformative) == (0, 0, None, "")


@pytest.mark.parametrize(
    ("scores", "uninformative"),
    [
        ([rated((5, 5), (5, 5)), rated((5, 5), (5,), model="b")], True),
        ([rated((5, 5), (5, 5)), rated((6, 6), (6, 6), model="b")], False),
        ([rated((5, 6))], False),
        ([rated((5,))], False),
        ([rated()], False),
        ([], False),
    ],
)
def test_ratings_that_never_vary_are_uninformative(scores: list[Rated], uninformative: bool) -> None:
    assert bool(never_varies(scores)) is uninformative


def test_what_the_judge_always_says_is_named() -> None:
    assert never_varies([rated((7.5, 7.5))]) == "uninformative: the judge rated all 2 answers 7.5"


@pytest.mark.parametrize(
    ("judge", "teacher", "said"),
    [
        ("prometheus-8x7b-v2-0", "mixtral-8x7b-instruct-v0-1", "both of the family Mistral"),
        ("mixtral", "mixtral", "the judge mixtral is the teacher"),
        ("judge", "judge", "the judge judge is the teacher"),
        ("/models/meta-llama/Llama-3.3-70B-Instruct", "llama-3-1-8b", "both of the family Llama"),
        ("DeepSeek-R1-Distill-Qwen-32B", "Qwen2.5-72B", "both of the family Qwen"),
        ("prometheus-13b-v1.0", "mixtral-8x7b", ""),
        ("gpt-4o", "mixtral-8x7b", ""),
        ("judge", "teacher", ""),
        ("ollama/gemma3", "llama-3", ""),
        ("smollm2-135m", "llama-3", ""),
        ("prometheus", "", ""),
        ("", "", ""),
    ],
)
def test_judge_of_the_teachers_family_is_a_warning(judge: str, teacher: str, said: str) -> None:
    found = kinship(judge, teacher)
    assert said in found and bool(found) is bool(said)


def test_a_models_family_is_that_of_the_model_it_was_trained_on() -> None:
    assert families("merlinite-7b-lab") == families("Mistral-7B-Instruct-v0.3") == {"Mistral"}
    assert families("granite-7b-starter") == {"Granite"}
