"""Tasks that wait in a queue (Kueue): a Job with the queue's label is suspended until there is quota."""

import threading

import pytest
import yaml
from kfp import dsl, kubernetes

from tests.fakes.node import Act
from tests.ir.memory_runner import compiled
from tests.runners.kubernetes.conftest import Lab
from tests.runners.kubernetes.pipelines import make, take
from utils.ir.model import Event, TaskState
from utils.names import QUEUE_LABEL
from utils.queues import LONGEST_WAIT, in_queue, longest_wait
from utils.runners.kubernetes.request import RunRequest
from utils.runners.kubernetes.session import Listener, run_on_cluster


@dsl.pipeline(name="queued")
def pipeline(k8s_queue: str = "", gpus: int = 1, k8s_queue_timeout: str = "2h") -> None:
    made = make(n=1)
    task = take(n=2).after(made)
    task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(gpus)
    kubernetes.add_pod_label(task, "team", "a")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utils.runners.kubernetes.follow._EVENTS_SECONDS", 0.05)
    monkeypatch.setattr("utils.runners.kubernetes.follow._LOOK_SECONDS", 0.05)


def admit_after(lab: Lab, seconds: float) -> None:
    """Let the queue of the task `take` admit it some time after it is said to wait there."""

    def admit(event: Event) -> None:
        if event.message.startswith("queue: "):
            threading.Timer(seconds, lab.node.admit, ["take"]).start()

    lab.on_event = admit


def test_time_in_a_queue_is_shown_and_does_not_count_as_pending(lab: Lab) -> None:
    lab.node.play("take", Act(queued=True), Act())
    admit_after(lab, 1.0)
    result = lab.run(pipeline, settings={"pending_seconds": 0.5, "queue_seconds": 30})
    assert result.state is TaskState.SUCCEEDED
    told = [e.message for e in lab.events if e.task_id == "take" and e.state is TaskState.PENDING and e.message]
    assert told == ["queue: the Job is suspended until its queue admits it"]


def test_a_queue_has_its_own_deadline(lab: Lab) -> None:
    lab.node.play("take", Act(queued=True))
    result = lab.run(pipeline, settings={"pending_seconds": 60, "queue_seconds": 0.5})
    assert result.state is TaskState.FAILED
    assert "take was not admitted by its queue in 0.5 s: queue: the Job is suspended" in result.error
    assert "or raise k8s_queue_timeout" in lab.message("take")
    assert lab.left() == []


def test_time_to_start_counts_from_the_admission(lab: Lab) -> None:
    lab.node.play("take", Act(queued=True), Act(waits="0/3 nodes are available"))
    admit_after(lab, 0.0)
    result = lab.run(pipeline, settings={"pending_seconds": 0.5, "queue_seconds": 30})
    assert "take did not start in 0.5 s: unschedulable: 0/3 nodes are available" in result.error


def test_preempted_task_waits_in_its_queue_again(lab: Lab) -> None:
    lab.node.play("take", Act(holds=True), Act())

    def act(event: Event) -> None:
        if event.task_id == "take" and event.state is TaskState.RUNNING and lab.node.plays["take"].made == 1:
            lab.node.take_back("take")
        if event.message.startswith("queue: "):
            lab.node.admit("take")

    lab.on_event = act
    assert lab.run(pipeline, settings={"pending_seconds": 30}).state is TaskState.SUCCEEDED
    assert lab.node.plays["take"].made == 2


def test_only_tasks_that_ask_for_a_gpu_get_the_label_and_keep_their_own(lab: Lab) -> None:
    plain = compiled(pipeline, lab.folder)
    queued = in_queue(plain, {"k8s_queue": "gpus"})
    for gpus, wanted in ((1, "gpus"), (0, None)):
        run_on_cluster(
            RunRequest(queued, {"k8s_queue": "gpus", "gpus": gpus}, f"r{gpus}", lab.settings, lab.folder), Listener()
        )
        take_job, make_job = lab.node.manifest("take"), lab.node.manifest("make")
        pod = take_job["spec"]["template"]["metadata"]["labels"]
        assert take_job["metadata"]["labels"].get(QUEUE_LABEL) == pod.get(QUEUE_LABEL) == wanted
        assert pod["team"] == "a"
        assert QUEUE_LABEL not in str(make_job)


def test_queue_is_written_into_the_file_and_can_be_removed_again(lab: Lab) -> None:
    plain = compiled(pipeline, lab.folder)
    assert in_queue(plain, {}) is in_queue(plain, {"k8s_queue": ""}) is plain
    queued = in_queue(plain, {"k8s_queue": "gpus"})
    spec, platform = yaml.safe_load_all(queued.text)
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert executors["exec-take"]["podMetadata"]["labels"] == {"team": "a", QUEUE_LABEL: "gpus"}
    assert "exec-make" not in executors
    assert queued.parameters["k8s_queue"].default == "gpus", "Duplicate in the dashboard shows what the labels say"
    again = in_queue(queued, {"k8s_queue": ""})
    assert QUEUE_LABEL not in again.text and again.parameters["k8s_queue"].default == ""
    assert in_queue(queued, {"k8s_queue": "gpus"}) is queued


def test_the_longest_wait_is_a_parameter(lab: Lab) -> None:
    plain = compiled(pipeline, lab.folder)
    assert longest_wait(plain, {}) == 7200
    assert longest_wait(plain, {"k8s_queue_timeout": "30m"}) == 1800
    assert longest_wait(compiled(other, lab.folder), {}) == LONGEST_WAIT


@dsl.pipeline(name="other")
def other() -> None:
    make(n=1)
