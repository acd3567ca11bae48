"""A training in a queue of a real Kueue: held, admitted, taken back for an urgent job, and continued after it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.kueue import QUEUE, URGENT, hold, kueue
from tests.cluster.node import wait_for
from tests.cluster.pods import pod_spec
from tests.cluster.programs import TRAINER, WITH_KUEUE
from tests.cluster.settings import PATIENCE
from tests.cluster.training import Training, prepared
from utils.names import QUEUE_LABEL

EPOCHS = 12
"""More than pass until the queue has taken the job back."""
# Its webhooks take every job with the label of a queue, of other tests too.
pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(not WITH_KUEUE, reason="set ILAB_TEST_KUEUE=1"),
    pytest.mark.skipif(TRAINER == "2.1", reason="Kueue 0.17 needs Kubeflow Trainer 2.2 or newer"),
]


@pytest.fixture
def training(cluster: Cluster, namespace: str, processed: Path, tmp_path: Path) -> Iterator[Training]:
    with (
        kueue(cluster, namespace),
        prepared(cluster, namespace, processed, tmp_path, "queued", "trainjob") as made,
    ):
        yield made


def urgent_job(training: Training) -> dict[str, Any]:
    """A Job that does not fit into the quota beside the training, and comes first."""
    labels = {QUEUE_LABEL: QUEUE, "kueue.x-k8s.io/priority-class": URGENT}
    amounts = {"cpu": "500m", "memory": "64Mi"}
    spec = pod_spec("sleep", "3", resources={"requests": amounts, "limits": amounts})
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "urgent", "namespace": training.namespace, "labels": labels},
        "spec": {"template": {"spec": spec}},
    }


def suspended(training: Training) -> bool:
    job = training.cluster.get("trainjob", training.job, "-n", training.namespace)
    return bool(job["spec"].get("suspend"))


def test_training_waits_is_admitted_preempted_and_continues_from_its_last_state(training: Training) -> None:
    cluster, where = training.cluster, ("-n", training.namespace)
    launcher = training.train(queue=QUEUE, pending_timeout="5m", num_epochs=EPOCHS)
    wait_for("news of the queue", lambda: f"waiting in the queue {QUEUE}" in training.log)
    assert suspended(training) and not training.pods

    hold(cluster, False)
    states = training.wait_for_epoch()
    uid = training.uid("trainjob", training.job)
    cluster.apply(urgent_job(training))
    wait_for("the preemption", lambda: "the queue took the job back" in training.log)
    cluster.wait("condition=Complete", "job/urgent", *where)

    assert launcher.wait(2 * PATIENCE) == 0, training.log
    assert training.uid("trainjob", training.job) == uid
    assert "is started again" not in training.log, training.log
    assert training.log.count("all training pods have started") == 2, training.log
    training.check_result(EPOCHS)
    # The steps of the epoch that was whole before are not repeated.
    lines = (training.volume / "phase_1/training_params_and_metrics_global0.jsonl").read_text().splitlines()
    seen = [entry["samples_seen"] for entry in map(json.loads, lines) if "samples_seen" in entry]
    assert len(states) == 1 and [seen.count(samples) for samples in sorted(set(seen))[:2]] == [1, 1], seen
