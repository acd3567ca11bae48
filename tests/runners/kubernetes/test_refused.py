"""Tasks whose pods are refused."""

import pytest
from kfp import dsl

from tests.fakes.node import Act
from tests.runners.kubernetes.conftest import Lab
from tests.runners.kubernetes.pipelines import after, take
from utils.ir.model import Event, TaskState

NO_ACCOUNT = 'error looking up service account lab/nobody: serviceaccount "nobody" not found'


@dsl.pipeline(name="refused")
def pipeline() -> None:
    with dsl.ExitHandler(after()):
        take(n=1).set_retry(2, backoff_duration="0s")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utils.runners.kubernetes.follow._EVENTS_SECONDS", 0.05)
    monkeypatch.setattr("utils.runners.kubernetes.follow._LOOK_SECONDS", 0.05)
    monkeypatch.setattr("utils.runners.kubernetes.refused.REFUSED_SECONDS", 0.3)


def test_permanently_refused_pod_fails_its_task_soon_and_the_exit_task_at_once(lab: Lab) -> None:
    for task in ("take", "after"):
        lab.node.play(task, Act(refused=NO_ACCOUNT))
    result = lab.run(pipeline)
    assert result.state is TaskState.FAILED
    assert lab.message("exit-handler-1/take").startswith(f"take gets no pod: pod refused: {NO_ACCOUNT}\n  next: make")
    assert lab.node.created() == ["take", "after"]  # not tried again
    looks = [r.query["fieldSelector"] for r in lab.node.requests if (r.verb, r.resource) == ("list", "events")]
    assert sum("-after-" in one for one in looks) == 1 < sum("-take-" in one for one in looks)
    assert lab.left() == [name for name in lab.left() if name.startswith("events/")]


def test_exceeded_quota_is_waited_for_like_a_queue(lab: Lab) -> None:
    lab.node.play("take", Act(refused="exceeded quota: gpus"))
    result = lab.run(pipeline, settings={"pending_seconds": 0.5})
    assert "take did not start in 0.5 s: quota: exceeded quota: gpus" in result.error


def test_service_account_created_a_moment_late_is_in_time(lab: Lab) -> None:
    lab.node.play("take", Act(refused=NO_ACCOUNT), Act())

    def admit(event: Event) -> None:
        if "nobody" in event.message:
            lab.node.admit("take")

    lab.on_event = admit
    assert lab.run(pipeline).state is TaskState.SUCCEEDED
