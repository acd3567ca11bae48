"""The PyTorchJob launcher against a small HTTP server that speaks the Kubernetes API."""

import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.kubernetes_api import KubernetesApi
from tests.stages.train.pytorchjobs import NAME, add_pod, launch
from utils.cluster import client
from utils.stages.train.job_news import trainer_lines
from utils.stages.train.late import TooLate


def test_succeeded_job_is_kept_for_its_logs(api: KubernetesApi, capsys: pytest.CaptureFixture) -> None:
    add_pod(api, "master", "Running")
    api.job_states.extend(["", "Running", "Running", "Succeeded"])
    ticks: list[int] = []
    launch(tick=lambda: ticks.append(1))
    assert len(ticks) == 3
    assert NAME in api.objects["pytorchjobs"]  # it stays for its logs; the exit task deletes it
    assert (
        f"PyTorchJob {NAME} created; kubectl -n lab logs -f -l training.kubeflow.org/job-name={NAME}"
        in capsys.readouterr().out
    )


def test_failed_pytorchjob_fails_the_step_with_logs_and_events(api: KubernetesApi) -> None:  # trap 25
    add_pod(api, "master", "Running")
    add_pod(api, "worker", "Failed")
    api.logs = {f"{NAME}-master-0": "waiting for rank 1", f"{NAME}-worker-0": "CUDA out of memory"}
    event = {"metadata": {}, "type": "Warning", "lastTimestamp": "2026-11-26T15:11:02Z"}
    api.add("events", "e", involvedObject={"name": f"{NAME}-worker-0"}, message="Back-off", **event)
    api.add("events", "f", involvedObject={"name": f"{NAME}2-worker-0"}, message="not ours", **event)
    api.job_states.extend(["Running", "Failed"])
    with pytest.raises(SystemExit) as error:
        launch()
    text = str(error.value)
    assert f"the PyTorchJob {NAME} failed" in text
    assert "job is Failed" in text
    assert f"{NAME}-worker-0:\nCUDA out of memory" in text
    assert "15:11:02 UTC Back-off" in text
    assert "waiting for rank 1" not in text
    assert "not ours" not in text
    assert api.objects["pytorchjobs"] == {}  # a retry meets no 409


@pytest.mark.parametrize(
    ("last_words", "remedy"),
    [("OSError: [Errno 28] No space left on device", "make room"), ("CUDA out of memory", "correct that")],
)
def test_job_whose_pods_filled_the_volume_asks_for_room(api: KubernetesApi, last_words: str, remedy: str) -> None:
    add_pod(api, "worker", "Failed")
    api.logs = {f"{NAME}-worker-0": last_words}
    api.job_states.extend(["Running", "Failed"])
    with pytest.raises(SystemExit, match=f"{re.escape(last_words)}\n  next: {remedy}"):
        launch()


def test_logs_are_shown_up_to_the_traceback_of_torchrun() -> None:
    elastic = "E1122 1 torch/distributed/elastic/multiprocessing/api.py:1002] failed (exitcode: 1) local_rank: 0"
    torchrun = "\n".join([elastic, "Traceback (most recent call last):", *["  raise ChildFailedError("] * 40])
    assert trainer_lines(f"step 1\n[rank0]: CUDA out of memory\n{torchrun}".splitlines()).splitlines() == [
        "step 1",
        "[rank0]: CUDA out of memory",
        elastic,
    ]
    assert trainer_lines("\n".join(map(str, range(30))).splitlines()) == "\n".join(map(str, range(5, 30)))


def test_job_without_success_does_not_count_as_succeeded(api: KubernetesApi) -> None:  # trap 25
    add_pod(api, "master", "Succeeded")
    add_pod(api, "worker", "Succeeded")
    api.job_states.append("Running")
    with pytest.raises(TooLate, match=r"did not end in 0\.2 s"):
        launch(timeout=0.2)
    assert api.objects["pytorchjobs"] == {}


def test_unschedulable_job_fails_with_the_schedulers_message(api: KubernetesApi) -> None:  # trap 6
    reason = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": reason}
    add_pod(api, "master", "Pending", conditions=[condition])  # without containerStatuses
    api.job_states.append("")
    with pytest.raises(TooLate, match=rf"did not start in 0\.2 s\n  cause: {reason}"):
        launch(pending=0.2)
    assert api.objects["pytorchjobs"] == {}


def test_time_in_a_queue_is_shown_and_does_not_count_as_pending(
    api: KubernetesApi, capsys: pytest.CaptureFixture
) -> None:
    """A suspended PyTorchJob is what Kueue makes of one with its label (jobframework.BaseWebhook.Default)."""
    add_pod(api, "master", "Running")
    add_pod(api, "worker", "Running")
    reason = "couldn't assign flavors to pod set master: insufficient unused quota for nvidia.com/gpu"
    about = {"kind": "Workload", "name": f"pytorchjob-{NAME}-a1b2c"}
    api.add("events", "e", involvedObject=about, message=reason, metadata={}, type="Warning")
    later = {"metadata": {}, "lastTimestamp": "2026-11-26T15:11:02Z"}
    api.add("events", "f", involvedObject=about | {"name": f"pytorchjob-{NAME}2-a1b2c"}, message="not ours", **later)
    api.job_states.extend(["Suspended"] * 50 + ["", "Running", "Succeeded"])
    launch(pending=0.3, queue="gpus")
    out = capsys.readouterr().out
    assert out.count(f"waiting in the queue gpus: {reason}") == 1
    assert out.index("the job is in a queue") < out.index("all training pods have started")
    assert "not ours" not in out


def test_a_queue_has_its_own_deadline(api: KubernetesApi) -> None:
    api.job_states.append("Suspended")
    with pytest.raises(SystemExit) as error:
        launch(queued=0.2, queue="gpus")
    assert f"the PyTorchJob {NAME} was not admitted by its queue in 0.2 s" in str(error.value)
    assert "waiting in the queue gpus" in str(error.value) and "k8s_queue_timeout" in str(error.value)
    assert api.objects["pytorchjobs"] == {}


def test_preempted_job_is_waited_for_again(api: KubernetesApi, capsys: pytest.CaptureFixture) -> None:
    add_pod(api, "master", "Running")
    add_pod(api, "worker", "Running")
    api.job_states.extend(["Running", *["Suspended"] * 50, "Running", "Succeeded"])
    launch(pending=0.3, timeout=0.3, queue="gpus")
    out = capsys.readouterr().out
    assert out.index("all training pods have started") < out.index("the queue took the job back")
    assert out.count("all training pods have started") == 2


@pytest.mark.parametrize("worker", ["", "Running"], ids=["not made", "ending"])
def test_job_has_not_started_before_all_its_pods_are_there(api: KubernetesApi, worker: str) -> None:
    """A quota may forbid the second; those of a job that was suspended are still ending when it is admitted again."""
    add_pod(api, "master", "Running")
    if worker:
        add_pod(api, "worker", worker)
        api.objects["pods"][f"{NAME}-worker-0"]["metadata"]["deletionTimestamp"] = "2026-11-26T15:11:02Z"
    about = {"name": NAME, "kind": "PyTorchJob"}
    api.add("events", "e", involvedObject=about, message="exceeded quota: gpus", metadata={}, type="Warning")
    api.job_states.append("Running")
    with pytest.raises(TooLate, match=r"did not start in 0\.2 s\n  cause: exceeded quota: gpus"):
        launch(pending=0.2, timeout=1)


def test_unreadable_events_do_not_end_waiting(api: KubernetesApi) -> None:
    api.forbidden.add("events")
    api.job_states.append("Suspended")
    with pytest.raises(SystemExit, match=r"waiting in the queue gpus \(can't list events in lab \(403\)\)"):
        launch(queued=0.2, queue="gpus")


def test_image_that_cannot_be_pulled_is_reported(api: KubernetesApi) -> None:
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}
    status = {"name": "pytorch", "state": waiting, "image": "", "imageID": "", "ready": False, "restartCount": 0}
    add_pod(api, "master", "Running")
    add_pod(api, "worker", "Pending", containerStatuses=[status])
    api.job_states.append("Running")
    with pytest.raises(SystemExit, match=f"{NAME}-worker-0: ImagePullBackOff: Back-off pulling image"):
        launch(pending=0.2)


def test_running_deadline_counts_from_the_start_of_the_pods(api: KubernetesApi) -> None:
    add_pod(api, "master", "Pending")
    api.job_states.append("")

    def start() -> None:
        if len(api.requests) > 40:
            add_pod(api, "master", "Running")
            add_pod(api, "worker", "Running")
            api.job_states.clear()
            api.job_states.append("Running")

    with pytest.raises(TooLate, match=r"did not end in 0\.1 s"):
        launch(timeout=0.1, tick=start)


def test_temporarily_unavailable_api_server_is_waited_for(api: KubernetesApi, capsys: pytest.CaptureFixture) -> None:
    add_pod(api, "master", "Running")
    api.job_states.extend(["Running", "Running", "Succeeded"])
    looks = iter([[500], [0, 0, 0, 0, 0, 0, 0, 0], [429], []])
    launch(tick=lambda: api.faults.extend(next(looks, [])))
    assert f"can't get pytorchjobs.kubeflow.org {NAME} in lab (500); still waiting" in capsys.readouterr().out


@pytest.fixture
def hanging(api: KubernetesApi, monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """Ends of paths that the API server takes requests for and never answers; the client's patience is cut to 0.3 s.

    A call without a timeout of its own would wait until the test is over.
    """
    ends: set[str] = set()
    over, answer = threading.Event(), api.answer

    def hang(method: str, path: str, query: dict, body: Any) -> tuple[int, Any]:
        if path.endswith(tuple(ends)):
            over.wait(10)
        return answer(method, path, query, body)

    monkeypatch.setattr(api, "answer", hang)
    monkeypatch.setattr(client, "FIRST_READ_SECONDS", 0.3)
    yield ends
    over.set()


@pytest.mark.parametrize("kind", ["/pods", "/events"])
def test_api_server_that_never_answers_does_not_delay_the_deadline(
    api: KubernetesApi, hanging: set[str], kind: str
) -> None:  # trap 5
    hanging.add(kind)
    add_pod(api, "master", "Pending")
    api.job_states.append("")
    begun = time.monotonic()
    with pytest.raises(TooLate, match=r"did not start in 0\.1 s"):
        launch(pending=0.1)
    assert time.monotonic() - begun < 5


def test_failed_job_without_readable_logs_is_reported(api: KubernetesApi, hanging: set[str]) -> None:
    hanging.add("/log")
    add_pod(api, "master", "Failed")
    api.job_states.append("Failed")
    begun = time.monotonic()
    with pytest.raises(SystemExit, match=r"failed(.|\n)*job is Failed(.|\n)*the log can't be read: .*ReadTimeoutError"):
        launch()
    assert time.monotonic() - begun < 5


def test_missing_rights_or_operator_are_reported(api: KubernetesApi) -> None:
    api.forbidden.add("pytorchjobs")
    with pytest.raises(SystemExit, match=r"can't create pytorchjobs.kubeflow.org .* in lab \(403\)"):
        launch()
