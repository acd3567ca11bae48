"""Markers of finished stages."""

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from utils.stages.marker import (
    STAGES,
    change_result,
    finished_result,
    inputs_hash,
    read_marker,
    result_of,
    upstream_hash,
    write_json,
    write_marker,
)
from utils.stages.results import ChatTemplate, Imported


def test_an_unchanged_result_changes_no_file(tmp_path: Path) -> None:
    result = Imported(size=7, chat_template=ChatTemplate(name="tokenizer"))
    write_marker(str(tmp_path), "data_import", {"seed": 1}, [], result, 0.0)
    marker = tmp_path / "done" / "data_import.json"
    before = (marker.stat().st_ino, marker.stat().st_mtime_ns)
    change_result(str(tmp_path), "data_import", result)
    assert (marker.stat().st_ino, marker.stat().st_mtime_ns) == before
    change_result(str(tmp_path), "data_import", replace(result, size=8))
    assert result_of(str(tmp_path), "data_import", Imported) == replace(result, size=8)


INPUTS = {"seed": 1}


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A volume on which all stages have finished, each with an output of its own."""
    for stage in STAGES:
        (tmp_path / stage).mkdir()
        (tmp_path / stage / "file").write_text("content")
        write_marker(str(tmp_path), stage, INPUTS, [stage], {"stage": stage}, 0.0)
    return tmp_path


def believed(volume: Path) -> list[str]:
    """Stages with a marker."""
    return [stage for stage in STAGES if (volume / "done" / f"{stage}.json").exists()]


@pytest.mark.parametrize("more", ["", "a later stage's"])
@pytest.mark.parametrize("force", [False, True])
def test_finished_stage_with_whole_outputs_has_nothing_to_do(
    finished: Path, more: str, force: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    (finished / "sdg" / "more").write_text(more)
    assert finished_result(str(finished), "sdg", INPUTS, force=force) == {"stage": "sdg"}
    assert believed(finished) == list(STAGES)
    assert "sdg finished earlier with the same inputs" in capsys.readouterr().out


def test_stage_that_has_not_finished_has_no_result(tmp_path: Path) -> None:
    assert read_marker(str(tmp_path), "sdg") == {}
    assert result_of(str(tmp_path), "data_import", Imported) is None
    assert upstream_hash(str(tmp_path), "data_import") == ""
    assert finished_result(str(tmp_path), "sdg", INPUTS, force=False) is None


def test_hash_of_a_finished_stage_is_that_of_its_inputs(finished: Path) -> None:
    assert upstream_hash(str(finished), "sdg") == inputs_hash(INPUTS) != inputs_hash({"seed": 2})
    assert inputs_hash({"a": 1, "b": 2}) == inputs_hash({"b": 2, "a": 1})


def test_marker_of_another_version_may_lack_parts(tmp_path: Path) -> None:
    write_json(tmp_path / "done" / "sdg.json", {"inputs_hash": inputs_hash(INPUTS), "finished": "2026-01-01T00:00:00Z"})
    assert read_marker(str(tmp_path), "sdg")["inputs"] == {}
    assert finished_result(str(tmp_path), "sdg", INPUTS, force=False) == {}


@pytest.mark.parametrize("loss", ["gone", "shorter", "unreadable", "not a record"])
def test_marker_is_believed_only_while_it_and_its_outputs_are_whole(
    finished: Path, loss: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output, marker = finished / "sdg" / "file", finished / "done" / "sdg.json"
    if loss == "gone":
        output.unlink()
    elif loss == "shorter":
        output.write_text("c")
    else:
        marker.write_text('{"stage": "sd' if loss == "unreadable" else "[1]")
    assert finished_result(str(finished), "sdg", INPUTS, force=False) is None
    assert believed(finished) == ["data_import"]
    why = "sdg is no longer there whole" if loss in ("gone", "shorter") else "sdg.json can't be read"
    assert why in capsys.readouterr().out


@pytest.mark.parametrize("later", [list(STAGES), ["data_import", "sdg", "data_processing", "train_phase_1"]])
def test_redone_stage_drops_the_markers_of_later_ones(finished: Path, later: list[str]) -> None:
    for stage in set(STAGES) - set(later):
        (finished / "done" / f"{stage}.json").unlink()
    assert finished_result(str(finished), "train_phase_1", {"seed": 2}, force=True) is None
    assert believed(finished) == ["data_import", "sdg", "data_processing"]


@pytest.mark.parametrize(
    ("inputs", "named"), [({"seed": 2}, "seed"), ({"seed": 1, "new": 3}, "new"), ({"new": 3}, "new, seed")]
)
def test_other_inputs_without_force_change_nothing(finished: Path, inputs: dict[str, int], named: str) -> None:
    told = f"finished earlier on this volume with other inputs\n  cause: different now: {named}\n  next: start a new"
    with pytest.raises(SystemExit, match=told):
        finished_result(str(finished), "sdg", inputs, force=False)
    assert believed(finished) == list(STAGES)


def test_outputs_are_on_disk_before_the_marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    marker, rename = tmp_path / "done" / "sdg.json", Path.rename
    monkeypatch.setattr(os, "sync", lambda: steps.append("sync, marker" if marker.exists() else "sync"))
    monkeypatch.setattr(os, "fsync", lambda file: steps.append("fsync"))

    def renamed(old: Path, new: Path) -> Path:
        steps.append("rename")
        return rename(old, new)

    monkeypatch.setattr(Path, "rename", renamed)
    write_marker(str(tmp_path), "sdg", INPUTS, [], {}, 0.0)
    assert steps == ["sync", "fsync", "rename", "sync, marker"]
    assert json.loads(marker.read_text())["stage"] == "sdg"


def test_file_is_written_beside_and_put_in_place_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads while it is written, or after a crash in the middle of it, finds the old one."""
    marker, seen = tmp_path / "done" / "sdg.json", []
    write_marker(str(tmp_path), "sdg", INPUTS, [], {"try": 1}, 0.0)
    monkeypatch.setattr(os, "fsync", lambda file: seen.append(read_marker(str(tmp_path), "sdg")["result"]))
    write_marker(str(tmp_path), "sdg", INPUTS, [], {"try": 2}, 0.0)
    assert seen == [{"try": 1}] and read_marker(str(tmp_path), "sdg")["result"] == {"try": 2}
    with pytest.raises(TypeError):
        write_json(marker, {"half": 1, "breaks here": object()})
    assert read_marker(str(tmp_path), "sdg")["result"] == {"try": 2}


def test_marker_that_a_full_disk_does_not_take_is_an_error_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SystemExit, match="sdg.json can't be written\n  cause: the disk is full: .*\n  next: make room"):
        write_marker(str(tmp_path), "sdg", INPUTS, [], {}, 0.0)
    assert not (tmp_path / "done" / "sdg.json").exists()
