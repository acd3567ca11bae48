"""What a display knows of a run: a row for each task, kept up to date by the walker's events."""

import re
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from utils.ir.model import Component, Event, Pipeline, TaskState
from utils.ir.runner import STOPPED

Progress = tuple[float, float, str]

EARLIER = "finished earlier"
"""What the walker says of a task that an earlier process finished."""

_ENDED = {TaskState.SUCCEEDED, TaskState.FAILED, TaskState.SKIPPED, TaskState.CANCELED}


@dataclass
class Row:
    """One task. Times in seconds since the epoch, 0 when it did not start or end yet."""

    id: str
    label: str
    state: TaskState = TaskState.PENDING
    started: float = 0.0
    ended: float = 0.0
    message: str = ""
    progress: Progress | None = None
    reused: bool = False
    """Finished before this run was resumed."""
    _first: tuple[float, float] = (0.0, 0.0)
    _last: tuple[float, float] = (0.0, 0.0)

    def update(self, event: Event) -> None:
        if event.state is TaskState.PENDING and self.state in _ENDED:
            self.started = self.ended = 0.0
            self.message, self.reused = "", False
        if event.state is TaskState.RUNNING and self.state is not TaskState.RUNNING:
            self.progress = None
            self.message = ""
            self.started = self.started or event.time
            self.ended = 0.0
        if event.state in _ENDED and not self.ended:
            self.ended = event.time
        # It did not fail of itself.
        stopped = event.state is TaskState.FAILED and event.message == STOPPED
        self.state = TaskState.CANCELED if stopped else event.state
        self.message = event.message or self.message
        if event.state is TaskState.SUCCEEDED and event.message == EARLIER:
            self.reused = True
        if event.progress:
            self._take(event.progress, event.time)

    def _take(self, progress: Progress, at: float) -> None:
        started_over = self.progress is None or self.progress[1:] != progress[1:] or progress[0] < self.progress[0]
        self.progress = progress
        self._last = (at, progress[0])
        if started_over:
            self._first = self._last

    def seconds(self, now: float) -> float:
        """How long it has run, or ran."""
        return max(0.0, (self.ended or now) - self.started) if self.started else 0.0

    def seconds_left(self, now: float) -> float | None:
        """The time left at the pace since the first progress line of this kind; None before there is a pace."""
        if self.progress is None:
            return None
        (began, at_first), (last, done) = self._first, self._last
        if done <= at_first or last <= began:
            return None
        return max(0.0, (self.progress[1] - done) * (last - began) / (done - at_first) - (now - last))


@dataclass
class Board:
    """The rows of a run, in the pipeline's order. `update` and `snapshot` may be called from several threads."""

    rows: dict[str, Row] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _hidden: frozenset[str] = frozenset()

    @classmethod
    def of(cls, pipeline: Pipeline) -> "Board":
        """A row for each task known before the run; those inside a loop join when they start."""
        return cls({task_id: Row(task_id, label) for task_id, label in _leaves(pipeline, pipeline.root, "")})

    def update(self, event: Event) -> list[Row]:
        """Take over an event; the rows that it is about. A group of tasks is skipped as a whole, in one event."""
        with self._lock:
            if event.task_id in self._hidden:
                return []
            inside = [row for row in self.rows.values() if row.id.startswith(event.task_id + "/")]
            rows = [self.rows[event.task_id]] if event.task_id in self.rows else inside
            if not rows or event.state is not TaskState.SKIPPED and rows is inside:
                rows = [self._insert(event.task_id)]
            for row in rows:
                row.update(event)
            return rows

    def take_over(self, earlier: "Board") -> None:
        """Put the tasks that succeeded earlier in their rows."""
        for row in earlier.snapshot():
            if row.state is TaskState.SUCCEEDED:
                self.update(Event(row.started, row.id, TaskState.RUNNING))
                for mine in self.update(Event(row.ended, row.id, TaskState.SUCCEEDED)):
                    mine.reused = True

    def leave_out(self, task_ids: Collection[str]) -> None:
        """Show no rows for these tasks."""
        with self._lock:
            self.rows = {task_id: row for task_id, row in self.rows.items() if task_id not in task_ids}
            self._hidden = frozenset(task_ids)

    def snapshot(self) -> list[Row]:
        with self._lock:
            return list(self.rows.values())

    def _insert(self, task_id: str) -> Row:
        """A row behind the last one that shares the most of its id."""
        row = Row(task_id, _label(task_id))
        parents = [task_id.rsplit("/", n)[0] + "/" for n in range(1, task_id.count("/") + 1)]
        ids = list(self.rows)
        last = next((i for p in parents for i in range(len(ids) - 1, -1, -1) if ids[i].startswith(p)), len(ids) - 1)
        items = list(self.rows.items())
        items.insert(last + 1, (task_id, row))
        self.rows = dict(items)
        return row


@dataclass(frozen=True)
class Count:
    """How many tasks there are, and of these how many have ended and how many were skipped: no task is both."""

    ended: int
    skipped: int
    total: int

    def __str__(self) -> str:
        return f"{self.ended}/{self.total}" + (f" ({self.skipped} skipped)" if self.skipped else "")


def count(rows: list[Row]) -> Count:
    """Count the tasks of a run by how far they are."""
    skipped = sum(row.state is TaskState.SKIPPED for row in rows)
    return Count(sum(row.state in _ENDED for row in rows) - skipped, skipped, len(rows))


def leaf_ids(pipeline: Pipeline) -> list[str]:
    """Ids of the tasks known before the run, in the pipeline's order."""
    return [task_id for task_id, _ in _leaves(pipeline, pipeline.root, "")]


def _leaves(pipeline: Pipeline, component: Component, prefix: str) -> Iterator[tuple[str, str]]:
    for node in component.dag.nodes if component.dag else ():
        if node.loop:
            continue
        child = pipeline.components[node.component]
        if child.dag:
            yield from _leaves(pipeline, child, f"{prefix}{node.key}/")
        else:
            yield prefix + node.key, node.name


def _label(task_id: str) -> str:
    """The task's own name with the numbers of the loops around it: "for-loop-2/3/print-op" is "print-op [3]"."""
    *parents, name = task_id.split("/")
    numbers = [part for part in parents if re.fullmatch(r"\d+", part)]
    return f"{name} [{'.'.join(numbers)}]" if numbers else name
