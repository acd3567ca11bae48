"""The state of a run for a display: one row per task, updated by the walker's events."""

import re
import threading
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace

from utils.ir.model import ENDED, Component, Event, Pipeline, TaskState
from utils.ir.status import TaskStatus, after


@dataclass(frozen=True)
class Row(TaskStatus):
    """A task as a display shows it, under its label."""

    label: str = ""

    def seconds(self, now: float) -> float:
        """How long it has run, or ran."""
        return max(0.0, (self.ended or now) - self.started) if self.started else 0.0

    def seconds_left(self, now: float) -> float | None:
        """The time left at the pace since the first progress line of this kind; None before there is a pace."""
        if self.progress is None or self.pace is None:
            return None
        (began, at_first), (last, done) = self.pace.first, self.pace.last
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
        """One row per task known before the run; tasks inside a loop are added when they start."""
        return cls({task_id: Row(task_id, label=label) for task_id, label in _leaves(pipeline, pipeline.root, "")})

    def update(self, event: Event) -> list[Row]:
        """Apply an event; returns the rows that it concerns."""
        with self._lock:
            rows = [after(row, event) for row in self._rows(event.task_id, event.state)]
            self.rows |= {row.id: row for row in rows}
            return rows

    def put(self, task: TaskStatus) -> None:
        """Set the known state of a task, such as from a journal."""
        with self._lock:
            for row in self._rows(task.id, task.state):
                self.rows[row.id] = Row(**{**vars(task), "id": row.id, "label": row.label})

    def take_over(self, tasks: Iterable[TaskStatus]) -> None:
        """Take over the tasks that succeeded before this run was resumed."""
        for task in tasks:
            if task.state is TaskState.SUCCEEDED:
                self.put(replace(task, reused=True))

    def _rows(self, task_id: str, state: TaskState) -> list[Row]:
        """The rows of a task, created if there is none. A group of tasks is skipped as a whole, in one event."""
        if task_id in self._hidden:
            return []
        if task_id in self.rows:
            return [self.rows[task_id]]
        inside = [row for row in self.rows.values() if row.id.startswith(task_id + "/")]
        return inside if inside and state is TaskState.SKIPPED else [self._insert(task_id)]

    def leave_out(self, task_ids: Collection[str]) -> None:
        """Hide the rows of these tasks."""
        with self._lock:
            self.rows = {task_id: row for task_id, row in self.rows.items() if task_id not in task_ids}
            self._hidden = frozenset(task_ids)

    def snapshot(self) -> list[Row]:
        with self._lock:
            return list(self.rows.values())

    def _insert(self, task_id: str) -> Row:
        """Insert a row after the last one that shares the longest part of its id."""
        row = Row(task_id, label=_label(task_id))
        parents = [task_id.rsplit("/", n)[0] + "/" for n in range(1, task_id.count("/") + 1)]
        ids = list(self.rows)
        last = next((i for p in parents for i in range(len(ids) - 1, -1, -1) if ids[i].startswith(p)), len(ids) - 1)
        items = list(self.rows.items())
        items.insert(last + 1, (task_id, row))
        self.rows = dict(items)
        return row


@dataclass(frozen=True)
class Count:
    """Number of tasks in total, ended and skipped; a skipped task does not count as ended."""

    ended: int
    skipped: int
    total: int

    def __str__(self) -> str:
        return f"{self.ended}/{self.total}" + (f" ({self.skipped} skipped)" if self.skipped else "")


def count(rows: list[Row]) -> Count:
    """Count the tasks of a run by state."""
    skipped = sum(row.state is TaskState.SKIPPED for row in rows)
    return Count(sum(row.state in ENDED for row in rows) - skipped, skipped, len(rows))


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
