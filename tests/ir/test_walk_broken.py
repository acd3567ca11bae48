"""The walker when it breaks down, or no longer knows how a task ends: no task fails, and nothing starts."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from kfp import dsl

from tests.ir import parts
from tests.ir.memory_runner import IDS, MemoryRunner, compiled
from utils.errors import IlabError, TaskFailed, TaskRefused
from utils.ir.model import Event, Outputs, Task, TaskState
from utils.ir.runner import Runner
from utils.ir.walk import Walker


@dsl.pipeline
def guarded() -> None:
    """`say` is held, `nothing` breaks the walk, `say-2` waits for it."""
    with dsl.ExitHandler(parts.cleanup()):
        parts.say(text="held")
        broken = parts.nothing()
        parts.say(text="later").after(broken)
        parts.cleanup().after(broken).ignore_upstream_failure()


class Held(MemoryRunner):
    """`say` runs until it is stopped or left; `nothing` then does as the test says."""

    def __init__(self, folder: Path, act: Callable[[], None] = lambda: None) -> None:
        super().__init__(folder)
        self.act, self.over, self.held, self.ends = act, threading.Event(), threading.Event(), list[str]()

    def cancel(self) -> None:
        self.ends.append("canceled")
        self.over.set()

    def call(self, task: Task) -> Outputs:
        if task.name == "nothing":
            assert self.held.wait(10)
            self.act()
            return Outputs()
        if task.name == "say":
            self.held.set()
            assert self.over.wait(10)
            raise TaskFailed("stopped")
        return super().call(task)


class Leaving(Held):
    """Its tasks live on without it."""

    def leave(self) -> None:
        self.ends.append("left")
        self.over.set()


def broken_walk(tmp_path: Path, runner: Held, error: type[BaseException], on_event: Callable = lambda _: None) -> list:
    """The events of a walk that this error ends."""
    events: list[Event] = []

    def note(event: Event) -> None:
        on_event(event)
        events.append(event)

    walker = Walker(compiled(guarded, tmp_path), {}, runner, IDS, note)
    runner.walker = walker
    with pytest.raises(error):
        walker.run()
    return events


def lose_sight() -> None:
    raise IlabError("the cluster is out of sight")


def break_down() -> None:
    raise RuntimeError("a defect")


def exit_now() -> None:
    raise SystemExit("killed")


@pytest.mark.parametrize("act", [lose_sight, break_down, exit_now])
def test_walk_that_breaks_down_leaves_its_tasks(tmp_path: Path, act: Callable[[], None]) -> None:
    runner = Leaving(tmp_path / "run", act)
    events = broken_walk(tmp_path, runner, BaseException)
    assert {event.state for event in events} == {TaskState.PENDING, TaskState.RUNNING}
    assert runner.ran == ["exit-handler-1/nothing", "exit-handler-1/say"]  # no task after it, no exit task
    assert set(runner.ends) == {"left"}


def test_walker_crash_stops_tasks_that_can_not_live_without_it(tmp_path: Path) -> None:
    runner = Held(tmp_path / "run", break_down)
    broken_walk(tmp_path, runner, RuntimeError)
    assert set(runner.ends) == {"canceled"}
    assert runner.ran == ["exit-handler-1/nothing", "exit-handler-1/say"]


@pytest.mark.parametrize("state", [TaskState.RUNNING, TaskState.SUCCEEDED])
def test_listener_that_breaks_down_fails_no_task(tmp_path: Path, state: TaskState) -> None:
    """A listener writes the run's record, the journal and the screen: a full disk, a lost connection, a closed pipe."""
    runner = Leaving(tmp_path / "run")
    told: list[Event] = []

    def fail(event: Event) -> None:
        told.append(event)
        if event.task_id == "exit-handler-1/nothing" and event.state is state:
            raise OSError(28, "No space left on device")

    if state is TaskState.RUNNING:
        runner.over.set()
    broken_walk(tmp_path, runner, OSError, fail)
    assert told[-1].state is state  # it is told nothing after that
    assert "cleanup" not in runner.ran


def test_retry_is_not_waited_for_when_the_walk_has_broken_down(tmp_path: Path) -> None:
    @dsl.pipeline
    def tries() -> None:
        parts.say(text="x").set_retry(3, backoff_duration="3000s")
        parts.nothing()

    retrying = threading.Event()

    class Fails(Leaving):
        def call(self, task: Task) -> Outputs:
            if task.name == "nothing":
                assert retrying.wait(10)
                break_down()
            raise TaskFailed("once more")

    def note(event: Event) -> None:
        if event.state is TaskState.RETRYING:
            retrying.set()

    runner = Fails(tmp_path / "run")
    with pytest.raises(RuntimeError):
        Walker(compiled(tries, tmp_path), {}, runner, IDS, note).run()
    assert runner.ran == ["nothing", "say"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_crash_while_tasks_are_canceled_leaves_them(tmp_path: Path) -> None:
    class Stuck(Leaving):
        def cancel(self) -> None:
            self.ends.append("canceled")
            raise RuntimeError("a defect")

    runner = Stuck(tmp_path / "run", act=lambda: runner.walker.cancel())
    events = broken_walk(tmp_path, runner, RuntimeError)
    assert (runner.ends[0], set(runner.ends[1:])) == ("canceled", {"left"})
    assert "cleanup" not in runner.ran
    assert TaskState.FAILED not in {event.state for event in events}


def test_refused_task_is_not_tried_again(tmp_path: Path) -> None:
    @dsl.pipeline
    def tries() -> None:
        parts.nothing().set_retry(3)

    def refuse() -> None:
        raise TaskRefused("no account", "there is none", "make one")

    runner = Held(tmp_path / "run", refuse)
    runner.held.set()
    events: list[Event] = []
    result = Walker(compiled(tries, tmp_path), {}, runner, IDS, events.append).run()
    assert (result.state, result.error) == (TaskState.FAILED, "task nothing: no account: there is none")
    assert events[-1].message == "no account: there is none\n  next: make one"
    assert len(runner.tasks) == 1


def test_runner_stops_its_tasks_when_it_can_not_leave_them(tmp_path: Path) -> None:
    runner = Held(tmp_path / "run")
    Runner.leave(runner)
    assert runner.ends == ["canceled"]
