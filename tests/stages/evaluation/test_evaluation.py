"""Pure parts of the evaluation: who is the candidate, which questions are asked, how two models are compared."""

import json
import os
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
import pytest
import yaml

from utils.cpu.llama_cpp import pre_tokenizer_name, vocabulary
from utils.stages.credentials import ModelServer
from utils.stages.data_processing.held_out import HeldOut
from utils.stages.evaluation import judging, likelihood, mmlu, mt_bench, mt_bench_branch, scores
from utils.stages.evaluation.scores import Pair, Rated, Skipped, kept
from utils.stages.results import Trained


def rated(model: str, score: float | None, error_rate: float) -> Rated:
    return Rated(model, score, [], [], error_rate, "Good question!")


def test_best_checkpoint_is_chosen_among_those_with_an_acceptable_error_rate() -> None:
    entries = [rated("samples_1", 6.0, 0.1), rated("samples_2", 9.0, 0.6), rated("samples_3", 5.0, 0.0)]
    best, reason = mt_bench.choose_candidate(entries, 0.25)
    assert best.model == "samples_1"
    assert "1 left out for the judge's error rate" in reason


def test_the_later_of_equal_checkpoints_is_the_candidate() -> None:
    best, _ = mt_bench.choose_candidate([rated("samples_1", 6.0, 0), rated("samples_2", 6.0, 0)], 0.25)
    assert best.model == "samples_2"


def test_a_judge_that_never_rates_fails_the_stage_and_its_answer_is_shown() -> None:
    with pytest.raises(SystemExit, match=r"no rating in 90% of its judgments.*'Good question!'"):
        mt_bench.choose_candidate([rated("samples_1", None, 1.0), rated("samples_2", 3.0, 0.9)], 0.25)


def trained(phase: int, *checkpoints: str) -> Trained:
    last = checkpoints[-1] if checkpoints else ""
    return Trained(phase, "process", not checkpoints, checkpoint=last, checkpoints=list(checkpoints))


@pytest.mark.parametrize(
    ("phase_1", "phase_2", "expected"),
    [
        (trained(1, "1/samples_9"), trained(2, "2/samples_10", "2/samples_9"), ["2/samples_9", "2/samples_10"]),
        (trained(1, "1/samples_8", "1/samples_9"), trained(2), ["1/samples_9"]),
        (trained(1), trained(2, "2/samples_4"), ["2/samples_4"]),
    ],
)
def test_checkpoints_are_those_of_the_last_phase_by_number(
    phase_1: Trained, phase_2: Trained, expected: list[str]
) -> None:
    assert mt_bench.trained_checkpoints(phase_1, phase_2) == expected


def test_without_any_checkpoint_scoring_fails() -> None:
    with pytest.raises(SystemExit, match="no trained checkpoint"):
        mt_bench.trained_checkpoints(None, trained(2))


def test_next_checkpoint_answers_while_the_previous_one_is_judged() -> None:
    second_is_answering = threading.Event()

    def generate(item: int, place: str) -> None:
        if item == 2:
            second_is_answering.set()

    def judge(item: int) -> int:
        assert second_is_answering.wait(10), "item 1 was judged before item 2 was answered"
        return 10 * item

    assert judging.overlapped([1, 2], generate, judge, ["a"]) == [10, 20]


def test_items_are_generated_side_by_side_one_in_each_place() -> None:
    both, busy, seen = threading.Barrier(2), set[str](), list[str]()

    def generate(item: int, place: str) -> None:
        assert place not in busy
        busy.add(place)
        both.wait(10)
        seen.append(place)
        busy.remove(place)

    assert judging.overlapped([1, 2, 3, 4], generate, lambda item: item, ["a", "b"]) == [1, 2, 3, 4]
    assert sorted(seen) == ["a", "a", "b", "b"]


def test_a_failing_server_ends_the_overlapped_work_and_lets_the_others_finish() -> None:
    failed, answered = threading.Event(), list[int]()

    def generate(item: int, place: str) -> None:
        if item == 1:
            failed.set()
            raise SystemExit("the model server ended")
        assert failed.wait(10)
        answered.append(item)

    with pytest.raises(SystemExit, match="the model server ended"):
        judging.overlapped(range(1, 9), generate, lambda item: item, ["a", "b"])
    assert set(answered) <= {2, 3}


def test_a_failing_judge_ends_the_overlapped_work() -> None:
    answered: list[int] = []

    def judge(item: int) -> None:
        raise SystemExit(f"judge failed on {item}")

    with pytest.raises(SystemExit, match="judge failed on 1"):
        judging.overlapped([1, 2, 3], lambda item, place: answered.append(item), judge, ["a"])
    assert 3 not in answered


def test_finished_part_is_not_recomputed_but_a_damaged_one_is(tmp_path: Path) -> None:
    path = str(tmp_path / "scores" / "part.json")
    bad, good = rated("samples_1", 5.0, 0.9), rated("samples_1", 6.0, 0.0)
    assert kept(path, Rated, lambda: bad, lambda score: score.trusted(0.5)) == bad
    assert kept(path, Rated, lambda: good, lambda score: score.trusted(0.5)) == good
    assert kept(path, Rated, lambda: pytest.fail("computed again")) == good


def test_each_model_finds_the_memory_of_the_gpu_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also that of a model which something still refers to in a circle."""

    class Model:
        def __init__(self) -> None:
            self.circle = self

        def __del__(self) -> None:
            done.append("deleted")

    done: list[str] = []
    torch = SimpleNamespace(cuda=SimpleNamespace(empty_cache=lambda: done.append("emptied")))
    monkeypatch.setitem(sys.modules, "torch", torch)

    def score(folder: str) -> Skipped:
        done.append(folder)
        Model()
        return Skipped("")

    Pair("candidate", "base", str(tmp_path)).scored("x.json", Skipped, score)
    assert done == ["emptied", "candidate", "deleted", "emptied", "base"]


@pytest.mark.parametrize(("text", "expected"), [("8", 8), ("1", 1), ("20", 20)])
def test_workers_may_be_given_as_text(text: str, expected: int) -> None:
    assert judging.eval_workers(text, gpus=0) == expected


@pytest.mark.parametrize(
    ("cores", "gpus", "workers"), [(64, 0, 8), (2, 0, 4), (1, 0, 2), (64, 1, 64), (64, 8, 512), (2, 1, 64)]
)
def test_auto_workers_follow_the_engine(cores: int, gpus: int, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """instructlab-eval's rule gave vLLM on 2 GPUs of a pod with 4 cores 4 requests at a time."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
    assert judging.eval_workers("auto", gpus=gpus) == workers


@pytest.mark.parametrize(
    ("text", "gpus", "workers", "judging_at_a_time"), [("auto", 4, 256, 64), ("100", 4, 100, 100), ("3", 1, 3, 3)]
)
def test_judge_has_a_limit_of_its_own(
    text: str, gpus: int, workers: int, judging_at_a_time: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(judging, "gpu_groups", lambda *_: [[str(number) for number in range(gpus)]])
    monkeypatch.setattr(judging, "chat_template_file", lambda *_: "")
    given = judging.Evaluation(str(tmp_path), "", "", "vllm", text, False, 0, {}, {}, False, 0.25, [])
    bench = judging.prepare_bench(given, ModelServer("http://x/v1", "judge"))
    assert (bench.workers, bench.judge_workers) == (workers, judging_at_a_time)


@pytest.mark.parametrize("text", ["0", "-2", "many", "", "1.5"])
def test_invalid_workers_are_refused(text: str) -> None:
    with pytest.raises(SystemExit, match="positive integer"):
        judging.eval_workers(text, gpus=1)


def test_summary_names_each_entry_once_and_correctly() -> None:
    summary = scores.score_summary(
        "qna", {"a": 7.0, "b": 2.0, "c": 5.0, "d": 1.0, "e": 3.0}, {"a": 5.0, "b": 3.0, "c": 5.0}
    )
    assert [e["qna"] for e in summary["new"]] == ["d", "e"]
    assert summary["improvements"] == [{"qna": "a", "base_score": 5.0, "new_score": 7.0, "delta": 2.0}]
    assert summary["regressions"] == [{"qna": "b", "base_score": 3.0, "new_score": 2.0, "delta": -1.0}]
    assert summary["no_changes"] == [{"qna": "c", "base_score": 5.0, "new_score": 5.0, "delta": 0.0}]


def write_leaf(taxonomy: Path, leaf: str, questions: list[str]) -> None:
    (taxonomy / leaf).mkdir(parents=True)
    examples = [{"question": q, "answer": "a"} for q in questions]
    (taxonomy / leaf / "qna.yaml").write_text(yaml.safe_dump({"version": 3, "seed_examples": examples}))


def test_branch_questions_are_spread_over_the_skill_leaves(tmp_path: Path) -> None:
    write_leaf(tmp_path / "taxonomy", "compositional_skills/a", ["a1", "a2", "a3"])
    write_leaf(tmp_path / "taxonomy", "foundational_skills/b", ["b1", "a1"])  # a1 again: asked once
    write_leaf(tmp_path / "taxonomy", "knowledge/k", ["k1"])
    target = tmp_path / "asked"
    assert mt_bench_branch.branch_questions(str(tmp_path / "taxonomy"), str(target), 2) == 2
    asked = {
        str(p.relative_to(target)): [e["question"] for e in yaml.safe_load(p.read_text())["seed_examples"]]
        for p in target.rglob("qna.yaml")
    }
    assert asked == {"compositional_skills/a/qna.yaml": ["a1"], "foundational_skills/b/qna.yaml": ["b1"]}
    assert mt_bench_branch.branch_questions(str(tmp_path / "taxonomy"), str(target), 0) == 4


def test_a_kind_of_evaluation_without_questions_is_skipped_with_its_reason(tmp_path: Path) -> None:
    write_leaf(tmp_path / "taxonomy", "knowledge/k", ["k1"])
    given = judging.Evaluation(str(tmp_path), "", "", "llama.cpp", "1", False, 0, {}, {}, False, 0.25, [])
    bench = judging.Bench(given, ModelServer("", ""), "", 1, "")
    pair = Pair("", "", str(tmp_path / "work"))
    branch = mt_bench_branch.mt_bench_branch(bench, pair)
    choice = mmlu.mmlu_branch(pair, "", 5, "auto")
    held_out = likelihood.likelihood(pair, str(tmp_path / "held_out.jsonl"))
    for part, reason in ((branch, "no skill leaf"), (choice, "knowledge"), (held_out, "held out")):
        assert isinstance(part, Skipped)
        assert reason in part.reason


def test_tasks_are_written_here_and_files_without_questions_are_left_out(tmp_path: Path) -> None:
    """Trap 63: what a task file in an archive says is rendered by Jinja outside any sandbox, or loaded as code."""
    given, written = tmp_path / "node_datasets", tmp_path / "tasks"
    given.mkdir()
    asked = {"question": "{{ 7 * 7 }}", "choices": [*"abcd"], "answer": 3}
    for leaf, rows in (("many", 6), ("few", 2), ("none", 0)):
        row = {**asked, "icl_document": "x", "icl_query_1": "y"}
        (given / f"mmlubench_{leaf}.jsonl").write_text((json.dumps(row) + "\n") * rows)
        evil = "doc_to_text: \"{{ cycler.__init__.__globals__.os.system('touch evil') }}\"\na: !function os.system\n"
        (given / f"{leaf}_task.yaml").write_text(evil)
    assert mmlu.write_tasks(str(given), str(written), few_shots=5) == 8
    found = {task["task"]: task for task in (yaml.safe_load(path.read_text()) for path in written.glob("*.yaml"))}
    assert set(found) == {"many", "few"}
    assert found["few"]["num_fewshot"] == 0  # two questions can't give five examples
    assert "num_fewshot" not in found["many"]
    for task in found.values():
        assert {name: task[name] for name in mmlu.TASK} == mmlu.TASK
        data = Path(task["dataset_kwargs"]["data_files"]["test"])
        lines = [json.loads(line) for line in data.read_text().splitlines()]
        assert data.parent == written
        assert all({**row, "document": "?"} == {**asked, "document": "?"} and row["document"] != "x" for row in lines)
    assert not any("evil" in path.read_text() for path in written.iterdir())


def test_a_question_is_asked_as_the_task_files_of_the_library_ask_it() -> None:
    text = jinja2.Template(mmlu.TASK["doc_to_text"]).render(question=" Red? ", choices=[*"wxyz"], answer=0)
    assert text == "Red?\nA. w\nB. x\nC. y\nD. z\nAnswer:"


def test_sample_questions_are_spread_over_the_leaves() -> None:
    assert likelihood.sample_indices(["a", "a", "a", "b", "c"], 4) == [0, 1, 3, 4]
    assert likelihood.sample_indices(["a"], 6) == [0]


def test_likelihood_is_a_mean_over_tokens_not_over_questions() -> None:
    assert likelihood.ModelLikelihood([10.0, 2.0], [10, 1], []).mean([0, 1]) == pytest.approx(12 / 11)


BYTE_LEVEL = {"type": "ByteLevel", "use_regex": True}


@pytest.mark.parametrize(
    ("pre_tokenizer", "name"),
    [
        (BYTE_LEVEL, "gpt-2"),
        ({"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, BYTE_LEVEL]}, "smollm"),
    ],
)
def test_pre_tokenizers_that_llama_cpp_knows(pre_tokenizer: dict[str, Any], name: str) -> None:
    assert pre_tokenizer_name({"model": {"type": "BPE"}, "pre_tokenizer": pre_tokenizer}) == name


@pytest.mark.parametrize(
    ("kind", "pre_tokenizer"),
    [
        ("BPE", {"type": "Sequence", "pretokenizers": [{"type": "Split"}, BYTE_LEVEL]}),
        ("BPE", {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": False}, BYTE_LEVEL]}),
        ("BPE", None),
        ("Unigram", BYTE_LEVEL),
    ],
)
def test_other_pre_tokenizers_are_refused(kind: str, pre_tokenizer: dict[str, Any] | None) -> None:
    with pytest.raises(SystemExit, match="eval_engine=vllm"):
        pre_tokenizer_name({"model": {"type": kind}, "pre_tokenizer": pre_tokenizer})


def test_vocabulary_is_as_long_as_the_embedding() -> None:
    added = [{"id": 2, "content": "<|end|>", "special": True}, {"id": 3, "content": "<tool>", "special": False}]
    tokenizer = {"model": {"vocab": {"a": 0, "b": 1, "<|end|>": 2}}, "added_tokens": added}
    assert vocabulary(tokenizer, 5) == (["a", "b", "<|end|>", "<tool>", "[PAD4]"], [1, 1, 3, 4, 5])


class Evaluator:
    """Results as lm-evaluation-harness 0.4.8 and 0.4.13 give them: a group has results but no samples."""

    def __init__(self, *samples: dict[str, Any]) -> None:
        self.results = {"results": {"mmlu": {}, "mmlu_anatomy": {}}, "samples": {"mmlu_anatomy": list(samples)}}

    def run(self) -> None:
        raise ValueError("could not convert string to float: 'N/A'")


def test_answers_to_multiple_choice_questions_are_kept_in_their_order() -> None:
    second = {"doc_id": 10, "doc": {}, "doc_hash": "b" * 64, "acc": 0.0, "filter": "none"}
    first = {"doc_id": 9, "doc": {"document": "d"}, "doc_hash": "a" * 64, "acc": 1.0, "filter": "none"}
    found = mmlu.answers_by_task(Evaluator(second, {**first, "filter": "strict"}, first))
    assert found == {"mmlu_anatomy": [("a" * 12, 1, "d"), ("b" * 12, 0, "")]}
    assert mmlu.Choices(found).by_task() == {"mmlu_anatomy": 0.5}


@pytest.mark.parametrize("samples", [[], [{"doc_id": 1, "doc": {}, "doc_hash": "a", "filter": "none"}]])
def test_task_without_right_and_wrong_is_refused(samples: list[dict[str, Any]]) -> None:
    with pytest.raises(KeyError, match="acc"):
        mmlu.answers_by_task(Evaluator(*samples))


def test_accuracy_is_of_all_questions_and_their_pairs_are_kept() -> None:
    """One right answer of eight is 0.125, not the mean of two leaves with five and three questions."""
    rights = {"candidate": ([1, 0, 0, 0, 0], [0, 0, 0]), "base": ([0, 0, 0, 0, 0], [1, 1, 0])}
    new, base = (
        mmlu.Choices(
            {
                leaf: [(f"{leaf}{i}", right, "") for i, right in enumerate(of)]
                for leaf, of in zip("ab", both, strict=True)
            }
        )
        for both in rights.values()
    )
    found = mmlu.accuracies(new, base)
    assert (found.model_score, found.right, found.base_right, found.questions) == (0.125, 1, 2, 8)
    assert [(row.question, row.base, row.candidate) for row in found.answers][:2] == [("a0", 0, 1), ("a1", 0, 0)]
    assert [entry["task"] for entry in found.summary["improvements"]] == ["a"]


def test_likelihood_keeps_what_each_answer_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [HeldOut(f"Question {i}?", "Yes.", [], "knowledge/a", "knowledge", "doc") for i in range(2)]
    (tmp_path / "held_out.jsonl").write_text("".join(json.dumps(vars(row)) + "\n" for row in rows))
    measured = {"new": likelihood.ModelLikelihood([2.0, 3.0], [4, 5], ["", ""])}
    measured["old"] = likelihood.ModelLikelihood([6.0, 7.0], [4, 5], ["", ""])
    monkeypatch.setattr(likelihood, "model_likelihood", lambda folder, *_: measured[folder])
    found = likelihood.likelihood(Pair("new", "old", str(tmp_path)), str(tmp_path / "held_out.jsonl"))
    assert isinstance(found, likelihood.Likelihoods)
    assert [(row.leaf, row.base, row.candidate, row.weight, row.document) for row in found.answers] == [
        ("knowledge/a", 6.0, 2.0, 4, "doc"),
        ("knowledge/a", 7.0, 3.0, 5, "doc"),
    ]
    assert len({row.question for row in found.answers}) == 2
