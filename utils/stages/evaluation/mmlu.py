"""Multiple-choice questions to candidate and base: MMLU-branch (the taxonomy's) and MMLU (the harness's)."""

import functools
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.messages import failure
from utils.stages.data_processing.held_out import short_hash
from utils.stages.evaluation.scores import Accuracies, Pair, Skipped, score_summary
from utils.stages.evaluation.statistics import Answered
from utils.stages.json_lines import read_lines, write_lines
from utils.stages.patience import OUTAGE, Patience, wait_of_status
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
    ("offline", "the hub is switched off here", "unset HF_HUB_OFFLINE, or start a run without these tasks"),
    (
        "KeyError|(?<!Entry)NotFound|not exist|HTTP 40[14]",
        "no such data, or not for all",
        "start a run with other tasks, or give HF_TOKEN",
    ),
)


@dataclass(frozen=True)
class Choices:
    """What a model chose: by task, of each question its hash, 1 for right or 0 for wrong, and its document."""

    tasks: dict[str, list[tuple[str, int, str]]]

    def asked(self) -> dict[str, list[str]]:
        """The questions' hashes."""
        return {task: [row[0] for row in chosen] for task, chosen in self.tasks.items()}

    def by_task(self) -> dict[str, float]:
        """Share of right answers, 0 to 1."""
        return {task: sum(right for _, right, _ in chosen) / len(chosen) for task, chosen in self.tasks.items()}


def mmlu(pair: Pair, tasks: Sequence[str], tasks_dir: str, few_shots: int, batch_size: str) -> Accuracies:
    """Accuracy of both models on multiple-choice tasks: the share of right answers of all questions.

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

    def choices(model_dir: str) -> Choices:
        evaluator = library.MMLUBranchEvaluator(
            model_dir,
            tasks_dir or None,
            tasks,
            model_dtype="bfloat16" if cuda else "float32",
            few_shots=few_shots,
            batch_size=batch_of(batch_size, cuda),
            device="cuda" if cuda else "cpu",
        )
        try:
            if not tasks_dir:
                fetch_tasks(tasks)
            return Choices(answers_by_task(evaluator))
        except (OSError, KeyError) as error:
            raise failure(
                f"{', '.join(tasks)} can't be run",
                *explained(told(error), HUB, first=HUB_CAUSES),
            ) from error

    return accuracies(*pair.asked_alike(f"{tasks[0]}.choices.json", Choices, choices))


def batch_of(size: str, cuda: bool) -> int | str:
    """The batch size that the harness is given. Finding the largest takes minutes on a CPU and gains nothing there."""
    return int(size) if size.isdecimal() else "auto" if cuda else 4


def fetch_tasks(tasks: Sequence[str], patience: Patience = OUTAGE) -> dict[Any, Any]:
    """Bring the data of tasks from their hub to its cache, before a model is loaded; the tasks, in groups.

    The harness takes them from there when it can't reach the hub. The hub's own client tries again for seconds.
    """
    from lm_eval.tasks import TaskManager

    return patience.outlast(
        lambda: TaskManager().load_task_or_group([*tasks]), hub_passes, f"the hub of {', '.join(tasks)}"
    )


def hub_passes(error: Exception) -> float | None:
    """Seconds to wait at least after an error of a hub's client that may pass, None after another one.

    Versions raise their own errors from those of requests or httpx.
    """
    said = told(error)
    if status := re.match(r"HTTP (\d+)", said):
        return wait_of_status(int(status[1]))
    away = re.search("Connect|Timeout|ReadError|RemoteProtocol|ChunkedEncoding", said)
    return 0.0 if away and not re.search("Offline|CERTIFICATE_VERIFY", said) else None


def accuracies(new: Choices, base: Choices) -> Accuracies:
    """What candidate and base chose, side by side."""
    answers = [
        Answered(question, task, before, right, 1.0, document)
        for task, chosen in sorted(new.tasks.items())
        for (question, right, document), (_, before, _) in zip(chosen, base.tasks[task], strict=True)
    ]
    right, before = sum(row.candidate or 0 for row in answers), sum(row.base or 0 for row in answers)
    return Accuracies(
        right / len(answers),
        before / len(answers),
        int(right),
        int(before),
        score_summary("task", new.by_task(), base.by_task()),
        len(answers),
        answers,
    )


def answers_by_task(evaluator: Any) -> dict[str, list[tuple[str, int, str]]]:
    """Run an evaluator of instructlab-eval; what `Choices` keeps.

    The harness (0.4.8 to 0.4.13) logs each question with its number, the hash of its row, and `acc`.
    """
    try:
        evaluator.run()
    except ValueError:
        # It makes a number of the standard error, which is "N/A" for a task with one question.
        if not evaluator.results:
            raise
    found = defaultdict(list)
    for task, samples in evaluator.results["samples"].items():
        for sample in sorted(samples, key=lambda sample: int(sample["doc_id"])):
            if sample["filter"] == "none":
                row = sample["doc_hash"][:12], int(sample["acc"]), sample["doc"].get("document", "")
                found[task].append(row)
    if not found:
        raise KeyError("acc,none")
    return found


def mmlu_branch(pair: Pair, tasks_dir: str, few_shots: int, batch_size: str) -> Accuracies | Skipped:
    """MMLU-branch: `mmlu` on the multiple-choice questions that SDG made of the knowledge leaves.

    Args:
        tasks_dir: SDG's node_datasets folder, "" when there is none.
    """
    copied = f"{pair.work_dir}/tasks"
    questions = write_tasks(tasks_dir, copied, few_shots) if tasks_dir else 0
    if not questions:
        return Skipped("there is no multiple-choice question: no knowledge leaf")
    return mmlu(pair, ["ilab_branch"], copied, few_shots, batch_size)


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
        rows = [
            {key: row[key] for key in ("question", "choices", "answer")}
            | {"document": short_hash(row.get("icl_document") or "")}
            for row in read_lines(path)
        ]
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
