"""Tasks whose pods are refused."""

import threading

import pytest
from kfp import dsl

from tests.fakes.api_server import Fault
from tests.fakes.node import Act
from tests.runners.kubernetes.conftest import Lab
from tests.runners.kubernetes.pipelines import after, beside, take
from utils.cluster.pods import REFUSED
from utils.errors import NotFollowed
from utils.ir.model import Event, TaskState
from utils.runners.kubernetes.refused import Refusals

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


def test_refusal_counts_when_it_has_outlasted_the_controllers_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Job's controller tries again 1, 2, 4, ... 32 s after a refusal, 63 s in all."""
    monkeypatch.undo()
    refusals, reason = Refusals(), f"{REFUSED}{NO_ACCOUNT}"
    assert not refusals.stands(reason, 1000.0)
    assert not refusals.stands(reason, 1074.9)
    assert refusals.stands(reason, 1075.0)
    refusals.over(reason)
    assert not refusals.stands(reason, 1075.0)
    assert not refusals.stands("no pod yet: a webhook is away", 5000.0)


@pytest.mark.parametrize(
    ("fault", "for_good"),
    [
        (Fault("create", "jobs", status=400), True),
        (Fault("create", "jobs", status=422), True),
        (Fault("create", "jobs", status=403, message='admission webhook "x" denied the request: no'), True),
        (Fault("create", "jobs", status=403, message="exceeded quota: count/jobs.batch=5"), False),
        (Fault("create", "jobs", status=401), False),
    ],
    ids=["400", "422", "admission", "quota", "401"],
)
def test_only_a_verdict_about_its_job_fails_a_task(lab: Lab, fault: Fault, for_good: bool) -> None:
    lab.node.faults += [fault, fault]
    if for_good:
        assert lab.run(pipeline).state is TaskState.FAILED
        return
    with pytest.raises(NotFollowed):
        lab.run(pipeline)
    assert lab.record()["run.json"]["state"] == "RUNNING"
    lab.node.faults.clear()
    assert lab.run(pipeline).state is TaskState.SUCCEEDED


def test_missing_right_fails_no_task_while_another_one_runs(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utils.runners.kubernetes.session._PATIENCE", 1.0)
    for task in ("take", "make"):
        lab.node.play(task, Act(holds=True))
    whole, first, runs = lab.node.fault_for, iter([False]), threading.Event()

    def note(event: Event) -> None:
        if lab.states(event.task_id).count(TaskState.RUNNING) == 2:  # the task has begun, and its pod runs
            runs.set()

    def deny(verb: str, resource: str) -> Fault | None:
        late = (verb, resource) == ("create", "jobs") and next(first, True)
        if late:
            runs.wait(60)
        return Fault(status=403, message="jobs is forbidden") if late and denied else whole(verb, resource)

    denied, lab.on_event = [True], note
    lab.node.fault_for = deny  # type: ignore[method-assign]
    with pytest.raises(NotFollowed, match="no right to create jobs"):
        lab.run(beside)
    assert len(lab.node.objects["jobs"]) == 1
    denied.clear()


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
