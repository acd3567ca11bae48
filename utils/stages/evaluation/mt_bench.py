"""MT-Bench over the trained checkpoints; the best one becomes the candidate."""

import os
import shutil
import time
from dataclasses import dataclass
from typing import Any

from utils.stages.chat_template.files import chat_template_file
from utils.stages.credentials import model_server
from utils.stages.evaluation.judging import (
    bench_settings,
    check_judge,
    choose_candidate,
    scored_checkpoints,
    trained_checkpoints,
    write_json,
)
from utils.stages.marker import finished_result, inputs_hash, read_marker, write_marker


@dataclass(frozen=True)
class CheckpointScoring:
    """What the stage is given: the parameters of the component `mt_bench`."""

    data_dir: str
    judge_secret_dir: str
    ca_file: str
    engine: str
    max_workers: str
    merge_system_user_message: bool
    max_questions: int
    max_error_rate: float
    answer_options: dict[str, Any]
    judge_options: dict[str, Any]
    force: bool


def score_checkpoints(given: CheckpointScoring) -> dict[str, float]:
    """Score all checkpoints and choose the candidate, unless that is done; returns the stage's metrics."""
    started, measured = time.time(), dict[str, float]()
    judge = model_server(given.judge_secret_dir, "judge")
    answers = {
        "upstream": read_marker(given.data_dir, "train_phase_2").get("inputs_hash", ""),
        "engine": given.engine,
        "max_questions": given.max_questions,
        "answer_options": given.answer_options,
    }
    inputs = {
        **answers,
        "judge": judge.model_name,
        "merge_system_user_message": given.merge_system_user_message,
        "judge_options": given.judge_options,
        "max_error_rate": given.max_error_rate,
    }
    result = finished_result(given.data_dir, "mt_bench", inputs, given.force)
    if result is None:
        phases = [read_marker(given.data_dir, f"train_phase_{n}").get("result", {}) for n in (1, 2)]
        checkpoints = trained_checkpoints(phases[0], phases[1])
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
        check_judge(judge, bench["ca"])
        # Answers serve again with another judge.
        work_dir = os.path.join(given.data_dir, "scores", "mt_bench.part", inputs_hash(answers))
        questions = min(given.max_questions or 80, 80)
        scores = scored_checkpoints(given.data_dir, checkpoints, work_dir, bench, questions, given.max_error_rate)
        best, reason = choose_candidate(scores, given.max_error_rate)
        result = {
            "candidate": best["model"],
            "overall_score": best["overall_score"],
            "error_rate": best["error_rate"],
            "judge_model": judge.model_name,
            "max_error_rate": given.max_error_rate,
            "reason": reason,
            "questions": questions,
        }
        write_json(os.path.join(given.data_dir, "scores", "mt_bench.json"), {**result, "checkpoints": scores})
        write_marker(given.data_dir, "mt_bench", inputs, ["scores/mt_bench.json"], result, started)
        shutil.rmtree(os.path.dirname(work_dir))
    print(f"candidate: {result['candidate']} ({result['reason']}), MT-Bench {result['overall_score']:.2f}", flush=True)
    # The score itself stands among the headline scores of the report.
    measured["mt_bench_questions"] = result["questions"]
    if "error_rate" in result:  # an earlier version's marker has none
        measured["mt_bench_error_rate"] = result["error_rate"]
    return measured
