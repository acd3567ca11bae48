"""Where a task runs: the one small interface between the walker and the places."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from utils.ir.model import Event, Outputs, Pipeline, Task


class Runner(ABC):
    """A place where tasks run. The walker calls `execute` from several threads at once."""

    max_parallel: int = 4
    """How many tasks may execute at the same time."""

    runs_containers: bool = False
    """Whether it can run a component's image; without, only Python functions carried in the pipeline file run."""

    def check(self, pipeline: Pipeline) -> None:  # noqa: B027 - a runner with nothing to refuse needs no override
        """Refuse, before anything starts, what this place can't run.

        Raises:
            PipelineError: names every task this place can't run.
            PrerequisiteError: something this place needs is missing.
        """

    @abstractmethod
    def create_claim(self, name: str, size: str, access_modes: Sequence[str], storage_class: str) -> None:
        """Make the volume claim `name`. One that this run made earlier is kept as it is."""

    @abstractmethod
    def delete_claim(self, name: str) -> None:
        """Delete the volume claim `name`; one that is gone already is fine."""

    @abstractmethod
    def execute(self, task: Task, emit: Callable[[Event], None]) -> Outputs:
        """Run one task to its end and return what it made.

        `emit` takes events about progress while the task runs (state RUNNING, `message`, `progress`).
        The task's `timeout_seconds` is for the runner to keep.

        Raises:
            TaskFailed: the task failed, ran out of time, or was stopped by `cancel`.
        """

    @abstractmethod
    def cancel(self) -> None:
        """Stop every task that executes now. Tasks started afterwards (exit handlers) run as usual."""
