"""A PyTorchJob that already exists, is deleted, or outlives its launcher."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fakes.kubernetes_api import KubernetesApi
from tests.stages.train.pytorchjobs import NAME, add_pod, drop, launch, manifest, there
from utils.cluster.kinds import PYTORCH_JOB
from utils.stages.train.job import job_is_there


def test_job_deleted_by_someone_fails_the_step(api: KubernetesApi) -> None:
    add_pod(api, "master", "Running")
    api.job_states.append("Running")
    with pytest.raises(SystemExit, match=r"can no longer be read \(404\)"):
        launch(tick=lambda: drop(api))


def test_existing_job_is_reattached(api: KubernetesApi, capsys: pytest.CaptureFixture) -> None:  # trap 3
    add_pod(api, "master", "Running")
    there(api, "Running")
    api.job_states.extend(["Running", "Running", "Succeeded"])
    launch()
    assert "already exists (Running): attaching to it" in capsys.readouterr().out


def test_existing_succeeded_job_is_reused(api: KubernetesApi) -> None:  # trap 3
    there(api, "Succeeded")
    launch()
    assert [request for request in api.requests if request.startswith("DELETE")] == []


def test_existing_failed_job_fails_the_step_with_its_logs_and_is_deleted(api: KubernetesApi) -> None:  # traps 3, 25
    there(api, "Failed")
    add_pod(api, "worker", "Failed")
    api.logs = {f"{NAME}-worker-0": "CUDA out of memory"}
    with pytest.raises(SystemExit, match="CUDA out of memory"):
        launch()
    assert api.objects["pytorchjobs"] == {}


@pytest.mark.parametrize("state", ["Running", "Succeeded", "Failed"])
def test_different_job_of_the_same_name_is_refused_and_left_alone(api: KubernetesApi, state: str) -> None:  # trap 3
    there(api, state, image="other")
    with pytest.raises(SystemExit, match=f"already exists in lab\n.*other inputs.*\n.*delete pytorchjob {NAME}"):
        launch()
    assert NAME in api.objects["pytorchjobs"]


def test_job_that_is_being_deleted_is_waited_for(api: KubernetesApi) -> None:
    there(api, "Running")
    assert job_is_there(PYTORCH_JOB, NAME, 10, poll=0.01)
    api.objects["pytorchjobs"][NAME]["metadata"]["deletionTimestamp"] = "2025-01-01T00:00:00Z"
    api.faults.extend([0, 0, 0, 0, 500, 403, 429])  # the API server restarts meanwhile
    answer = api.answer

    def slow_delete(method: str, path: str, query: dict, body: object) -> tuple:
        if len(api.requests) > 12:
            drop(api)
        return answer(method, path, query, body)

    api.answer = slow_delete  # type: ignore[method-assign]
    assert not job_is_there(PYTORCH_JOB, NAME, 100, poll=0.01)


def test_job_that_stays_terminating_or_is_unreadable_fails_the_step(api: KubernetesApi) -> None:
    there(api, "Running")
    api.objects["pytorchjobs"][NAME]["metadata"]["deletionTimestamp"] = "2025-01-01T00:00:00Z"
    with pytest.raises(SystemExit, match="still being deleted"):
        job_is_there(PYTORCH_JOB, NAME, 0, poll=0.01)
    api.forbidden.add("pytorchjobs")
    with pytest.raises(SystemExit, match=r"can't get pytorchjobs.kubeflow.org .* in lab \(403\)"):
        job_is_there(PYTORCH_JOB, NAME, 60, poll=0.01, seconds=5)


def test_pods_that_outlive_their_job_are_waited_for(api: KubernetesApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Someone deleted it in the background: the ranks are still saving their state into the phase's folder."""
    add_pod(api, "master", "Running")
    add_pod(api, "worker", "Succeeded")
    with pytest.raises(SystemExit, match=f"{NAME} is still being deleted\n  cause: its pods do not end"):
        job_is_there(PYTORCH_JOB, NAME, 0, poll=0.01)
    answer, looks = api.answer, 0

    def end(method: str, path: str, query: dict, body: object) -> tuple:
        nonlocal looks
        looks += path.endswith("/pods")
        if looks > 3:
            api.objects["pods"].clear()
        return answer(method, path, query, body)

    monkeypatch.setattr(api, "answer", end)
    assert not job_is_there(PYTORCH_JOB, NAME, 10, poll=0.01)
    assert looks == 4


def test_pods_that_may_not_be_read_are_taken_for_ended(api: KubernetesApi) -> None:
    api.forbidden.add("pods")
    assert not job_is_there(PYTORCH_JOB, NAME, 10, poll=0.01)


def test_job_belongs_to_the_owner_of_the_launching_pod(api: KubernetesApi) -> None:  # trap 24
    owner = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "ilab-x", "uid": "1"}
    api.add("pods", os.uname().nodename, metadata={"ownerReferences": [owner]}, status={})
    api.job_states.append("Succeeded")
    launch()
    assert api.objects["pytorchjobs"][NAME]["metadata"]["ownerReferences"] == [owner]


@pytest.mark.parametrize(
    ("number", "owner", "left"),
    [
        (signal.SIGTERM, "", False),
        (signal.SIGINT, "", False),
        (signal.SIGTERM, "Workflow", False),
        (signal.SIGTERM, "Job", True),
    ],
)
def test_stopped_launcher_deletes_its_job_unless_its_own_job_does(
    api: KubernetesApi, tmp_path: Path, number: int, owner: str, left: bool
) -> None:  # traps 24, 25; an evicted pod's Job makes another pod, which continues the training
    if owner:
        owners = [{"apiVersion": "v1", "kind": owner, "name": "x", "uid": "1"}]
        api.add("pods", os.uname().nodename, metadata={"ownerReferences": owners}, status={})
    add_pod(api, "master", "Running")
    api.job_states.append("Running")
    (tmp_path / "job.json").write_text(json.dumps(manifest()))
    code = (
        "import json, sys\nfrom utils.stages.train.job import Limits, launch_job\n"
        "launch_job([json.load(open(sys.argv[1]))], Limits(60, 60, 60), lambda: None, poll=0.05)"
    )
    environment = {**os.environ, "KUBECONFIG": str(tmp_path / "kubeconfig"), "PYTHONPATH": "."}
    launcher = subprocess.Popen([sys.executable, "-c", code, tmp_path / "job.json"], env=environment)
    deadline = time.monotonic() + 20
    while api.requests.count(f"GET pytorchjobs/{NAME}") < 2:
        assert time.monotonic() < deadline
        assert launcher.poll() is None
        time.sleep(0.01)
    launcher.send_signal(number)
    assert launcher.wait(20) != 0
    assert bool(api.objects["pytorchjobs"]) == left
