"""A volume of an earlier version: what finished there stays finished."""

import json
from pathlib import Path

import pytest

from utils.stages.marker import inputs_hash
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
