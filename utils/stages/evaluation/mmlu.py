"""Multiple-choice questions to candidate and base: MMLU-branch (the taxonomy's) and MMLU (the harness's)."""

import functools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from utils.messages import failure
from utils.stages.evaluation.scores import Accuracies, Pair, Skipped, score_summary
from utils.stages.json_lines import read_lines, write_lines
from utils.stages.service_errors import Rows, Service, explained, told

TASK: dict[str, Any] = {
    "tag": "ilab_branch",
    "dataset_path": "json",
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "{{question.strip()}}\n{% for c in choices %}{{'ABCD'[loop.index0]}}. {{c}}\n{% endfor %}Answer:",
    "doc_to_choice": "choices",
    "doc_to_target": "answer",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
}
"""How the harness asks a question: the same text as in the task files of instructlab-sdg."""

HUB = Service("https://huggingface.co", "HF_ENDPOINT (a mirror of the hub)", "HF_TOKEN")
HUB_CAUSES: Rows = (
    ("gated|awaiting", "the data are gated", "accept their terms, and give HF_TOKEN in a pod overlay{then}"),
    ("offline", "the hub is switched off here", "unset HF_HUB_OFFLINE, or start a run without mmlu_tasks"),
    ("KeyError|NotFound|not exist|HTTP 40[14]", "there is no such task or data", "start a run with other mmlu_tasks"),
)


@dataclass(frozen=True)
class Accuracy:
    """Share of right answers of a model, 0 to 1: over all tasks, and by task."""

    score: float
    tasks: dict[str, float]


def mmlu(pair: Pair, tasks: Sequence[str], tasks_dir: str, few_shots: int, batch_size: str) -> Accuracies:
    """Accuracy of both models on multiple-choice tasks.

    Args:
        tasks: names or a tag of lm-evaluation-harness tasks.
        tasks_dir: folder of task files whose data paths are absolute; "" for the harness's own tasks.
        few_shots: examples before each question.
        batch_size: `auto` or a positive integer.

    Raises:
        SystemExit: a task is unknown, or its data can't be had.
    """
    import instructlab.eval.mmlu as library
    import torch
    from lm_eval.tasks import TaskManager

    # Without it the index of the harness's own 10000 tasks is built for each model, and none of them is asked for.
    library.TaskManager = functools.partial(TaskManager, include_defaults=not tasks_dir)
    cuda = torch.cuda.is_available()

    def accuracy(model_dir: str) -> Accuracy:
        evaluator = library.MMLUBranchEvaluator(
            model_dir,
            tasks_dir or None,
            tasks,
            model_dtype="bfloat16" if cuda else "float32",
            few_shots=few_shots,
            # Finding the largest batch takes minutes on a CPU and gains nothing there.
            batch_size=int(batch_size) if batch_size.isdecimal() else "auto" if cuda else 4,
            device="cuda" if cuda else "cpu",
        )
        try:
            scores = task_scores(evaluator)
        except (OSError, KeyError) as error:
            raise failure(
                f"{', '.join(tasks)} can't be run",
                *explained(told(error), HUB, first=HUB_CAUSES),
            ) from error
        return Accuracy(statistics.fmean(scores.values()), scores)

    new, base = pair.scored(f"{tasks[0]}.json", Accuracy, accuracy)
    return Accuracies(new.score, base.score, score_summary("task", new.tasks, base.tasks))


def task_scores(evaluator: Any) -> dict[str, float]:
    """Run an evaluator of instructlab-eval; the share of right answers by task."""
    try:
        evaluator.run()
    except ValueError:
        # It makes a number of the standard error, which is "N/A" for a task with one question.
        if not evaluator.results:
            raise
    return {name: float(entry["acc,none"]) for name, entry in evaluator.results["results"].items()}


def mmlu_branch(pair: Pair, tasks_dir: str, few_shots: int, batch_size: str) -> Accuracies | Skipped:
    """MMLU-branch: `mmlu` on the multiple-choice questions that SDG made of the knowledge leaves.

    Args:
        tasks_dir: SDG's node_datasets folder, "" when there is none.
    """
    copied = f"{pair.work_dir}/tasks"
    questions = write_tasks(tasks_dir, copied, few_shots) if tasks_dir else 0
    if not questions:
        return Skipped("there is no multiple-choice question: no knowledge leaf")
    return replace(mmlu(pair, ["ilab_branch"], copied, few_shots, batch_size), questions=questions)


def write_tasks(data_dir: str, target: str, few_shots: int) -> int:
    """Write a task of the harness, with the tag `ilab_branch`, for each file of questions; the number of questions.

    The harness renders what a task file says as a template outside any sandbox, and loads code that it names: the task
    files in the folder, which may come from an archive, are not read. A task with too few questions to give examples is
    asked without.

    Args:
        data_dir: holds the questions, mmlubench_<task>.jsonl.
    """
    import yaml

    copies = Path(target)
    copies.mkdir(parents=True, exist_ok=True)
    questions = 0
    for path in sorted(Path(data_dir).glob("mmlubench_*.jsonl")):
        rows = [{key: row[key] for key in ("question", "choices", "answer")} for row in read_lines(path)]
        if not rows:
            continue
        questions += len(rows)
        data = (copies / str(questions)).with_suffix(".jsonl")
        write_lines(data, rows)
        task = TASK | {
            "task": path.stem.removeprefix("mmlubench_"),
            "dataset_kwargs": {"data_files": {"test": str(data)}},
        }
        if len(rows) <= few_shots:
            task["num_fewshot"] = 0
        data.with_suffix(".yaml").write_text(yaml.safe_dump(task))
    return questions
