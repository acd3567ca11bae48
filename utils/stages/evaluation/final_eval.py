"""Stage final_eval: candidate against base on what the taxonomy asks."""

import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from utils.messages import failure
from utils.stages.credentials import model_server
from utils.stages.disk import tells_full_disk
from utils.stages.evaluation.base_scores import base_scores, digest_of_files
from utils.stages.evaluation.eval_names import PREFIX, folder_of, measure_of
from utils.stages.evaluation.harness import TaskScores, eval_task
from utils.stages.evaluation.judging import Bench, Evaluation, prepare_bench
from utils.stages.evaluation.likelihood import Likelihoods, likelihood
from utils.stages.evaluation.mmlu import mmlu, mmlu_branch
from utils.stages.evaluation.mt_bench_branch import mt_bench_branch
from utils.stages.evaluation.scores import Accuracies, BranchScores, Pair, Skipped
from utils.stages.evaluation.serving import gpus_held
from utils.stages.marker import finished_result, inputs_hash, result_of, write_json, write_marker
from utils.stages.results import Benchmarked, Generated


@dataclass(frozen=True)
class Comparison(Evaluation):
    """What the stage is given: the parameters of the component `final_eval`."""

    few_shots: int
    batch_size: str
    mmlu_tasks: list[str]
    eval_tasks: list[str]
    store_secret_dir: str
    data_key: str
    reuse_base: bool


@dataclass(frozen=True)
class Part:
    """An evaluation of both models.

    Attributes:
        evaluate: their scores.
        files: what it keeps of the base model, below that model's work folder.
        decides: what decides the base model's scores.
    """

    evaluate: Callable[[], BranchScores | Accuracies | Likelihoods | TaskScores | Skipped]
    files: list[str]
    decides: dict[str, Any]


@tells_full_disk
def compare(given: Comparison) -> dict[str, float]:
    """Compare candidate and base, unless that is done; returns the stage's metrics."""
    started = time.time()
    judge = model_server(given.judge_secret_dir, "judge")
    answers = {
        **given.answer_inputs("mt_bench"),
        "few_shots": given.few_shots,
        "mmlu_tasks": given.mmlu_tasks,
        **({"eval_tasks": tasks_given(given)} if given.eval_tasks else {}),  # an older volume stays finished
    }
    inputs = {**answers, **given.judgment_inputs(judge), "max_error_rate": given.max_error_rate}
    result = finished_result(given.data_dir, "final_eval", inputs, given.force)
    if result is None:
        # Answers serve again with another judge.
        work_dir = f"{given.data_dir}/scores/final_eval.part/{inputs_hash(answers)}"
        result = write_scores(given, prepare_bench(given, judge), work_dir)
        outputs, gpus = [f"scores/{part}.json" for part in result], gpus_held(given.engine)
        write_marker(given.data_dir, "final_eval", inputs, outputs, result, started, gpus=gpus)
    shutil.rmtree(f"{given.data_dir}/scores/final_eval.part", ignore_errors=True)  # what is published has none of it
    # The scores themselves are the headline scores of the report.
    metrics = {"mt_bench_branch": ("questions", "error_rate"), "likelihood": ("questions",)}
    return {f"{p}_{name}": result[p][name] for p, names in metrics.items() for name in names if name in result[p]}


def tasks_given(given: Comparison) -> dict[str, str]:
    """The entries of `eval_tasks`, with a hash of the files of each that is a folder."""
    folders = {entry: folder_of(entry, given.data_dir) for entry in given.eval_tasks}
    return {entry: digest_of_files(folder, ["**/*"]) if folder else "" for entry, folder in folders.items()}


def parts_of(given: Comparison, bench: Bench, pair: Pair) -> dict[str, Part]:
    """The evaluations, by name. The served models first: later evaluations keep GPU memory in this process."""
    data = Path(given.data_dir)
    tasks_dir = (result_of(given.data_dir, "sdg", Generated) or Generated()).mmlu_tasks_dir
    asked = {
        **{name: value for name, value in given.answer_inputs("").items() if name != "upstream"},
        **given.judgment_inputs(bench.judge),
        **{"endpoint": bench.judge.endpoint, "max_error_rate": given.max_error_rate},
        "questions": digest_of_files(data / "taxonomy", ["**/qna.yaml"]),
    }
    choices = {"few_shots": given.few_shots, "batch_size": given.batch_size}
    tasks = data / tasks_dir if tasks_dir else data / "no tasks"
    parts = {
        "mt_bench_branch": Part(
            lambda: mt_bench_branch(bench, pair),
            ["mt_bench_branch/model_answer/base.jsonl", bench.score_file],
            asked,
        ),
        "mmlu_branch": Part(
            lambda: mmlu_branch(pair, str(tasks) if tasks_dir else "", given.few_shots, given.batch_size),
            ["ilab_branch.choices.json"],
            {**choices, "questions": digest_of_files(tasks, ["mmlubench_*.jsonl"])},
        ),
        "likelihood": Part(
            lambda: likelihood(pair, f"{given.data_dir}/processed/held_out.jsonl", bench.template),
            ["likelihood.json"],
            {"questions": digest_of_files(data / "processed", ["held_out.jsonl"])},
        ),
    }
    if given.mmlu_tasks:
        parts["mmlu"] = Part(
            lambda: mmlu(pair, given.mmlu_tasks, "", given.few_shots, given.batch_size),
            [f"{given.mmlu_tasks[0]}.choices.json"],
            {**choices, "tasks": given.mmlu_tasks},
        )
    for entry, files in tasks_given(given).items():
        name = measure_of(entry)
        parts[name] = Part(
            partial(eval_task, pair, entry, given.data_dir, given.batch_size),
            [f"{name}.json"],
            {"batch_size": given.batch_size, "tasks": files or entry},
        )
    return parts


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
    pair = Pair(f"{given.data_dir}/{scored.candidate}", f"{given.data_dir}/model", work_dir)
    secret_dir, base_dir = given.store_secret_dir if given.reuse_base else "", Path(work_dir, "base")
    bases = base_scores(secret_dir, given.data_key, given.ca_file, Path(pair.base), bench.template, base_dir)
    result, parts = {}, parts_of(given, bench, pair)
    for file in Path(given.data_dir, "scores").glob(f"{PREFIX}*.json"):
        if file.stem not in parts:  # of other tasks, that were asked for before
            file.unlink()
    for part, of in parts.items():
        with bases.reused({"part": part, **of.decides}, of.files) as used:
            values = {name: value for name, value in asdict(of.evaluate()).items() if value is not None}
        values |= used
        write_json(
            Path(f"{given.data_dir}/scores/{part}.json"), {"model": scored.candidate, "base_model": "model", **values}
        )
        result[part] = {name: value for name, value in values.items() if isinstance(value, int | float | str)}
        print(part, result[part], flush=True)
    return result
