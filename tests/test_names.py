"""Names in clusters and pods are a contract: runs that are there, manifests and guides refer to them."""

import pytest

from utils import names


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (names.RUN_LABEL, "ilab-pipeline/run"),
        (names.TASK_LABEL, "ilab-pipeline/task"),
        (names.ATTEMPT_LABEL, "ilab-pipeline/attempt"),
        (names.HASH_LABEL, "ilab-pipeline/hash"),
        (names.INPUTS_LABEL, "ilab-pipeline/inputs"),
        (names.OBJECT_LABEL, "ilab-pipeline/object"),
        (names.API_LABEL, "ilab-pipeline/api-access"),
        (names.SHM_LABEL, "ilab-pipeline/shared-memory"),
        (names.OUTCOME_ANNOTATION, "ilab-pipeline/outcome"),
        (names.KFP_RUN_LABEL, "pipeline/runid"),
        (names.QUEUE_LABEL, "kueue.x-k8s.io/queue-name"),
        (names.SIDECAR_LABEL, "sidecar.istio.io/inject"),
        (names.claim_name("r1"), "ilab-r1"),
        (names.run_object_name("r1"), "ilab-r1"),
    ],
)
def test_name_does_not_change(name: str, value: str) -> None:
    assert name == value
