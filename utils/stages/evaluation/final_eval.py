"""Stage final_eval: candidate against base on what the taxonomy asks."""

import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from utils.messages import failure
from utils.stages.credentials import model_server
from utils.stages.disk import tells_full_disk
from utils.stages.evaluation.judging import Bench, Evaluation, prepare_bench
from utils.stages.evaluation.likelihood import Likelihoods, likelihood
from utils.stages.evaluation.mmlu import mmlu, mmlu_branch
from utils.stages.evaluation.mt_bench_branch import mt_bench_branch
from utils.stages.evaluation.scores import Accuracies, BranchScores, Pair, Skipped
from utils.stages.marker import finished_result, inputs_hash, result_of, write_json, write_marker
from utils.stages.results import Benchmarked, Generated


@dataclass(frozen=True)
class Comparison(Evaluation):
    """What the stage is given: the parameters of the component `final_eval`."""

    few_shots: int
    batch_size: str
    mmlu_tasks: list[str]


@tells_full_disk
def compare(given: Comparison) -> dict[str, float]:
    """Compare candidate and base, unless that is done; returns the stage's metrics."""
    started = time.time()
    judge = model_server(given.judge_secret_dir, "judge")
    answers = {
        **given.answer_inputs("mt_bench"),
        "few_shots": given.few_shots,
        "mmlu_tasks": given.mmlu_tasks,
    }
    inputs = {**answers, **given.judgment_inputs(judge), "max_error_rate": given.max_error_rate}
    result = finished_result(given.data_dir, "final_eval", inputs, given.force)
    if result is None:
        # Answers serve again with another judge.
        work_dir = f"{given.data_dir}/scores/final_eval.part/{inputs_hash(answers)}"
        result = write_scores(given, prepare_bench(given, judge), work_dir)
        write_marker(given.data_dir, "final_eval", inputs, [f"scores/{part}.json" for part in result], result, started)
    shutil.rmtree(f"{given.data_dir}/scores/final_eval.part", ignore_errors=True)  # what is published has none of it
    # The scores themselves are the headline scores of the report.
    metrics = {"mt_bench_branch": ("questions", "error_rate"), "likelihood": ("questions",)}
    return {f"{p}_{name}": result[p][name] for p, names in metrics.items() for name in names if name in result[p]}


def write_scores(given: Comparison, bench: Bench, work_dir: str) -> dict[str, dict[str, Any]]:
    """Compare both models by each measure, into scores/<measure>.json.

    Args:
        work_dir: keeps what is finished for a restart.

    Returns:
        of each file what is not in lists: the marker's result.

    Raises:
        SystemExit: MT-Bench has not chosen a candidate, or an evaluation failed.
    """
    scored = result_of(given.data_dir, "mt_bench", Benchmarked)
    if not scored:
        raise failure("there is no candidate to compare", "MT-Bench has not finished", "run it first")
    tasks_dir = (result_of(given.data_dir, "sdg", Generated) or Generated()).mmlu_tasks_dir
    pair = Pair(f"{given.data_dir}/{scored.candidate}", f"{given.data_dir}/model", work_dir)
    # The served models first: later evaluations keep GPU memory in this process.
    parts: dict[str, Callable[[], BranchScores | Accuracies | Likelihoods | Skipped]] = {
        "mt_bench_branch": lambda: mt_bench_branch(bench, pair),
        "mmlu_branch": lambda: mmlu_branch(
            pair, tasks_dir and f"{given.data_dir}/{tasks_dir}", given.few_shots, given.batch_size
        ),
        "likelihood": lambda: likelihood(pair, f"{given.data_dir}/processed/held_out.jsonl", bench.template),
    }
    if given.mmlu_tasks:
        parts["mmlu"] = lambda: mmlu(pair, given.mmlu_tasks, "", given.few_shots, given.batch_size)
    result = {}
    for part, evaluate in parts.items():
        values = {name: value for name, value in asdict(evaluate()).items() if value is not None}
        write_json(
            Path(f"{given.data_dir}/scores/{part}.json"), {"model": scored.candidate, "base_model": "model", **values}
        )
        result[part] = {name: value for name, value in values.items() if isinstance(value, int | float | str)}
        print(part, result[part], flush=True)
    return result
