"""The state of a task, reduced from the walker's events: the only reducer for display, journal and run object."""

from dataclasses import dataclass, replace
from typing import TypeVar

from utils.ir.model import EARLIER, ENDED, STOPPED, Event, Outputs, Progress, TaskState


@dataclass(frozen=True)
class Pace:
    """Progress of one kind since its first report: (seconds since the epoch, amount done) of the first and the last."""

    first: tuple[float, float]
    last: tuple[float, float]


@dataclass(frozen=True)
class TaskStatus:
    """A task at one moment. Times in seconds since the epoch, 0 if it has not started or ended yet.

    Attributes:
        attempts: how often its process or Job was started, if the runner records it.
        claims: volume claims that it mounted, if the runner records them.
        outputs: of its last execution, if that succeeded; such a task is not repeated.
        reused: finished before this run was resumed.
    """

    id: str
    state: TaskState = TaskState.PENDING
    started: float = 0.0
    ended: float = 0.0
    attempts: int = 0
    message: str = ""
    claims: tuple[str, ...] = ()
    outputs: Outputs | None = None
    reused: bool = False
    progress: Progress | None = None
    pace: Pace | None = None


Status = TypeVar("Status", bound=TaskStatus)


def after(before: Status, event: Event) -> Status:
    """The status of a task after an event.

    An ended task is reset when it waits or runs again. A retry keeps the time of the first start. A task that was
    stopped because another one failed counts as CANCELED.
    """
    state, reused = event.state, event.state is TaskState.SUCCEEDED and event.message == EARLIER
    if state is TaskState.FAILED and event.message == STOPPED:
        state = TaskState.CANCELED
    if state is before.state is TaskState.SUCCEEDED:
        return replace(before, reused=before.reused or reused)  # taken over by a resumed run
    if before.state in ENDED and state not in ENDED:
        before = replace(before, started=0.0, ended=0.0, outputs=None)
    starts = state is TaskState.RUNNING and before.state is not TaskState.RUNNING
    if starts:
        before = replace(before, started=before.started or event.time, outputs=None, progress=None, pace=None)
    return replace(
        before,
        state=state,
        ended=(before.ended or event.time) if state in ENDED else 0.0,
        message=event.message or ("" if state is not before.state else before.message),
        outputs=before.outputs if event.outputs is None else event.outputs,
        reused=reused,
        progress=event.progress or before.progress,
        pace=_pace(before, event),
    )


def _pace(before: TaskStatus, event: Event) -> Pace | None:
    """The pace with this event's progress; another kind of progress, or less than before, resets it."""
    old, new = before.progress, event.progress
    if new is None:
        return before.pace
    now = (event.time, new[0])
    continued = before.pace is not None and old is not None and old[1:] == new[1:] and old[0] <= new[0]
    return Pace(before.pace.first if continued and before.pace else now, now)
