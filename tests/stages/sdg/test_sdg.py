"""Synthetic data: everything that needs no teacher."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.sdg import sdg
from tests.fakes.metrics import Metrics
from utils.stages.data_import.leaves import yaml_line
from utils.stages.leaves import leaf_id, leaf_names
from utils.stages.marker import result_of, write_marker
from utils.stages.results import Generated, Imported
from utils.stages.sdg.environment import sdg_environment
from utils.stages.sdg.files import imported_samples
from utils.stages.sdg.mixing import system_prompt
from utils.stages.sdg.samples import SdgRun, correct_questions, drop_outdated, generated
from utils.stages.sdg.stage import pipeline_hash, settings_hash, working_folder

OLD, NEW = "2025-01-01T00_00_00", "2025-02-02T00_00_00"


def write_sdg_run(folder: Path, suffix: str, rows: int) -> None:
    """The files of one SDG run, as another machine made them."""
    nodes = folder / f"node_datasets_{suffix}"
    nodes.mkdir(parents=True)
    line = json.dumps({"messages": []}) + "\n"
    for kind in ("knowledge", "skills"):
        (folder / f"{kind}_train_msgs_{suffix}.jsonl").write_text(line * rows)
        (folder / f"{kind}_recipe_{suffix}.yaml").write_text("datasets: []\n")
    (nodes / "knowledge_tea_p07.jsonl").write_text(line * rows)
    (nodes / "knowledge_tea_p10.jsonl").write_text(line * rows * 2)
    (nodes / "mmlubench_knowledge_tea.jsonl").write_text(line * 3)
    files = {"test": f"/elsewhere/{suffix}/mmlubench_knowledge_tea.jsonl"}
    task = {"task": "knowledge_tea", "dataset_kwargs": {"data_files": files}}
    (nodes / "knowledge_tea_task.yaml").write_text(yaml.safe_dump(task))


def test_files_of_exactly_one_run_are_used(tmp_path: Path) -> None:
    """Trap 20: globs mixed the data of several runs; the first node_datasets_* found was taken."""
    write_sdg_run(tmp_path / "sdg", NEW, rows=4)
    write_sdg_run(tmp_path / "sdg", OLD, rows=9)
    result = imported_samples(str(tmp_path))
    assert result.knowledge_file == f"sdg/knowledge_train_msgs_{NEW}.jsonl"
    assert result.skills_file == f"sdg/skills_train_msgs_{NEW}.jsonl"
    assert result.mmlu_tasks_dir == f"sdg/node_datasets_{NEW}"
    assert (result.samples, result.mmlu_questions) == (8, 3)
    assert result.samples_by_leaf == {"knowledge_tea": 4}


def test_a_kind_without_samples_has_no_file(tmp_path: Path) -> None:
    write_sdg_run(tmp_path / "sdg", NEW, rows=2)
    (tmp_path / "sdg" / f"knowledge_train_msgs_{NEW}.jsonl").write_text("")
    assert imported_samples(str(tmp_path)).knowledge_file == ""


def test_imported_data_without_a_sample_fails(tmp_path: Path) -> None:
    write_sdg_run(tmp_path / "sdg", NEW, rows=0)
    with pytest.raises(SystemExit, match="has no sample"):
        imported_samples(str(tmp_path))


def run_component(data_dir: Path, **changes: Any) -> Metrics:
    metrics = Metrics()
    arguments: dict[str, Any] = {
        **{"data_dir": str(data_dir), "teacher_secret_dir": str(data_dir / "no-secret"), "ca_file": ""},
        **{"sdg_pipeline": "simple", "scale_factor": 2, "sample_size": 1.0, "batch_size": 8, "num_workers": 2},
        **{"teacher_family": "auto", "system_prompt": "", "samples_per_skill": 0, "held_out_seeds": 0},
        **{"force": False, **changes},
    }
    sdg.python_func(**arguments, metrics=metrics)
    return metrics


def test_data_from_the_archive_skip_generation_with_a_reason(tmp_path: Path) -> None:
    """No teacher is asked, none is needed; the second start returns at once."""
    write_sdg_run(tmp_path / "sdg", NEW, rows=4)
    write_marker(str(tmp_path), "data_import", {}, ["sdg"], Imported(data_generated_elsewhere=True), 0)
    assert run_component(tmp_path) == {"generated_samples": 8, "generated_mmlu_questions": 3, "generated_tokens": 0}
    result = result_of(str(tmp_path), "sdg", Generated)
    assert result and not result.generated
    assert "archive" in result.reason
    assert run_component(tmp_path)["generated_samples"] == 8


def test_missing_teacher_secret_is_named(tmp_path: Path) -> None:
    write_marker(str(tmp_path), "data_import", {}, [], Imported(), 0)
    with pytest.raises(SystemExit, match=r"no-secret.*endpoint"):
        run_component(tmp_path)


def recipe_for(sample_size: float, datasets: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """The data sets of the skills recipe that the library finds: the first in the order of the XDG data folders."""
    shared = folder / "shared" / "instructlab" / "sdg" / "default_data_recipes"
    shared.mkdir(parents=True, exist_ok=True)
    (shared / "skills.yaml").write_text(yaml.safe_dump({"datasets": datasets, "metadata": {"sys_prompt": "x"}}))
    os.environ.update(XDG_DATA_HOME=str(folder / "home"), XDG_DATA_DIRS=str(folder / "shared"))
    sdg_environment(folder / "scratch", sample_size, "")
    folders = [os.environ["XDG_DATA_HOME"], *os.environ["XDG_DATA_DIRS"].split(":")]
    found = [Path(f, "instructlab/sdg/default_data_recipes/skills.yaml") for f in folders]
    recipe = yaml.safe_load(next(path for path in found if path.exists()).read_text())
    assert recipe["metadata"] == {"sys_prompt": "x"}
    return list(recipe["datasets"])


@pytest.mark.parametrize(
    ("sample_size", "shares"),
    [
        (0.0, {"b.jsonl": 30}),
        (0.0002, {"b.jsonl": 30}),  # of 3000 rows none, which the library can't draw
        (0.0005, {"a.jsonl": 0.0005, "b.jsonl": 30}),
        (0.5, {"a.jsonl": 0.5, "b.jsonl": 30}),
        (1.0, {"a.jsonl": 0.25, "b.jsonl": 30}),
    ],
)
def test_sample_size_is_the_share_of_the_first_data_set_of_precomputed_skills(
    sample_size: float, shares: dict[str, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both earlier generations set it there, the second one unless it was 1; trap 30: that happened in a handler."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    (tmp_path / "a.jsonl").write_text("{}\n" * 3000)
    (tmp_path / "b.jsonl").write_text("{}\n" * 5)
    datasets = [{"path": str(tmp_path / name), "sampling_size": s} for name, s in (("a.jsonl", 0.25), ("b.jsonl", 30))]
    found = recipe_for(sample_size, datasets, tmp_path)
    assert {Path(entry["path"]).name: entry["sampling_size"] for entry in found} == shares


@pytest.mark.parametrize(
    ("share", "rows", "used"),
    [(1.0, 3, 1.0), (1, 3, 1.0), (1, 0, None), (0, 3, None), (0.3, 3, None), (0.5, 3, 0.5), (2, 3, 2), (2.0, 3, 2.0)],
)
def test_data_set_of_no_row_is_left_out_and_one_means_all(
    share: float, rows: int, used: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    folder = tmp_path / "shared" / "instructlab" / "sdg" / "default_data_recipes"
    folder.mkdir(parents=True)
    (folder / "b.jsonl").write_text("{}\n" * rows)
    found = recipe_for(1.0, [{"path": "b.jsonl", "sampling_size": share}], tmp_path)
    # A relative path is one beside the recipe, which this run has elsewhere.
    expected = [(str(folder / "b.jsonl"), used, type(used))] if used else []
    assert [(e["path"], e["sampling_size"], type(e["sampling_size"])) for e in found] == expected


def test_recipe_that_is_none_is_a_failure_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    with pytest.raises(SystemExit, match=r"precomputed samples can't be mixed in(?s:.)*sampling_size"):
        recipe_for(1.0, [{"path": "b.jsonl"}], tmp_path)


def test_installed_docling_models_are_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    (tmp_path / "shared" / "instructlab" / "sdg" / "models").mkdir(parents=True)
    os.environ.update(XDG_DATA_HOME=str(tmp_path / "home"), XDG_DATA_DIRS=str(tmp_path / "shared"))
    sdg_environment(tmp_path / "scratch", 1.0, "")
    assert not (tmp_path / "scratch" / "share").exists()


def test_generation_resumes_only_with_the_same_inputs(tmp_path: Path) -> None:
    part, suffix = working_folder(tmp_path, {"scale_factor": 2})
    (part / "generated" / "leaf.jsonl").write_text("{}\n")
    assert working_folder(tmp_path, {"scale_factor": 2}) == (part, suffix)
    assert (part / "generated" / "leaf.jsonl").exists()
    working_folder(tmp_path, {"scale_factor": 3})
    assert not (part / "generated" / "leaf.jsonl").exists()


def sdg_run(data: Path, inputs: dict[str, Any], seeds: dict[str, str]) -> SdgRun:
    """A run whose leaves have these seed records."""
    part, suffix = working_folder(data, inputs)
    for leaf, text in seeds.items():
        records = part / "preprocessed" / f"{leaf_id(leaf)}.jsonl"
        records.parent.mkdir(exist_ok=True)
        records.write_text(json.dumps({"seed_question": text}))
    teacher: Any = None  # it is not asked
    run = SdgRun(data, part, suffix, teacher, "simple", 2, 8, 2, "", 0)
    drop_outdated(run, sorted(seeds), settings_hash(inputs))
    return run


def made_of(run: SdgRun, leaves: Iterable[str]) -> set[str]:
    """The leaves that have samples, which are those that have questions."""
    found = {leaf for leaf in leaves if generated(run, leaf).exists()}
    nodes = run.part / f"node_datasets_{run.suffix}"
    tasks = {path.name.removesuffix("_task.yaml") for path in nodes.glob("*_task.yaml")}
    assert tasks == {name for leaf, name in leaf_names(leaves).items() if leaf in found}
    return found


def generate_everything(run: SdgRun, leaves: dict[str, str]) -> None:
    nodes = run.part / f"node_datasets_{run.suffix}"
    nodes.mkdir(exist_ok=True)
    for leaf, name in leaf_names(leaves).items():
        generated(run, leaf).write_text("{}\n")
        (nodes / f"{name}_task.yaml").write_text("task: x\n")


def test_a_correction_of_one_leaf_keeps_the_samples_of_the_others(tmp_path: Path) -> None:
    """Case 03: a corrected taxonomy is another import; everything that had been generated was thrown away."""
    leaves = {"knowledge/a": "1", "knowledge/a/b": "2", "compositional_skills/c": "3"}
    run = sdg_run(tmp_path, {"upstream": "first", "scale_factor": 2}, leaves)
    generate_everything(run, leaves)
    again = sdg_run(tmp_path, {"upstream": "second", "scale_factor": 2}, leaves | {"knowledge/a": "corrected"})
    assert again.suffix == run.suffix
    assert made_of(again, leaves) == {"knowledge/a/b", "compositional_skills/c"}


def test_a_leaf_that_the_taxonomy_has_no_more_leaves_no_samples(tmp_path: Path) -> None:
    leaves = {"knowledge/a": "1", "knowledge/b": "2"}
    generate_everything(sdg_run(tmp_path, {"upstream": "first"}, leaves), leaves)
    assert made_of(sdg_run(tmp_path, {"upstream": "second"}, {"knowledge/b": "2"}), leaves) == {"knowledge/b"}


def test_another_import_with_other_settings_starts_again(tmp_path: Path) -> None:
    leaves = {"knowledge/a": "1"}
    generate_everything(sdg_run(tmp_path, {"upstream": "first", "scale_factor": 2}, leaves), leaves)
    part, _ = working_folder(tmp_path, {"upstream": "second", "scale_factor": 3})
    assert list((part / "generated").iterdir()) == []


def test_a_leaf_that_another_one_gives_another_name_is_asked_for_its_questions_again(tmp_path: Path) -> None:
    """knowledge/a/b and knowledge/a_b would share the name knowledge_a_b: both get others."""
    leaves = {"knowledge/a/b": "1"}
    generate_everything(sdg_run(tmp_path, {"upstream": "first"}, leaves), leaves)
    again = sdg_run(tmp_path, {"upstream": "second"}, leaves | {"knowledge/a_b": "2"})
    assert list((again.part / f"node_datasets_{again.suffix}").iterdir()) == []
    assert generated(again, "knowledge/a/b").exists()


def test_sdg_pipeline_folder_must_be_complete(tmp_path: Path) -> None:
    (tmp_path / "knowledge.yaml").write_text("blocks: []\n")
    with pytest.raises(SystemExit, match=r"missing: freeform_skills.yaml, grounded_skills.yaml"):
        pipeline_hash(str(tmp_path))
    with pytest.raises(SystemExit, match="simple, full"):
        pipeline_hash("agentic")
    assert pipeline_hash("full") == ""


def test_edited_sdg_pipeline_counts_as_a_different_one(tmp_path: Path) -> None:
    for name in ("knowledge", "freeform_skills", "grounded_skills"):
        (tmp_path / f"{name}.yaml").write_text("blocks: []\n")
    before = pipeline_hash(str(tmp_path))
    (tmp_path / "knowledge.yaml").write_text("blocks: [1]\n")
    assert pipeline_hash(str(tmp_path)) != before


@pytest.mark.parametrize(
    ("path", "line"),
    [(".", 1), (".seed_examples", 3), (".seed_examples[1].question", 5), (".seed_examples[1].answer", 5), (".no", 1)],
)
def test_schema_errors_point_to_their_line(path: str, line: int) -> None:
    text = "version: 3\nseed_examples:\n  - question: a\n    answer: b\n  - question: c\n"
    assert yaml_line(yaml.compose(text), path) == line


STARTER = {"bos_token": "<|begginingoftext|>", "eos_token": {"content": "<|endoftext|>"}}


@pytest.mark.parametrize(
    ("model_type", "file", "tokens", "start"),
    [
        ("llama", "tokenizer_config.json", STARTER, "I am, Red Hat® Instruct Model based on Granite 7B"),
        ("llama", "special_tokens_map.json", STARTER, "I am, Red Hat® Instruct Model based on Granite 7B"),
        ("llama", "tokenizer_config.json", {"bos_token": "<s>", "eos_token": "</s>"}, "You are"),
        ("llama", "tokenizer_config.json", {"bos_token": "<s>", "eos_token": "<|endoftext|>"}, "You are"),
        ("qwen3", "tokenizer_config.json", {"eos_token": "<|endoftext|>"}, "You are"),
        ("llama", "config.json", {"model_type": "llama"}, "You are"),
    ],
)
def test_system_prompt_is_granites_own_for_granite_7b_and_neutral_for_others(
    model_type: str, file: str, tokens: dict[str, Any], start: str, tmp_path: Path
) -> None:
    """Granite 7B has the architecture of Llama; the ilab command tells it by these special tokens."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    (tmp_path / file).write_text(json.dumps(tokens))
    assert system_prompt(tmp_path).startswith(start)


def test_correct_answers_are_numbered_by_their_letter(tmp_path: Path) -> None:
    """The library numbers the letters that occur: of B and D it makes 0 and 1. Options that repeat have no answer."""
    data = tmp_path / "mmlubench_leaf.jsonl"
    four = ["one", "two", "three", "four"]
    rows = [
        {"answer": 0, "mmlubench_answer": "B) two", "choices": four},
        {"answer": 0, "mmlubench_answer": "B) one", "choices": ["one", "One ", "three", "four"]},
        {"answer": 1, "mmlubench_answer": "D) four", "choices": four},
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    correct_questions(data)
    kept = [json.loads(line) for line in data.read_text().splitlines()]
    # The second question's options are turned by one place, its right answer D with them.
    assert [(row["answer"], row["choices"][row["answer"]]) for row in kept] == [(1, "two"), (0, "four")]
