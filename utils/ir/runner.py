"""Where a task runs: the small interface between the walker and the runners."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from utils.ir.model import Event, Outputs, Pipeline, Task


class Runner(ABC):
    """Runs tasks. The walker calls `execute` from several threads at once."""

    max_parallel: int = 4
    """How many tasks may execute at the same time."""

    runs_containers: bool = False
    """Whether it can run a component's image; otherwise only Python functions carried in the pipeline file run."""

    def check(self, pipeline: Pipeline) -> None:  # noqa: B027 - a runner with nothing to refuse needs no override
        """Reject, before anything starts, what this runner can't run.

        Raises:
            PipelineError: names every task that this runner can't run.
            PrerequisiteError: something that this runner needs is missing.
        """

    @abstractmethod
    def create_claim(self, name: str, size: str, access_modes: Sequence[str], storage_class: str) -> None:
        """Create the volume claim `name`. A claim that this run created earlier is kept unchanged."""

    @abstractmethod
    def delete_claim(self, name: str) -> None:
        """Delete the volume claim `name`, if it exists."""

    @abstractmethod
    def execute(self, task: Task, emit: Callable[[Event], None]) -> Outputs:
        """Run one task to its end and return its outputs.

        `emit` receives events about progress while the task runs (state RUNNING, `message`, `progress`). The runner
        must enforce the task's `timeout_seconds`.

        Raises:
            TaskFailed: the task failed, ran out of time, or was stopped by `cancel`.
            PrerequisiteError: the task lacks something; it is not tried again.
            Exception: how the task ended, or whether, is not known, or this runner broke down. The walk ends.
        """

    @abstractmethod
    def cancel(self) -> None:
        """Stop every task that is executing. Tasks started afterwards (exit handlers) run as usual."""

    def leave(self) -> None:
        """The walk ends before the tasks do: make every `execute` return.

        A runner whose tasks live on without it leaves them alone, for a later walk to find. Tasks of any other runner
        are stopped.
        """
        self.cancel()
