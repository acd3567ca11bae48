"""A volume of an earlier version: what finished there stays finished."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from utils.stages.evaluation import harness
from utils.stages.marker import inputs_hash
from utils.stages.run_parameters import note_parameters
from utils.stages.sdg import stage as sdg_stage
from utils.stages.sdg.stage import Generation, generate, pipeline_hash, working_folder

UPSTREAM = "0123456789abcdef"
INPUTS = {
    **{"upstream": UPSTREAM, "sdg_pipeline": "simple", "pipeline_hash": "", "scale_factor": 2, "sample_size": 1.0},
    "teacher": "teacher",
}


@pytest.mark.parametrize(("imported", "recorded"), [(False, "a358161b02bace40"), (True, "22c76b6880f77de1")])
def test_stage_that_an_earlier_version_finished_stays_finished(imported: bool, recorded: str, tmp_path: Path) -> None:
    """The hashes are those that version 0.1 recorded for these inputs."""
    result = {
        **{
            "generated": not imported,
            "reason": "",
            "knowledge_file": "",
            "skills_file": "sdg/skills_train_msgs_1.jsonl",
        },
        **{"mmlu_tasks_dir": "", "samples": 8, "samples_by_leaf": {"a": 8}, "mmlu_questions": 3, "tokens": 70},
    }
    markers = {
        "data_import": {"inputs_hash": UPSTREAM, "result": {"data_generated_elsewhere": imported}},
        "sdg": {"inputs_hash": recorded, "finished": "2026-11-20T10:00:00Z", "result": result},
    }
    (tmp_path / "done").mkdir()
    for stage, marker in markers.items():
        (tmp_path / "done" / f"{stage}.json").write_text(json.dumps(marker))
    (tmp_path / "teacher").mkdir()
    for key, value in (("endpoint", "http://127.0.0.1:9"), ("model_name", "teacher")):
        (tmp_path / "teacher" / key).write_text(value)
    given = Generation(str(tmp_path), str(tmp_path / "teacher"), "", "simple", "auto", 2, 1.0, 8, 2, "", 0, False)
    measured = {"generated_samples": 8, "generated_mmlu_questions": 3, "generated_tokens": 70}
    assert generate(given) == measured


def test_unfinished_run_of_an_earlier_version_resumes(tmp_path: Path) -> None:
    part = tmp_path / "sdg.part"
    part.mkdir()
    (part / "run.json").write_text(json.dumps({"inputs": inputs_hash(INPUTS), "suffix": "2026-11-20T10_00_00"}))
    assert working_folder(tmp_path, INPUTS) == (part, "2026-11-20T10_00_00")


def test_pipeline_folder_has_the_hash_that_earlier_versions_recorded(tmp_path: Path) -> None:
    for name in ("knowledge", "freeform_skills", "grounded_skills"):
        (tmp_path / f"{name}.yaml").write_text("blocks: []\n")
    assert pipeline_hash(str(tmp_path)) == "c8cf3f7de37f483e"


def test_task_that_the_evaluation_does_not_know_ends_the_stage_before_the_teacher_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("sdg_environment", "without_deepspeed", "try_tokenizing"):
        monkeypatch.setattr(sdg_stage, name, lambda *_: None)
    monkeypatch.setattr(sdg_stage, "Teacher", lambda *_, **__: pytest.fail("the teacher was asked"))
    monkeypatch.setattr(harness, "manager", lambda: SimpleNamespace(all_tasks=["arc_easy"]))
    monkeypatch.setattr(harness.importlib.metadata, "version", lambda _: "0.4.13")
    for key, value in (("endpoint", "http://127.0.0.1:9"), ("model_name", "teacher")):
        (tmp_path / key).write_text(value)
    note_parameters(str(tmp_path), {"eval_tasks": ["arc_esy"], "mmlu_tasks": [], "eval_gpu_identifier": "", "more": 1})
    given = Generation(str(tmp_path), str(tmp_path), "", "simple", "auto", 2, 1.0, 8, 2, "", 0, False)
    with pytest.raises(SystemExit, match="arc_esy of eval_tasks is not a task"):
        generate(given)
