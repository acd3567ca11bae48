"""A volume of an earlier version: what finished there stays finished."""

import json
from pathlib import Path

import pytest

from utils.stages.data_processing.stage import Processing, process

SDG = "a358161b02bace40"
COUNTS = {"rows": 3, "tokens": 90, "longest": 40, "dropped": 1, "held_out": 2}


@pytest.mark.parametrize(
    ("name", "sha256", "recorded"),
    [("tokenizer", "b9", "4740bef12a8c03af"), ("ibm_legacy_tmpl", "", "aaa17ec8a8404544")],
)
def test_stage_that_an_earlier_version_finished_stays_finished(
    name: str, sha256: str, recorded: str, tmp_path: Path
) -> None:
    """The hashes are those that version 0.1 recorded for these inputs."""
    template = {"name": name, "why": "", "sha256": sha256, "example": ""}
    markers = {
        "data_import": {"result": {"chat_template": template}},
        "sdg": {"inputs_hash": SDG, "result": {}},
        "data_processing": {
            "inputs_hash": recorded,
            "finished": "2026-11-20T10:00:00Z",
            "result": {"knowledge": COUNTS, "skills": COUNTS},
        },
    }
    (tmp_path / "done").mkdir()
    for stage, marker in markers.items():
        (tmp_path / "done" / f"{stage}.json").write_text(json.dumps(marker))
    measured = process(Processing(str(tmp_path), 0.05, 1000, 2000, 42, False))
    assert measured["skills_held_out_questions"] == 2
    assert measured["knowledge_longest_sample_tokens"] == 40
