"""Runs the Python function that a compiled file carries in this process, through KFP's own executor."""

import threading
import warnings
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kfp import compiler, dsl
from kfp.dsl.executor import Executor

from utils.errors import TaskFailed
from utils.ir.command import executor_input, resolve_command
from utils.ir.load import parse
from utils.ir.model import Event, Outputs, Pipeline, RunIds, RunResult, Task, TaskState
from utils.ir.outputs import read_outputs
from utils.ir.runner import Runner
from utils.ir.walk import Walker

IDS = RunIds(name="my-run", id="my-run-id", root="/pipeline-root", created="2026-01-02T03:04:05Z")


def component(func: Callable | None = None, **options: Any) -> Any:
    """dsl.component without the lines that install kfp."""
    return dsl.component(func, base_image="python:3.11", install_kfp_package=False, **options)


class MemoryRunner(Runner):
    """Remembers the tasks it executed, and what claims were made and deleted.

    Attributes:
        barrier, gate, failed: for components that wait for each other or for the test; a test sets what it needs.
        walker: who runs the tasks.
    """

    walker: Walker

    def __init__(self, folder: Path, max_parallel: int = 4) -> None:
        self.folder, self.max_parallel = folder, max_parallel
        self.tasks: list[Task] = []
        self.claims: list[tuple] = []
        self.canceled, self.gate, self.failed = threading.Event(), threading.Event(), threading.Event()
        self.barrier = threading.Barrier(1)
        self.now = self.most = 0
        self.lock = threading.Lock()

    def create_claim(self, name: str, size: str, access_modes: Sequence[str], storage_class: str) -> None:
        self.claims.append(("create", name, size, tuple(access_modes), storage_class))

    def delete_claim(self, name: str) -> None:
        self.claims.append(("delete", name))

    def cancel(self) -> None:
        self.canceled.set()

    def execute(self, task: Task, emit: Callable[[Event], None]) -> Outputs:
        with self.lock:
            self.tasks.append(task)
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            return self.call(task)
        finally:
            with self.lock:
                self.now -= 1

    def call(self, task: Task) -> Outputs:
        root = self.folder / task.id / str(task.attempt)
        root.mkdir(parents=True)
        message = executor_input(task, str(root))
        command = resolve_command(task, message, IDS)
        source, function = command[3], command[-1]
        namespace: dict[str, Any] = {}
        exec(compile(source, f"<{task.id}>", "exec"), namespace)
        token = _HERE.set(Here(self, task))
        try:
            Executor(executor_input=message, function_to_execute=namespace[function]).execute()
        except (Exception, SystemExit) as error:
            raise TaskFailed(f"{type(error).__name__}: {error}") from error
        finally:
            _HERE.reset(token)
        return read_outputs(task, root)

    def inputs(self, task_id: str) -> dict[str, Any]:
        return dict(self.task(task_id).inputs)

    def task(self, task_id: str) -> Task:
        return next(task for task in self.tasks if task.id == task_id)

    @property
    def ran(self) -> list[str]:
        return sorted({task.id for task in self.tasks})


@dataclass(frozen=True)
class Here:
    """What a component can see of its surroundings, so that a test can make it wait, count or fail."""

    runner: MemoryRunner
    task: Task


_HERE: ContextVar[Here] = ContextVar("here")


def here() -> Here:
    """The surroundings of the component that calls this."""
    return _HERE.get()


@dataclass
class Walked:
    """A walk that ended, and all that was seen of it."""

    result: RunResult
    runner: MemoryRunner
    events: list[Event] = field(default_factory=list)

    @property
    def state(self) -> TaskState:
        return self.result.state

    def states(self, task_id: str) -> list[TaskState]:
        return [event.state for event in self.events if event.task_id == task_id]

    def messages(self, task_id: str) -> list[str]:
        return [event.message for event in self.events if event.task_id == task_id and event.message]

    def inputs(self, task_id: str) -> dict[str, Any]:
        return self.runner.inputs(task_id)

    @property
    def outputs(self) -> dict[str, Outputs]:
        return {event.task_id: event.outputs for event in self.events if event.outputs is not None}


def compiled(pipeline: Any, folder: Path) -> Pipeline:
    """The pipeline function through KFP's compiler and our reader."""
    return parse(text_of(pipeline, folder))


def text_of(pipeline: Any, folder: Path) -> str:
    path = folder / "pipeline.yaml"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiler.Compiler().compile(pipeline, str(path))
    return path.read_text()


def walk(pipeline: Any, folder: Path, arguments: dict[str, Any] | None = None, **options: Any) -> Walked:
    """Compile and walk a pipeline function (or walk one that is compiled)."""
    runner: MemoryRunner = options.pop("runner", None) or MemoryRunner(folder / "run", options.pop("max_parallel", 4))
    spec = pipeline if isinstance(pipeline, Pipeline) else compiled(pipeline, folder)
    events: list[Event] = []
    watch = options.pop("watch", None)

    def on_event(event: Event) -> None:
        events.append(event)
        if watch:
            watch(event)

    walker = Walker(spec, arguments or {}, runner, IDS, on_event, **options)
    runner.walker = walker
    return Walked(walker.run(), runner, events)
