"""Losing sight of the cluster, or breaking down, fails no task, deletes no Job and starts no exit task (trap 55)."""

import errno
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from tests.fakes.api_server import Fault, Time
from tests.fakes.node import Act
from tests.runners.kubernetes.conftest import Lab
from tests.runners.kubernetes.pipelines import after, make, take
from utils.cluster.connection import connect
from utils.errors import NotFollowed
from utils.ir.model import Event, TaskState
from utils.ir.walk import Walker
from utils.runners import journal
from utils.runners.kubernetes import follow, observed, session

PATIENCE = 120.0
MINUTES = 60.0


@dsl.pipeline(name="sighted")
def pipeline() -> None:
    with dsl.ExitHandler(after()):
        make(n=2).after(take(n=1))


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    """The time by which the cluster is waited for: only waiting moves it."""
    found = Time()
    options = {"clock": found.clock, "sleep": found.sleep, "chance": lambda: 0.0}
    monkeypatch.setattr(session, "connect", lambda *place, **given: connect(*place, **given | options))
    monkeypatch.setattr(session, "_PATIENCE", PATIENCE)
    monkeypatch.setattr(follow, "_LOOK_SECONDS", 0.02)
    return found


class Trouble:
    """Requests meet a fault from the start of `take`'s pod on; when it is over, the task has ended unseen."""

    def __init__(self, lab: Lab, time: Time) -> None:
        self.lab, self.time, self.lock = lab, time, threading.Lock()
        self.fault, self.verbs, self.seconds = Fault(), tuple[str, ...](), 0.0
        self.begun = self.over = False
        self.until = float("inf")

    def begin(self, fault: Fault, verbs: tuple[str, ...] = (), seconds: float = float("inf")) -> None:
        self.fault, self.verbs, self.seconds = fault, verbs, seconds
        self.lab.on_event = self.start
        self.lab.node.fault_for = self.meet  # type: ignore[method-assign]

    def start(self, event: Event) -> None:
        if event.task_id.endswith("take") and self.lab.node.objects["pods"] and not self.begun:
            self.begun, self.until = True, self.time.now + self.seconds

    def meet(self, verb: str, resource: str) -> Fault | None:
        with self.lock:
            if not self.begun or self.over:
                return None
            if self.time.now >= self.until:
                self.over = True
                self.lab.node.finish(*self.lab.node.objects["jobs"])
                return None
        return self.fault if not self.verbs or verb in self.verbs else None


@pytest.fixture
def trouble(lab: Lab, time: Time) -> Trouble:
    lab.node.play("take", Act(holds=True))
    return Trouble(lab, time)


def assert_untouched(lab: Lab) -> None:
    """Nothing has been deleted, and nothing has started but the one task."""
    assert lab.node.created() == ["take"]
    assert len(lab.node.objects["jobs"]) == 1
    assert "delete jobs" not in lab.node.asked()
    assert lab.record()["run.json"]["state"] == "RUNNING"
    assert lab.record()["task.exit-handler-1.take.json"]["state"] == "RUNNING"
    assert not {TaskState.FAILED, TaskState.CANCELED, TaskState.SKIPPED} & {event.state for event in lab.events}


def assert_continues(lab: Lab) -> None:
    """Started again, the run finds what it left."""
    lab.node.finish(*lab.node.objects["jobs"])
    assert lab.run(pipeline).state is TaskState.SUCCEEDED
    assert lab.node.created() == ["take", "make", "after"]


READS = ("get", "list", "watch")
TROUBLE: dict[str, tuple[Fault, tuple[str, ...]]] = {
    "no answer": (Fault(), ()),
    "500": (Fault(status=500), ()),
    "429": (Fault(status=429), ()),
    "520 of a proxy": (Fault(status=520), ()),
    "302 to a login page": (Fault(status=302), ()),
    "407 of a proxy": (Fault(status=407, body={"kind": ""}), ()),
    "401": (Fault(status=401), READS),
    "403": (Fault(status=403), READS),
    "403 on watch": (Fault(status=403), ("watch",)),
    "401 on watch": (Fault(status=401), ("watch",)),
    "404 on watch": (Fault(status=404), ("watch",)),
}


@pytest.mark.parametrize("name", TROUBLE)
def test_cluster_out_of_sight_for_minutes_is_waited_for(lab: Lab, trouble: Trouble, time: Time, name: str) -> None:
    trouble.begin(*TROUBLE[name], seconds=PATIENCE - 20)
    began = time.now
    assert lab.run(pipeline).state is TaskState.SUCCEEDED
    assert time.now - began >= PATIENCE - 20
    assert lab.node.created() == ["take", "make", "after"]
    assert TaskState.FAILED not in {event.state for event in lab.events}


@pytest.mark.parametrize("name", TROUBLE)
def test_cluster_that_stays_out_of_sight_ends_the_walk_and_nothing_else(lab: Lab, trouble: Trouble, name: str) -> None:
    trouble.begin(*TROUBLE[name])
    with pytest.raises(NotFollowed) as left:
        lab.run(pipeline)
    assert left.value.exit_code == 4
    assert "the run r1 can no longer be followed; it was left as it is" in left.value.render()
    assert "start it again with the same run id, r1: it continues" in left.value.render()
    trouble.over = True
    assert_untouched(lab)
    assert_continues(lab)


@pytest.mark.parametrize("fault", [Fault(lines=0), Fault(status=429), Fault(status=500)], ids=["drop", "429", "500"])
def test_watches_that_never_get_through_are_replaced_by_lists(lab: Lab, trouble: Trouble, fault: Fault) -> None:
    trouble.begin(fault, ("watch",), seconds=10 * PATIENCE)
    assert lab.run(pipeline).state is TaskState.SUCCEEDED
    assert lab.node.created() == ["take", "make", "after"]


def test_second_interrupt_ends_a_walk_whose_cluster_is_away(
    lab: Lab, trouble: Trouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_PATIENCE", 1e9)

    interruptible, stopping, killed = session.interruptible, threading.Event(), threading.Event()

    def noted(walker: Walker, kill: Callable[[], None], on_interrupt: Callable[[], None]) -> Any:
        return interruptible(walker, kill, stopping.set)

    def interrupt() -> None:
        if trouble.begun and not killed.is_set():
            if stopping.is_set():
                killed.set()
            os.kill(os.getpid(), signal.SIGTERM)
            stopping.wait(1)

    monkeypatch.setattr(session, "interruptible", noted)
    trouble.time.at_sleep = interrupt
    trouble.begin(Fault())
    with pytest.raises(NotFollowed):
        lab.run(pipeline)
    trouble.over = True
    assert "delete jobs" not in lab.node.asked()
    assert lab.record()["run.json"]["state"] == "RUNNING"
    trouble.time.at_sleep = lambda: None
    assert_continues(lab)


def test_patience_of_a_walk_is_tens_of_minutes() -> None:
    assert 20 * MINUTES <= session._PATIENCE <= 60 * MINUTES


@pytest.mark.parametrize("deadline", ["pending", "running"])
def test_no_deadline_passes_while_the_cluster_is_out_of_sight(
    lab: Lab, trouble: Trouble, time: Time, deadline: str
) -> None:
    """What a pod does meanwhile is in time: when it is seen again, it has started, or ended."""
    lab.node.play("take", Act(waits="no node") if deadline == "pending" else Act(holds=True))
    trouble.begin(Fault(), seconds=PATIENCE - 20)
    assert lab.run(pipeline, settings={"pending_seconds": 30.0}).state is TaskState.SUCCEEDED
    assert lab.node.created() == ["take", "make", "after"]


def test_full_disk_under_the_journals_copy_costs_no_task(
    lab: Lab, time: Time, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    append = journal.Journal.append
    full, notices = [True], list[str]()

    def write(self: journal.Journal, kind: str, **values: Any) -> None:
        if full and kind != "run":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append(self, kind, **values)

    def make_room(event: Event) -> None:
        if event.task_id == "after" and event.state is TaskState.RUNNING:
            full.clear()

    monkeypatch.setattr(journal.Journal, "append", write)
    lab.on_event = make_room
    lab.on_notice = notices.append
    result = lab.run(pipeline)
    assert result.state is TaskState.SUCCEEDED
    assert [text.split("(")[0] for text in notices] == [
        "the copy of the run's journal on this machine can't be written ",
        "the copy of the run's journal is whole again",
    ]
    history = result.folder.history()
    assert {task.id: task.state for task in history.tasks.values()} == dict.fromkeys(
        ("exit-handler-1/take", "exit-handler-1/make", "after"), TaskState.SUCCEEDED
    )


def test_full_disk_under_a_tasks_log_costs_no_task(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("utils.runners.kubernetes.pod_log._open_part", full)
    monkeypatch.setattr("utils.runners.kubernetes.pod_log._Copy.write", lambda self, line: None)
    lab.node.play("take", Act(lines=("one",)))
    lab.node.play("make", Act(exit_code=1, lines=("two", "error: no water", "  cause: the tide")))
    result = lab.run(pipeline)
    assert result.state is TaskState.FAILED
    assert "no water\n  cause: the tide\n    (its log is not complete on this machine: " in result.error


def crash_of_the_listener(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(event: Event) -> None:
        if event.task_id.endswith("take") and lab.node.objects["pods"]:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    lab.on_event = crash


def crash_of_the_follower(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*arguments: Any) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(follow.Following, "_look", crash)


def crash_of_the_watch(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = observed.Observed._take

    def crash(self: observed.Observed, kind: Any, change: str, found: Any) -> None:
        if lab.node.objects["jobs"]:
            raise RuntimeError("a defect")
        whole(self, kind, change, found)

    monkeypatch.setattr(observed.Observed, "_take", crash)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("crash", [crash_of_the_listener, crash_of_the_follower, crash_of_the_watch])
def test_crash_of_the_walker_leaves_the_run_as_it_is(
    lab: Lab, time: Time, monkeypatch: pytest.MonkeyPatch, crash: Callable[..., None]
) -> None:
    lab.node.play("take", Act(holds=True))
    with monkeypatch.context() as broken:
        crash(lab, broken)
        with pytest.raises(NotFollowed) as left:
            lab.run(pipeline)
    assert left.value.exit_code == 4
    lab.on_event = lambda event: None
    assert_untouched(lab)
    assert_continues(lab)


def test_full_disk_at_a_restart_leaves_the_run_as_it_is(lab: Lab, time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    lab.node.play("take", Act(holds=True))
    for broken in ("utils.runners.kubernetes.follow.Following._look", "pathlib.Path.write_text"):
        with monkeypatch.context() as disk:
            disk.setattr(broken, full)
            with pytest.raises(NotFollowed, match="No space left on device"):
                lab.run(pipeline)
        assert_untouched(lab)
    assert_continues(lab)
