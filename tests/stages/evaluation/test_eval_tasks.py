"""Tasks of `eval_tasks`: files that bring code are refused, and what both models scored becomes a comparison."""

import math
import sys
from dataclasses import asdict
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NoReturn

import pytest
from jinja2 import BaseLoader, Environment, StrictUndefined
from jinja2.sandbox import SecurityError

from tests.stages.evaluation.eval_files import TASK, write_folder
from utils.stages.evaluation import harness
from utils.stages.evaluation.eval_names import folder_of, measure_of
from utils.stages.evaluation.final_eval import tasks_given
from utils.stages.evaluation.harness import TaskAnswers, eval_task, flat, side_by_side
from utils.stages.evaluation.scores import Pair
from utils.stages.evaluation.statistics import BETTER, SAME
from utils.stages.evaluation.task_files import KEYS, read_tasks
from utils.stages.evaluation.verdict import verdict_on
from utils.stages.marker import write_json
from utils.stages.patience import ONCE
from utils.stages.run_parameters import FILE


@pytest.mark.parametrize(
    ("entry", "measure", "folder"),
    [
        ("arc_easy", "eval_arc_easy", None),
        ("tmmluplus_law_(level)", "eval_tmmluplus_law__level_", None),
        ("eval_tasks/tea", "eval_tea", "/data/eval_tasks/tea"),
        ("file:///home/me/my-tasks/", "eval_my_tasks", "/home/me/my-tasks"),
    ],
)
def test_entry_is_a_name_or_a_folder(entry: str, measure: str, folder: str | None) -> None:
    found = folder_of(entry, "/data")
    assert (measure_of(entry), found and str(found)) == (measure, folder)


def test_data_of_a_task_are_files_of_its_folder(tmp_path: Path) -> None:
    common = {name: value for name, value in TASK.items() if name != "task"}
    folder = write_folder(
        tmp_path / "tea", _common=common, tea={"task": "tea", "include": "_common.yaml", "repeats": 2}
    )
    (config,) = read_tasks(folder)
    data = {"data_files": {"test": [str(folder / "questions.jsonl")]}}
    assert config == {**TASK, "repeats": 2, "dataset_kwargs": data}
    assert config.keys() <= KEYS


def test_task_of_a_data_set_in_a_hub_is_handed_on(tmp_path: Path) -> None:
    task = {**TASK, "dataset_path": "allenai/ai2_arc", "dataset_name": "ARC-Easy", "dataset_kwargs": {"revision": "a1"}}
    assert read_tasks(write_folder(tmp_path / "tea", tea=task)) == [task]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"class": "tasks.Evil"}, "has class: only"),
        ({"process_docs": "utils.process"}, "has process_docs: only"),
        ({"unsafe_code": True}, "has unsafe_code: only"),
        ({"custom_dataset": "x"}, "has custom_dataset: only"),
        ({"group": "many", "task": ["a", "b"]}, "has group: only"),
        ({"task": "../tea"}, "task is '../tea'"),
        ({"dataset_path": "./script.py"}, "dataset_path is './script.py'"),
        ({"dataset_path": "/opt/data"}, "dataset_path is '/opt/data'"),
        ({"dataset_path": None}, "dataset_path is None"),
        ({"dataset_kwargs": {"trust_remote_code": True}}, "dataset_kwargs may only have data_files"),
        ({"dataset_path": "a/b", "dataset_kwargs": {"trust_remote_code": True}}, "may only have revision"),
        (
            {"dataset_kwargs": {"data_files": {"test": "/mnt/judge/api_token"}}},
            "'/mnt/judge/api_token' is not the path",
        ),
        ({"dataset_kwargs": {"data_files": {"test": "a/../../x"}}}, "'a/../../x' is not the path"),
        ({"dataset_kwargs": {"data_files": {"test": "https://example.com/q.json"}}}, "there is no file https://"),
        ({"dataset_kwargs": {"data_files": "questions.jsonl"}}, "a file for each split"),
        ({"dataset_kwargs": {}}, "a file for each split"),
        ({"metric_list": [{"metric": "rouge", "hf_evaluate": True}]}, "without hf_evaluate"),
        ({"metric_list": ["acc"]}, "without hf_evaluate"),
        ({"metric_list": 5}, "without hf_evaluate"),
        ({"include": "../other.yaml"}, "'../other.yaml' is not the path"),
        ({"include": "tea.yaml"}, "in a circle"),
    ],
)
def test_file_that_could_run_code_or_read_elsewhere_is_refused(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    folder = write_folder(tmp_path / "tea", tea={**TASK, **changes})
    with pytest.raises(SystemExit) as error:
        read_tasks(folder)
    assert "task file tea/tea.yaml can't be used" in str(error.value) and said in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("task: tea\nprocess_docs: !function utils.process\n", "has !function: Python code is not run"),
        ("task: tea\nmetadata: !!python/object/apply:os.system [ls]\n", "python/object/apply:os.system"),
        ("- task", "is not a mapping"),
        ("task: [", "while parsing"),
    ],
)
def test_tags_that_name_code_are_refused(tmp_path: Path, text: str, said: str) -> None:
    folder = write_folder(tmp_path / "tea")
    (folder / "tea.yaml").write_text(text)
    with pytest.raises(SystemExit) as error:
        read_tasks(folder)
    assert said in str(error.value)


def test_task_that_two_files_have_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "tea", one=TASK, two={**TASK, "repeats": 2})
    with pytest.raises(SystemExit, match=r"task file tea/two\.yaml can't be used.*\n.*another file has the task tea"):
        read_tasks(folder)


def test_neither_templates_nor_data_sets_run_code_of_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    env = Environment(loader=BaseLoader(), undefined=StrictUndefined, keep_trailing_newline=True)
    env.filters["regex_replace"] = str.upper
    library, asked = ModuleType("lm_eval.utils"), list[dict[str, Any]]()
    data: Any = SimpleNamespace(load_dataset=lambda *_, **given: asked.append(given))
    monkeypatch.setattr(library, "env", env, raising=False)
    for name, module in {"lm_eval": ModuleType("lm_eval"), "lm_eval.utils": library, "datasets": data}.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(sys.modules["lm_eval"], "utils", library, raising=False)
    for _ in range(2):
        harness.keep_out_code()
    data.load_dataset(path="a/b", trust_remote_code=True)
    data.load_dataset(path="json", data_files={})
    assert asked == [
        {"path": "a/b", "trust_remote_code": False},
        {"path": "json", "data_files": {}, "trust_remote_code": False},
    ]
    guarded: Any = library.env
    assert guarded.from_string("{{ 'x' | regex_replace }}\n").render() == "X\n"
    with pytest.raises(SecurityError):
        guarded.from_string("{{ ''.__class__.__mro__ }}").render()


@pytest.mark.parametrize(("made", "said"), [(False, "there is no such folder"), (True, "has the key task")])
def test_folder_without_a_task_is_named(tmp_path: Path, made: bool, said: str) -> None:
    folder = write_folder(tmp_path / "tea") if made else tmp_path / "tea"
    with pytest.raises(SystemExit) as error:
        read_tasks(folder)
    assert said in str(error.value) and "eval_tasks/tea of the archive" in str(error.value)


def answers(scores: list[float], lower: bool = False, metric: str = "acc") -> TaskAnswers:
    mean = sum(scores) / len(scores)
    return TaskAnswers(metric, lower, mean, {"tea": [(f"q{i}", score) for i, score in enumerate(scores)]})


@pytest.mark.parametrize(
    ("candidate", "base", "exact", "right", "word"),
    [
        ([1.0] * 9, [0.0] * 8 + [1.0], True, 9, BETTER),
        ([1.0, 0.0] * 4, [0.0, 1.0] * 4, True, 4, SAME),
        ([0.9 + i / 100 for i in range(9)], [0.1] * 9, False, None, BETTER),
    ],
)
def test_right_and_wrong_answers_are_told_from_numbers(
    candidate: list[float], base: list[float], exact: bool, right: int | None, word: str
) -> None:
    found = side_by_side("arc_easy", answers(candidate), answers(base))
    assert (found.right_or_wrong, found.right, found.questions) == (exact, right, len(base))
    verdict = verdict_on({"eval_arc_easy": asdict(found)})
    assert verdict.measures["eval_arc_easy"].word == word


def test_metric_that_is_better_when_lower_counts_so() -> None:
    low, high = [0.1 + i / 100 for i in range(9)], [0.8] * 9
    found = side_by_side("x", answers(low, lower=True, metric="wer"), answers(high, lower=True, metric="wer"))
    verdict = verdict_on({"eval_x": asdict(found)})
    assert verdict.measures["eval_x"].word == BETTER
    assert (verdict.loss("eval_x") or 0) < 0 and verdict.lower_is_better == ["likelihood", "eval_x"]


def test_metric_without_scores_of_questions_has_no_verdict() -> None:
    found = side_by_side("wikitext", TaskAnswers("word_perplexity", True, 9.1, {}), TaskAnswers("p", True, 9.9, {}))
    assert (found.questions, found.answers, found.right_or_wrong) == (None, [], False)
    assert verdict_on({"eval_wikitext": asdict(found)}).measures == {}


def test_answer_that_is_not_a_number_is_left_out() -> None:
    found = side_by_side("x", answers([math.nan, 0.5]), answers([0.5, 0.5]))
    assert [one.candidate for one in found.answers] == [None, 0.5] and not found.right_or_wrong


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionError("Couldn't reach 'a/b' on the Hub (LocalEntryNotFoundError)"), "there is no answer"),
        (ValueError("Got invalid output_type 'x'"), "correct its files"),
    ],
)
def test_hub_that_is_away_is_no_fault_of_the_files(
    monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def own_tasks(_: Path) -> NoReturn:
        raise error

    data = SimpleNamespace(exceptions=SimpleNamespace(DatasetsError=TimeoutError))
    monkeypatch.setitem(sys.modules, "datasets", data)
    monkeypatch.setattr(harness, "keep_out_code", lambda: None)
    monkeypatch.setattr(harness, "own_tasks", own_tasks)
    with pytest.raises(SystemExit) as caught:
        harness.load_tasks("eval_tasks/tea", "/data", ONCE)
    assert said in str(caught.value) and ("correct its files" in str(caught.value)) == (said == "correct its files")


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        ({"metric": "acc"}, ""),
        ({"metric": "acc", "aggregation": "mean"}, ""),
        ({"metric": "rouge"}, "does not have metric and aggregation of {'metric': 'rouge'}"),
        ({"metric": "acc", "aggregation": "sum"}, "does not have metric and aggregation of"),
    ],
)
def test_metric_and_aggregation_must_be_of_the_harness(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: dict[str, Any], said: str
) -> None:
    registry = SimpleNamespace(METRIC_REGISTRY={"acc"}, AGGREGATION_REGISTRY={"mean"})
    made = SimpleNamespace(ConfigurableTask=lambda config: config["task"])
    api = SimpleNamespace(registry=registry, task=made, metrics=None)
    modules = {"": SimpleNamespace(api=api), ".api": api, ".api.registry": registry, ".api.task": made}
    for name, module in {**modules, ".api.metrics": SimpleNamespace()}.items():
        monkeypatch.setitem(sys.modules, f"lm_eval{name}", module)
    folder = write_folder(tmp_path / "tea", tea={**TASK, "metric_list": [metric]})
    if not said:
        assert harness.own_tasks(folder) == {"tea": "tea"}
        return
    with pytest.raises(ValueError, match=said):
        harness.own_tasks(folder)


def test_metric_that_is_no_number_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = {"doc_id": 0, "doc_hash": "a" * 64, "filter": "none", "f1": (1, 0)}
    library: Any = ModuleType("lm_eval")
    library.simple_evaluate = lambda **_: {"samples": {"tea": [sample]}, "results": {}}
    manager: Any = ModuleType("lm_eval.tasks")
    manager.TaskManager = lambda **_: None
    torch = SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: False))
    for name, module in {"lm_eval": library, "lm_eval.tasks": manager, "torch": torch}.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(harness, "main_metric", lambda _: ("f1", True, False))
    with pytest.raises(SystemExit, match="tea has no f1 of a question(.|\n)*name another metric first"):
        harness.task_answers({}, "/model", "4")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, ""),
        ({"eval_tasks": ["arc_easy", "eval_tasks/tea"], "mmlu_tasks": ["mmlu_anatomy"]}, ""),
        ({"eval_tasks": ["arc_esy"]}, "arc_esy of eval_tasks is not a task of the lm-evaluation-harness 0.4.13"),
        ({"eval_tasks": ["arc_esy"]}, "similar are arc_easy"),
        ({"mmlu_tasks": ["mmlu_anatomi"]}, "mmlu_anatomi of mmlu_tasks is not a task"),
        ({"mmlu_tasks": ["mmlu_anatomi"]}, "start a run with other mmlu_tasks"),
        ({"eval_tasks": ["eval_tasks/te"]}, "there is no task of the lm-evaluation-harness in "),
        ({"eval_tasks": ["eval_tasks/code"]}, "the task file code/code.yaml can't be used"),
    ],
)
def test_tasks_of_the_run_are_known_before_anything_is_paid_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, list[str]], said: str
) -> None:
    write_folder(tmp_path / "eval_tasks/tea", tea=TASK)
    write_folder(tmp_path / "eval_tasks/code", code={**TASK, "class": "run"})
    monkeypatch.setattr(harness, "manager", lambda: SimpleNamespace(all_tasks=["arc_easy", "mmlu_anatomy"]))
    monkeypatch.setattr(harness.importlib.metadata, "version", lambda _: "0.4.13")
    if given:
        write_json(tmp_path / FILE, given)
    if not said:
        harness.require_tasks(str(tmp_path))
        return
    with pytest.raises(SystemExit) as error:
        harness.require_tasks(str(tmp_path))
    assert said in str(error.value)


@pytest.mark.parametrize(("older", "again"), [("base", ["new 4", "old 4"]), ("candidate", ["old 4", "old 4", "new 4"])])
def test_model_that_was_asked_before_the_hub_had_other_questions_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, older: str, again: list[str]
) -> None:
    asked: list[str] = []

    def task_answers(_: object, model_dir: str, batch_size: str) -> TaskAnswers:
        asked.append(f"{model_dir} {batch_size}")
        return answers([1.0, 0.0, 1.0])

    monkeypatch.setattr(harness, "task_answers", task_answers)
    monkeypatch.setattr(harness, "load_tasks", lambda *_: {})
    pair = Pair("new", "old", str(tmp_path))
    pair.scored("eval_tea.json", TaskAnswers, lambda _: answers([1.0, 0.0]))
    newer = {"base": "candidate", "candidate": "base"}[older]
    (tmp_path / newer / "eval_tea.json").unlink()
    assert eval_task(pair, "eval_tasks/tea", "/data", "4").questions == 3
    assert asked == again


def test_tasks_in_groups_of_groups_are_found() -> None:
    task = SimpleNamespace()
    assert [name for name, _ in flat({"g": {"a": task, "h": {"b": task}}, "c": task})] == ["a", "b", "c"]


def test_inputs_change_with_the_files_of_a_task(tmp_path: Path) -> None:
    given: Any = SimpleNamespace(data_dir=str(tmp_path), eval_tasks=["arc_easy", "eval_tasks/tea"])
    folder = write_folder(tmp_path / "eval_tasks/tea", tea=TASK)
    first = tasks_given(given)
    (folder / "questions.jsonl").write_text("{}\n")
    second = tasks_given(given)
    assert first["arc_easy"] == second["arc_easy"] == ""
    assert first["eval_tasks/tea"] != second["eval_tasks/tea"]
