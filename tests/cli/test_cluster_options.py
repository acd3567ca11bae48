"""Options of a run on a cluster, as they are read."""

from pathlib import Path

import pytest

from utils.cli.cluster_options import read_overlay
from utils.errors import UsageError


def test_overlay_keys_without_a_value_change_nothing(tmp_path: Path) -> None:
    file = tmp_path / "overlay.yaml"
    file.write_text("metadata:\n  labels:\nspec:\n  nodeSelector:\n  tolerations: [{key: gpu, value: }]\n")
    assert read_overlay(file) == {"metadata": {}, "spec": {"tolerations": [{"key": "gpu"}]}}
    file.write_text("metadata:\nspec: {priority: 1}\n")
    assert read_overlay(file) == {"spec": {"priority": 1}}


@pytest.mark.parametrize(
    ("spec", "wrong"),
    [("containers: {name: main}", "containers must be a list"), ("nodeSelector: [a]", "nodeSelector must not be")],
)
def test_overlay_that_cannot_be_merged_is_refused(tmp_path: Path, spec: str, wrong: str) -> None:
    file = tmp_path / "overlay.yaml"
    file.write_text(f"spec:\n  {spec}\n")
    with pytest.raises(UsageError, match=f"spec.{wrong}"):
        read_overlay(file)


def test_missing_overlay_file_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="can't be read") as caught:
        read_overlay(tmp_path / "none")
    assert (caught.value.cause, caught.value.remedy) == ("No such file or directory", "name a file")


def test_mistyped_overlay_field_gives_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "overlay.yaml"
    file.write_text("spec: {nodeSelektor: {a: b}, nodeSelector: {a: b}, tolerations: []}")
    read_overlay(file)
    assert (
        capsys.readouterr().err == f"warning: --pod-overlay {file}: spec.nodeSelektor is not a known field of a pod\n"
    )
