"""How the API server itself reacts to a `--pod-overlay`."""

from tests.cluster.lab import Lab
from tests.cluster.runs import assert_nothing_left


def test_misspelled_field_deep_in_an_overlay_is_refused_by_name(lab: Lab) -> None:
    overlay = lab.changed_overlay(affinity={"nodeAfinity": {}}, tolerations=[{"key": "a", "operater": "Exists"}])
    run = lab.start("short", "misspelled", "--pod-overlay", str(overlay))
    assert run.wait() == 1
    for field in ("spec.template.spec.affinity.nodeAfinity", "spec.template.spec.tolerations[0].operater"):
        assert f'unknown field "{field}"' in run.output, run.output[-4000:]
    assert "in the --pod-overlay" in run.output
    assert_nothing_left(lab.cluster, lab.namespace, run.run_id)
