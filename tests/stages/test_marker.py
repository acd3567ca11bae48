"""Markers of finished stages."""

from dataclasses import replace
from pathlib import Path

from utils.stages.marker import change_result, result_of, write_marker
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
