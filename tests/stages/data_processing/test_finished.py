"""What is processed once stays so, also on a volume of an earlier version."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from utils.stages.data_processing import stage
from utils.stages.data_processing.stage import Processing, process
from utils.stages.json_lines import count_lines
from utils.stages.marker import read_marker, write_marker
from utils.stages.results import ChatTemplate, DataCounts, Generated, Imported, Processed

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
    for name, marker in markers.items():
        (tmp_path / "done" / f"{name}.json").write_text(json.dumps(marker))
    measured = process(Processing(str(tmp_path), 0.05, 1000, 2000, 42, False))
    assert measured["skills_held_out_questions"] == 2
    assert measured["knowledge_longest_sample_tokens"] == 40


@pytest.fixture
def volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What SDG leaves; each row is 10 tokens."""

    def tokenize(rows: Path, folder: Path, data_dir: str, max_len: int) -> DataCounts:
        (folder / "data.jsonl").write_bytes(rows.read_bytes())
        count = count_lines(rows)
        return DataCounts(count, 10 * count, 10)

    monkeypatch.setattr(stage, "tokenize_rows", tokenize)
    write_marker(str(tmp_path), "data_import", {}, [], Imported(size=1, chat_template=ChatTemplate("tokenizer")), 0.0)
    made = [
        {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "So."}], "metadata": "{}"}
        for text in ("Why?", "What for?")
    ]
    for name, rows in {"knowledge.jsonl": made, "skills.jsonl": made[:1]}.items():
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    generated = Generated(knowledge_file="knowledge.jsonl", skills_file="skills.jsonl")
    write_marker(str(tmp_path), "sdg", {"seed": 1}, [], generated, 0.0)
    return tmp_path


def test_stage_that_finished_is_not_repeated_while_its_inputs_and_outputs_are_the_same(
    volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = Processing(str(volume), 0.0, 1000, 2000, 42, False)
    measured = process(given)
    assert (measured["knowledge_samples"], measured["skills_tokens"]) == (2, 10)
    marker = read_marker(str(volume), "data_processing")
    assert list(marker["outputs"]) == ["processed"] and marker["outputs"]["processed"] > 0
    assert sorted(path.name for path in volume.iterdir() if "processed" in path.name) == ["processed"]
    again: list[Processing] = []

    def repeat(given: Processing) -> Processed:
        again.append(given)
        return Processed(DataCounts(), DataCounts())

    monkeypatch.setattr(stage, "process_samples", repeat)
    assert process(given) == measured and again == []
    for changed in (replace(given, seed=43), replace(given, max_batch_len=9), replace(given, held_out_fraction=0.5)):
        with pytest.raises(SystemExit, match="data_processing finished earlier on this volume with other inputs"):
            process(changed)
    (volume / "processed" / "skills" / "data.jsonl").unlink()
    process(given)
    assert again == [given]


def test_nothing_to_train_on_is_an_error_and_leaves_no_marker(volume: Path) -> None:
    for name in ("knowledge.jsonl", "skills.jsonl"):
        (volume / name).write_text("")
    with pytest.raises(SystemExit, match="there is nothing to train on"):
        process(Processing(str(volume), 0.0, 1000, 2000, 42, False))
    assert read_marker(str(volume), "data_processing") == {} and not (volume / "processed").exists()
