"""One task's process: started in a session of its own, its output copied to a log, ended with all its children."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from utils.errors import TaskFailed
from utils.ir.model import Progress
from utils.runners.local import keeper
from utils.runners.output import Output

_LAST_WORDS_SECONDS = 5.0


class TaskProcess:
    """A running task. `wait` for it; `stop` may be called from another thread meanwhile.

    Args:
        command: argv, run as it is.
        environment: the whole environment; RUN_MARK and TASK_MARK in it are how its children are found.
        log: file descriptor of the log, open for appending.
        grace: seconds between SIGTERM and SIGKILL when it is stopped.

    Raises:
        TaskFailed: the program can't be started.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], cwd: Path, log: int, grace: float
    ) -> None:
        self._run_dir = environment[keeper.RUN_MARK]
        self._task_id = environment[keeper.TASK_MARK]
        self._log = log
        self._grace = grace
        self._stopping = threading.Lock()
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=cwd,
                start_new_session=True,
            )
        except OSError as error:
            raise TaskFailed(
                f"{self._task_id} could not be started",
                f"{command[0]}: {error.strerror}",
                "parameters of one task may hold 128 kB"
                if error.errno == errno.E2BIG
                else "see whether this program is there",
            ) from error
        self.pid = self._process.pid

    def wait(
        self, report: Callable[[str, Progress | None], None], secrets: tuple[str, ...], timeout: float | None
    ) -> tuple[int, bool]:
        """Wait for the end, then end what is left of its children. Returns the exit code, and whether time ran out.

        A process that nobody could end may hold the pipe and write still: to the log, but it is not reported.
        """
        reporting, ended = threading.Lock(), threading.Event()

        def tell(message: str, progress: Progress | None) -> None:
            with reporting:
                if not ended.is_set():
                    report(message, progress)

        log = os.dup(self._log)  # the task's number may be that of another task's log by then
        reader = self._copying(Output(log, tell, secrets), log)
        out_of_time = threading.Event()

        def time_out() -> None:
            out_of_time.set()
            self.stop()

        timer = threading.Timer(timeout, time_out) if timeout else None
        if timer:
            timer.start()
        code = self._process.wait()
        if timer:
            timer.cancel()
        with self._stopping:  # a stop under way gives the children their time
            keeper.kill_processes(self._run_dir, self._task_id)
        reader.join(timeout=_LAST_WORDS_SECONDS)  # ends with the last process that held the pipe
        with reporting:
            ended.set()
        return code, out_of_time.is_set()

    def _copying(self, output: Output, log: int) -> threading.Thread:
        """A thread that copies the task's output to its end, and then closes the log."""
        pipe = self._process.stdout
        assert pipe is not None

        def copy() -> None:
            try:
                output.copy(pipe.fileno())
            finally:
                os.close(log)
                pipe.close()

        thread = threading.Thread(target=copy, daemon=True)
        thread.start()
        return thread

    def stop(self) -> None:
        """SIGTERM to the task and its children, SIGKILL to what is left when the time to stop is over."""
        with self._stopping:
            keeper.end_processes(self._run_dir, self._task_id, self._grace)


class Keeper:
    """The run's keeper process and the private folder it removes, for the time of a `with` block.

    Args:
        run_dir: the run's folder, which marks the processes of its tasks.
        grace: seconds between SIGTERM and SIGKILL.
    """

    def __init__(self, run_dir: Path, grace: float) -> None:
        self._run_dir = run_dir
        self._grace = grace
        self.private = Path(tempfile.mkdtemp(prefix="ilab-"))

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", keeper.__file__, str(self._run_dir), str(self.private), str(self._grace)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Let the keeper do its work: end what is left of the run's processes, remove the private folder."""
        self._process.communicate()
        shutil.rmtree(self.private, ignore_errors=True)  # had someone killed the keeper


def exit_reason(code: int) -> str:
    """An exit code in words: "exit code 1", "killed by SIGKILL (out of memory?)"."""
    number = -code if code < 0 else code - 128  # sh passes on a child's signal as 128 + number
    if number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS):
        hint = " (out of memory?)" if number == signal.SIGKILL else ""
        return f"killed by {signal.Signals(number).name}{hint}"
    return f"exit code {code}"
