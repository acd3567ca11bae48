"""The reducer: the status of a task after each of its events."""

from typing import Any

import pytest

from utils.ir.model import EARLIER, STOPPED, Event, Outputs, TaskState
from utils.ir.status import TaskStatus, after

PENDING, RUNNING, RETRYING = TaskState.PENDING, TaskState.RUNNING, TaskState.RETRYING
SUCCEEDED, FAILED, SKIPPED, CANCELED = TaskState.SUCCEEDED, TaskState.FAILED, TaskState.SKIPPED, TaskState.CANCELED
MADE = Outputs({"rows": 3})


def status(*events: tuple[TaskState, float] | Event) -> TaskStatus:
    task = TaskStatus("a")
    for one in events:
        task = after(task, one if isinstance(one, Event) else Event(one[1], "a", one[0]))
    return task


def told(state: TaskState, at: float, message: str = "", **more: Any) -> Event:
    return Event(at, "a", state, message, **more)


@pytest.mark.parametrize(
    ("events", "state", "started", "ended"),
    [
        ([(PENDING, 1)], PENDING, 0, 0),
        ([(PENDING, 1), (RUNNING, 2)], RUNNING, 2, 0),
        ([(RUNNING, 2), (RUNNING, 5), (SUCCEEDED, 9)], SUCCEEDED, 2, 9),
        ([(RUNNING, 2), (RETRYING, 5), (RUNNING, 7), (FAILED, 9)], FAILED, 2, 9),
        ([(RUNNING, 2), (PENDING, 5), (RUNNING, 7)], RUNNING, 2, 0),
        ([(RUNNING, 2), (FAILED, 5), (RUNNING, 7)], RUNNING, 7, 0),
        ([(RUNNING, 2), (FAILED, 5), (PENDING, 7)], PENDING, 0, 0),
        ([(SKIPPED, 3)], SKIPPED, 0, 3),
        ([(RUNNING, 2), (TaskState.WAITING, 5)], TaskState.WAITING, 2, 5),
        ([(RUNNING, 2), (TaskState.WAITING, 5), (RUNNING, 7)], RUNNING, 7, 0),
        ([(RUNNING, 2), told(FAILED, 5, STOPPED)], CANCELED, 2, 5),
    ],
)
def test_state_and_times_follow_the_events(events: list[Any], state: TaskState, started: float, ended: float) -> None:
    task = status(*events)
    assert (task.state, task.started, task.ended) == (state, started, ended)


def test_message_lasts_as_long_as_its_state() -> None:
    running = status(told(PENDING, 1, "waits for a node"), told(RUNNING, 2), told(RUNNING, 3, "epoch 1"), (RUNNING, 4))
    assert running.message == "epoch 1"
    assert after(running, told(SUCCEEDED, 5)).message == ""


def test_outputs_stay_until_the_task_runs_again() -> None:
    done = status((RUNNING, 1), told(SUCCEEDED, 2, outputs=MADE))
    skipped = after(done, told(SKIPPED, 3, "the run was canceled"))
    assert (skipped.state, skipped.outputs) == (SKIPPED, MADE)
    assert after(skipped, told(RUNNING, 4)).outputs is None


def test_task_that_is_not_repeated_keeps_its_times() -> None:
    done = status((RUNNING, 1), told(SUCCEEDED, 2, outputs=MADE), told(SUCCEEDED, 9, EARLIER, outputs=MADE))
    assert (done.started, done.ended, done.reused) == (1, 2, True)
