"""A run's journal: one JSON object per line, and what can be read back from it.

A line is in the file before the run continues, so a crash of this process loses none. Lines that say that something is
done are also flushed to the disk, and all earlier lines with them. A power cut may lose a line about a start, which is
harmless.
"""

import errno
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from utils.errors import IlabError
from utils.ir.model import Artifact, Event, Outputs, TaskState
from utils.ir.status import TaskStatus, after


class Journal:
    """Appends records to a journal file. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        _mend(path)
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._lock = threading.Lock()
        self._states: dict[str, TaskState] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._fd)

    def append(self, kind: str, *, sync: bool = True, **values: Any) -> None:
        """Write a record; with `sync` wait until the disk has it."""
        record = {"kind": kind, "time": _now(), **values}
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            before = os.fstat(self._fd).st_size
            if os.write(self._fd, line) < len(line):
                os.ftruncate(self._fd, before)  # half a line would spoil the next one
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if sync:
                os.fsync(self._fd)

    def on_event(self, event: Event) -> None:
        """Record a task's change of state; messages and progress within a state are not worth a record."""
        if event.state is TaskState.PENDING or event.state is self._states.get(event.task_id):
            return
        values: dict[str, Any] = {"task": event.task_id, "state": event.state.value, "time": round(event.time, 3)}
        if event.message:
            values["message"] = event.message
        if event.outputs is not None:
            values["outputs"] = asdict(event.outputs)
        self.append("task", sync=event.state is not TaskState.RUNNING, **values)
        self._states[event.task_id] = event.state


class JournalCopy:
    """A journal that is a copy: the run lives elsewhere, and continues when this disk is full.

    What can't be written is kept, and written before the next record.

    Args:
        tell: told once when it can't be written, and once when it is whole again.
    """

    def __init__(self, journal: Journal, tell: Callable[[str], None]) -> None:
        self._journal, self._tell = journal, tell
        self._lock = threading.Lock()
        self._waiting: list[Callable[[], None]] = []
        self._told = False

    def append(self, kind: str, *, sync: bool = True, **values: Any) -> None:
        self._write(partial(self._journal.append, kind, sync=sync, **{"time": _now(), **values}))

    def on_event(self, event: Event) -> None:
        self._write(partial(self._journal.on_event, event))

    def _write(self, record: Callable[[], None]) -> None:
        with self._lock:
            self._waiting.append(record)
            try:
                while self._waiting:
                    self._waiting[0]()
                    del self._waiting[0]
            except OSError as error:
                if not self._told:
                    self._tell(
                        f"the copy of the run's journal on this machine can't be written ({error}); it continues"
                    )
                self._told = True
                return
            if self._told:
                self._tell("the copy of the run's journal is whole again")
            self._told = False


@dataclass(frozen=True)
class History:
    """A run as its journal tells it. Times in seconds since the epoch, 0 when unknown.

    Attributes:
        state: None when the run did not come to an end: it still runs, or was killed.
        last: time of the last record.
        private_dirs: folders with secrets that its processes made.
        claims: those made by the runner itself.
    """

    tasks: Mapping[str, TaskStatus] = field(default_factory=dict)
    state: TaskState | None = None
    error: str = ""
    started: float = 0.0
    ended: float = 0.0
    last: float = 0.0
    private_dirs: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()

    @property
    def finished(self) -> dict[str, Outputs]:
        """Outputs of the tasks that are not repeated."""
        return {task.id: task.outputs for task in self.tasks.values() if task.outputs is not None}

    def interrupted(self) -> "History":
        """This history when no process works on the run: tasks that ran were stopped with it, at its last record."""
        stopped = {
            task.id: replace(task, state=TaskState.CANCELED, ended=self.last)
            for task in self.tasks.values()
            if task.state in (TaskState.RUNNING, TaskState.RETRYING)
        }
        return replace(self, tasks={**self.tasks, **stopped})


def read_history(path: Path) -> History:
    """Replay a journal. A torn last line, left by a crash in mid-write, counts as not written.

    Raises:
        IlabError: a line before the last is not a record: the file was changed by something else.
    """
    history = History()
    if not path.exists():
        return history
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line) if line else None
        except ValueError as error:
            if number == len(lines):
                break
            raise IlabError(
                f"{path}, line {number} is not a record of a journal", str(error), "start a new run, and clean this one"
            ) from error
        if record:
            history = replace(_apply(history, record), last=record["time"])
    return history


def _apply(history: History, record: dict[str, Any]) -> History:
    kind, at = record["kind"], record["time"]
    if kind == "run":
        private = (record["private_dir"],) if "private_dir" in record else ()
        return replace(
            history.interrupted(),
            state=None,
            error="",
            ended=0.0,
            started=history.started or at,
            private_dirs=(*history.private_dirs, *private),
        )
    if kind == "end":
        return replace(history, state=TaskState(record["state"]), error=record.get("error", ""), ended=at)
    if kind == "claim":
        return replace(history, claims=(*history.claims, record["name"]))
    return _apply_task(history, record)


def _apply_task(history: History, record: dict[str, Any]) -> History:
    task_id = record["task"]
    task = history.tasks.get(task_id, TaskStatus(task_id))
    if record["kind"] == "process":
        task = replace(task, attempts=task.attempts + 1, claims=tuple(record["claims"]))
    else:
        outputs = outputs_from(record["outputs"]) if "outputs" in record else None
        state, message = TaskState(record["state"]), record.get("message", "")
        task = after(task, Event(record["time"], task_id, state, message, outputs=outputs))
    return replace(history, tasks={**history.tasks, task_id: task})


def outputs_from(values: Mapping[str, Any]) -> Outputs:
    """Outputs from their form in JSON, as `asdict` made it."""
    artifacts = {name: [Artifact(**item) for item in items] for name, items in values["artifacts"].items()}
    return Outputs(parameters=values["parameters"], artifacts=artifacts)


def _now() -> float:
    return round(time.time(), 3)


def _mend(path: Path) -> None:
    """Cut off a torn last line, so that what is appended starts a line of its own."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("rb+") as file:
            file.truncate(whole)
