"""Options of a run on a cluster, as they are read."""

from pathlib import Path

from utils.cli.cluster_options import read_overlay


def test_keys_of_an_overlay_without_a_value_change_nothing(tmp_path: Path) -> None:
    file = tmp_path / "overlay.yaml"
    file.write_text("metadata:\n  labels:\nspec:\n  nodeSelector:\n  tolerations: [{key: gpu, value: }]\n")
    assert read_overlay(file) == {"metadata": {}, "spec": {"tolerations": [{"key": "gpu"}]}}
    file.write_text("metadata:\nspec: {priority: 1}\n")
    assert read_overlay(file) == {"spec": {"priority": 1}}
