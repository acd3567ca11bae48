"""A training phase in two real pods: torchrun and gloo, a pod that is killed, and a launcher that is killed."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster.cluster import Cluster
from tests.cluster.node import wait_for
from tests.cluster.processes import kill_processes
from tests.cluster.settings import GPU, GPUS, PATIENCE
from tests.cluster.training import Training, prepared
from utils.names import QUEUE_LABEL


@pytest.fixture(scope="module", params=["pytorchjob", "trainjob"])
def kind(request: pytest.FixtureRequest) -> str:
    """A kind of job; TrainJobs are of the version that the cluster has (ILAB_TEST_TRAINER)."""
    name: str = request.param
    return name


@pytest.fixture
def training(
    cluster: Cluster, namespace: str, processed: Path, tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> Iterator[Training]:
    name = f"{request.node.originalname.split('_')[2]}-{kind}"
    with prepared(cluster, namespace, processed, tmp_path, name, kind) as made:
        yield made


def test_training_resumes_after_a_killed_pod_and_a_killed_launcher(training: Training) -> None:
    """The pod: from the last whole epoch, in a new job. The launcher: attached to the pods that train."""
    launcher = training.train()
    states = training.wait_for_epoch()
    first = training.uid(training.kind, training.job)
    kill_processes(training.last_host)
    wait_for("the second job", lambda: training.uid(training.kind, training.job) not in ("", first))
    second = training.uid(training.kind, training.job)
    assert training.log.count("training is started again, from its last whole epoch") == 1
    launcher.send_signal(signal.SIGKILL)
    launcher.wait()

    assert training.train().wait(2 * PATIENCE) == 0, training.log
    assert "already exists" in training.log
    assert training.uid(training.kind, training.job) == second
    assert f"resuming after {Path(states[0]).name.rpartition('_')[0]}_" in training.log
    assert training.log.count("training is started again") == 1
    training.check_result()


def test_training_preempted_by_its_queue_waits_and_succeeds(training: Training) -> None:
    launcher = training.train(queue="gpus", pending_timeout="1m")
    wait_for("the job", lambda: bool(training.uid(training.kind, training.job)))
    job = training.cluster.get(training.kind, training.job, "-n", training.namespace)
    assert job["metadata"]["labels"][QUEUE_LABEL] == "gpus"
    training.suspend(True)
    wait_for("news of the queue", lambda: "waiting in the queue gpus" in training.log)
    # A pod that is still ending would count as failed in the resumed job.
    wait_for("the end of its pods", lambda: not training.pods)
    training.suspend(False)
    assert launcher.wait(2 * PATIENCE) == 0, training.log
    assert "all training pods have started" in training.log.partition("waiting in the queue gpus")[2]
    assert "is started again" not in training.log, training.log
    training.check_result()


def test_terminated_launcher_leaves_no_job_and_no_pod(training: Training) -> None:
    """Pods that do not train yet have nothing to save: they end at once, however long they may take."""
    launcher = training.train(grace_period="1h")
    wait_for("the job", lambda: bool(training.uid(training.kind, training.job)))
    wait_for("its pods", lambda: bool(training.pods))
    launcher.send_signal(signal.SIGTERM)
    assert launcher.wait(PATIENCE) != 0
    training.check_nothing_left()


def test_training_that_no_node_has_room_for_fails_at_its_deadline(training: Training) -> None:
    launcher = training.train(gpu_per_worker=GPUS + 1, pending_timeout="10s")
    assert launcher.wait(PATIENCE) != 0
    assert "did not start in 10 s" in training.log and f"Insufficient {GPU}" in training.log, training.log
    training.check_nothing_left()


def test_training_longer_than_its_deadline_is_ended(training: Training) -> None:
    launcher = training.train(timeout="2s", num_epochs=100)  # the launcher looks every ten seconds
    assert launcher.wait(PATIENCE) != 0
    assert "did not end in 2 s" in training.log, training.log
    training.check_nothing_left()


def test_overlay_with_an_unknown_field_is_refused(training: Training) -> None:
    """By default the server would drop it in silence."""
    overlay = yaml.safe_load((training.folder / "overlay.yaml").read_text())
    overlay["spec"]["noSuchField"] = 1
    (training.folder / "overlay.yaml").write_text(yaml.safe_dump(overlay))
    assert training.train().wait(PATIENCE) != 0
    assert "unknown field" in training.log and "noSuchField" in training.log, training.log
    training.check_nothing_left()


@pytest.mark.alone
def test_training_survives_a_restart_of_the_api_server(training: Training) -> None:
    launcher = training.train()
    training.wait_for_epoch()
    training.cluster.restart_apiserver()
    assert launcher.wait(2 * PATIENCE) == 0, training.log
    assert "is started again" not in training.log, training.log
    training.check_result()
