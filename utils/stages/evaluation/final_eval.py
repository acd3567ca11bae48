"""Candidate against base on what the taxonomy asks."""

import os
import shutil
import time
from dataclasses import dataclass
from typing import Any

from utils.stages.chat_template.files import chat_template_file
from utils.stages.credentials import model_server
from utils.stages.evaluation.judging import bench_settings, kept, write_json
from utils.stages.evaluation.likelihood import likelihood
from utils.stages.evaluation.mmlu import mmlu, mmlu_branch, mt_bench_branch
from utils.stages.marker import finished_result, inputs_hash, read_marker, write_marker


@dataclass(frozen=True)
class Comparison:
    """What the stage is given: the parameters of the component `final_eval`."""

    data_dir: str
    judge_secret_dir: str
    ca_file: str
    engine: str
    max_workers: str
    few_shots: int
    batch_size: str
    merge_system_user_message: bool
    mmlu_tasks: list[Any]
    max_questions: int
    answer_options: dict[str, Any]
    judge_options: dict[str, Any]
    force: bool


def compare(given: Comparison) -> dict[str, float]:
    """Compare candidate and base, unless that is done; returns the stage's metrics."""
    started, measured = time.time(), dict[str, float]()
    judge = model_server(given.judge_secret_dir, "judge")
    scored = read_marker(given.data_dir, "mt_bench")
    inputs = {
        "upstream": scored.get("inputs_hash", ""),
        "engine": given.engine,
        "judge": judge.model_name,
        "few_shots": given.few_shots,
        "merge_system_user_message": given.merge_system_user_message,
        "mmlu_tasks": given.mmlu_tasks,
        "max_questions": given.max_questions,
        "answer_options": given.answer_options,
        "judge_options": given.judge_options,
    }
    result = finished_result(given.data_dir, "final_eval", inputs, given.force)
    if result is None:
        scores_dir = os.path.join(given.data_dir, "scores")
        work_dir = os.path.join(scores_dir, "final_eval.part", inputs_hash(inputs))
        names = {"model": scored["result"]["candidate"], "base_model": "model"}
        models = {
            kind: os.path.join(given.data_dir, names[n]) for kind, n in (("candidate", "model"), ("base", "base_model"))
        }
        template = chat_template_file(given.data_dir, "template.jinja")
        bench = bench_settings(
            given.engine,
            given.max_workers,
            judge,
            given.ca_file,
            given.answer_options,
            given.judge_options,
            given.merge_system_user_message,
            template,
        )
        tasks_dir = read_marker(given.data_dir, "sdg").get("result", {}).get("mmlu_tasks_dir", "")
        # The served models first: later evaluations keep GPU memory in this process.
        parts = {
            "mt_bench_branch": lambda: mt_bench_branch(
                os.path.join(given.data_dir, "taxonomy"), models, work_dir, bench, given.max_questions
            ),
            "mmlu_branch": lambda: mmlu_branch(
                tasks_dir and os.path.join(given.data_dir, tasks_dir),
                models,
                work_dir,
                given.few_shots,
                given.batch_size,
            ),
            "likelihood": lambda: likelihood(
                os.path.join(given.data_dir, "processed", "held_out.jsonl"), models, work_dir, template
            ),
        }
        if given.mmlu_tasks:
            parts["mmlu"] = lambda: mmlu(models, work_dir, given.mmlu_tasks, "", given.few_shots, given.batch_size)
        result = {}
        for part, evaluate in parts.items():
            print(f"{part} of candidate and base", flush=True)
            scores = kept(os.path.join(work_dir, f"{part}.json"), evaluate)
            write_json(os.path.join(scores_dir, f"{part}.json"), {**names, **scores})
            result[part] = {k: v for k, v in scores.items() if isinstance(v, int | float | bool | str)}
        write_marker(given.data_dir, "final_eval", inputs, [f"scores/{part}.json" for part in parts], result, started)
        shutil.rmtree(os.path.dirname(work_dir))
    # The scores themselves are the headline scores of the report.
    for part in ("mt_bench_branch", "likelihood"):
        if "questions" in result[part]:
            measured[f"{part}_questions"] = result[part]["questions"]
    if "error_rate" in result["mt_bench_branch"]:
        measured["mt_bench_branch_error_rate"] = result["mt_bench_branch"]["error_rate"]
    return measured
