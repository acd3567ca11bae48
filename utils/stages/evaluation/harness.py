"""Tasks of the lm-evaluation-harness beside our own comparisons: some that it has, and those of the user's files.

They are asked as the harness asks by default: with a task's own number of examples, without a chat template.
"""

import difflib
import functools
import importlib.metadata
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from utils.messages import failure
from utils.stages.evaluation.eval_names import folder_of, measure_of
from utils.stages.evaluation.mmlu import HUB, HUB_CAUSES, batch_of, hub_passes
from utils.stages.evaluation.scores import Pair
from utils.stages.evaluation.statistics import Answered
from utils.stages.evaluation.task_files import read_tasks
from utils.stages.patience import OUTAGE, Patience
from utils.stages.run_parameters import noted_parameters
from utils.stages.service_errors import explained, told

FAULTS = (OSError, LookupError, ValueError, TypeError, AttributeError, AssertionError, ImportError)
"""What the harness and its libraries raise where a task file or the data do not fit."""


@dataclass(frozen=True)
class TaskAnswers:
    """What a model scored.

    Attributes:
        metric: the harness's name of it.
        score: mean over all questions, or what the harness makes of them.
        tasks: by task, of each question its hash and its score; none where the metric has no score of a question.
    """

    metric: str
    lower_is_better: bool
    score: float
    tasks: dict[str, list[tuple[str, float]]]

    def asked(self) -> dict[str, list[str]]:
        """The questions' hashes."""
        return {task: [question for question, _ in scored] for task, scored in self.tasks.items()}


@dataclass(frozen=True)
class TaskScores:
    """Candidate and base: scores/eval_<name>.json.

    Attributes:
        task: as `eval_tasks` has it.
        right, base_right: number of right answers; None where answers are not right or wrong.
    """

    task: str
    metric: str
    model_score: float
    base_model_score: float
    lower_is_better: bool
    right_or_wrong: bool
    questions: int | None
    answers: list[Answered]
    right: int | None = None
    base_right: int | None = None


def eval_task(pair: Pair, entry: str, data_dir: str, batch_size: str) -> TaskScores:
    """What both models score at an entry of `eval_tasks`.

    Raises:
        SystemExit: see `load_tasks`.
    """
    tasks = functools.cache(lambda: load_tasks(entry, data_dir))  # the same data for both

    def answers(model_dir: str) -> TaskAnswers:
        return task_answers(tasks(), model_dir, batch_size)

    return side_by_side(entry, *pair.asked_alike(f"{measure_of(entry)}.json", TaskAnswers, answers))


def side_by_side(entry: str, new: TaskAnswers, base: TaskAnswers) -> TaskScores:
    """The scores of candidate and base."""
    answers = [
        Answered(question, task, finite(before), finite(score))
        for task, scored in sorted(new.tasks.items())
        for (question, score), (_, before) in zip(scored, base.tasks[task], strict=True)
    ]
    sides = [[one.candidate for one in answers], [one.base for one in answers]]
    exact = bool(answers) and {score for side in sides for score in side} <= {0.0, 1.0}
    return TaskScores(
        *(entry, new.metric, new.score, base.score, new.lower_is_better, exact),
        *(len(answers) or None, answers),
        *([side.count(1.0) for side in sides] if exact else ()),
    )


def finite(score: float) -> float | None:
    """None for NaN and infinity, which JSON does not have."""
    return score if math.isfinite(score) else None


def load_tasks(entry: str, data_dir: str, patience: Patience = OUTAGE) -> dict[str, Any]:
    """The harness's tasks of an entry by their names, with their data.

    Raises:
        SystemExit: it is unknown, its files can't be used, or its data can't be had.
    """
    import datasets
    from jinja2 import TemplateError

    keep_out_code()
    folder = folder_of(entry, data_dir)

    def load() -> dict[str, Any]:
        return dict(flat(own_tasks(folder) if folder else manager().load_task_or_group([entry])))

    if not folder:
        require_known(entry)
    try:
        return patience.outlast(load, hub_passes, f"the hub of {entry}")
    except (*FAULTS, TemplateError, datasets.exceptions.DatasetsError) as error:
        files = folder and hub_passes(error) is None
        cause = (repr(error), "correct its files") if files else explained(told(error), HUB, first=HUB_CAUSES)
        raise failure(f"the task {entry} can't be run", *cause) from error


def keep_out_code() -> None:
    """Let templates and data sets run no code of theirs.

    The harness renders templates outside any sandbox (utils.py), and allows some data sets to bring a script.
    """
    import datasets
    import lm_eval.utils as library
    from jinja2.sandbox import SandboxedEnvironment

    if isinstance(library.env, SandboxedEnvironment):
        return
    kept, load = library.env, datasets.load_dataset
    library.env = SandboxedEnvironment(loader=kept.loader, undefined=kept.undefined, keep_trailing_newline=True)
    library.env.filters = kept.filters
    # Without a word of ours, a variable of the environment decides, or a prompt (datasets 3.6, load.py).
    datasets.load_dataset = lambda *args, **more: load(*args, **more | {"trust_remote_code": False})


@functools.cache
def manager() -> Any:
    """The index of the harness's own tasks, which takes half a minute."""
    from lm_eval.tasks import TaskManager

    return TaskManager()


def require_tasks(data_dir: str) -> None:
    """End the stage if a task of the run's final evaluation is unknown, or its files can't be used.

    Nothing is fetched. A volume that has not been told of tasks has none to check.
    """
    given = noted_parameters(data_dir)
    for parameter in ("eval_tasks", "mmlu_tasks"):
        for entry in given.get(parameter, ()):
            if parameter == "eval_tasks" and (folder := folder_of(entry, data_dir)):
                read_tasks(folder)
            else:
                require_known(entry, parameter)


def require_known(name: str, parameter: str = "eval_tasks") -> None:
    """End the stage if the harness has no task, group or tag of this name."""
    known = manager().all_tasks
    if name not in known:
        version, near = importlib.metadata.version("lm_eval"), difflib.get_close_matches(name, known)
        raise failure(
            f"{name} of {parameter} is not a task of the lm-evaluation-harness {version}",
            f"similar are {', '.join(near)}" if near else "none has a similar name",
            f"start a run with other {parameter}; a folder of the archive is eval_tasks/NAME",
        )


def own_tasks(folder: Path) -> dict[str, Any]:
    """The tasks of a user's files, by name.

    Raises:
        ValueError: a metric would be fetched, with its code, or an aggregation is unknown.
    """
    import lm_eval.api.metrics  # noqa: F401 - it fills the registries
    from lm_eval.api.registry import AGGREGATION_REGISTRY, METRIC_REGISTRY
    from lm_eval.api.task import ConfigurableTask

    found = {}
    for config in read_tasks(folder):
        for one in config.get("metric_list") or []:
            if one["metric"] not in METRIC_REGISTRY or one.get("aggregation", "mean") not in AGGREGATION_REGISTRY:
                raise ValueError(f"the harness does not have metric and aggregation of {one}")
        found[str(config["task"])] = ConfigurableTask(config=config)
    return found


def flat(found: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    """The tasks in groups of groups."""
    for name, inner in found.items():
        if isinstance(inner, dict):
            yield from flat(inner)
        else:
            yield str(name), inner


def main_metric(tasks: Iterable[Any]) -> tuple[str, bool, bool]:
    """acc_norm, or else the first metric that is a mean of the questions' scores in all tasks, or else the first one.

    Returns:
        its name, whether it is such a mean, and whether lower is better.

    Raises:
        SystemExit: of several tasks, there is no such mean.
    """
    from lm_eval.api.registry import get_aggregation

    mean = get_aggregation("mean")
    first, *others = tasks
    common = [
        name for name in first.aggregation() if all(one.aggregation().get(name) is mean for one in (first, *others))
    ]
    if not common and others:
        raise failure(
            "a group's tasks have no metric in common that is a mean of the questions' scores",
            f"the first has {', '.join(first.aggregation())}",
            "name its tasks one by one in eval_tasks",
        )
    metric = "acc_norm" if "acc_norm" in common else [*common, *first.aggregation()][0]
    # Task files have "true" and true.
    return metric, bool(common), str(first.higher_is_better().get(metric)).lower() == "false"


def task_answers(tasks: Mapping[str, Any], model_dir: str, batch_size: str) -> TaskAnswers:
    """Ask a model, as transformers runs it: tasks that let it write take long.

    Raises:
        SystemExit: the metric gives no number for a question, whatever the task file says of its mean.
    """
    import torch
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    metric, of_questions, lower = main_metric(tasks.values())
    cuda = torch.cuda.is_available()
    found = simple_evaluate(
        model="hf",
        model_args={"pretrained": model_dir, "dtype": "bfloat16" if cuda else "float32"},
        tasks=[*tasks.values()],
        batch_size=batch_of(batch_size, cuda),
        device="cuda" if cuda else "cpu",
        bootstrap_iters=0,
        task_manager=TaskManager(include_defaults=False),  # else it makes the index again
    )
    scored: dict[str, list[tuple[str, float]]] = {}
    for task, samples in found["samples"].items():
        chosen = samples[0]["filter"]  # answers may be read in several ways: the first counts
        samples = sorted((one for one in samples if one["filter"] == chosen), key=lambda one: int(one["doc_id"]))
        if not of_questions:
            return TaskAnswers(metric, lower, float(found["results"][task][f"{metric},{chosen}"]), {})
        try:
            scored[task] = [(one["doc_hash"][:12], float(one[metric])) for one in samples]
        except (KeyError, TypeError) as error:
            raise failure(f"{task} has no {metric} of a question", repr(error), "name another metric first") from None
    return TaskAnswers(metric, lower, fmean(score for of in scored.values() for _, score in of), scored)
