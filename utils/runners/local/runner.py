"""Tasks as processes on this machine: claims are folders, Secrets files, the container's paths are rewritten."""

import itertools
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from utils.cpu import PROGRAMS
from utils.errors import TaskFailed
from utils.ir.check import refuse
from utils.ir.command import executor_input, resolve_command
from utils.ir.model import Event, Outputs, Pipeline, Progress, RunIds, Task, TaskState
from utils.ir.outputs import read_outputs
from utils.ir.runner import Runner
from utils.names import CLAIMS_DIR, CPU_PROGRAMS, PARAMETERS
from utils.runners.journal import Journal
from utils.runners.local import keeper
from utils.runners.local.claims import claim_folder, make_claim, remove_claim
from utils.runners.local.interpreter import check_interpreter, python3_folder
from utils.runners.local.limits import not_mounted, refusals
from utils.runners.local.pod_fields import field_value
from utils.runners.local.process import Keeper, TaskProcess, exit_reason
from utils.runners.local.task_files import (
    SHARED_MEMORY,
    TaskFiles,
    Volume,
    namespace_problem,
    own_temporary,
    unnamed,
    wants_own_temporary,
)
from utils.runners.local.volumes import SecretFiles
from utils.runners.output import failure_text, task_failure
from utils.runners.run_folder import RunFolder
from utils.runners.settings import LocalSettings

_NO_ROOM = 1 << 16  # bytes
# Volumes that live and die with the task.
_SCRATCH = ("empty_dir", "ephemeral")


class LocalRunner(Runner):
    """Runs tasks as processes in the interpreter of the settings. A context manager: leaving it ends every process.

    Args:
        folder: the run's folder, locked by this process.
        settings: interpreter, Secrets, limits.
        ids: the run as placeholders name it.
        journal: told of processes and claims.
    """

    def __init__(self, folder: RunFolder, settings: LocalSettings, ids: RunIds, journal: Journal) -> None:
        self.max_parallel = settings.max_parallel
        self._folder = folder
        self._settings = settings
        self._ids = ids
        self._journal = journal
        self._keeper = Keeper(folder.path, settings.grace)
        self._processes: dict[str, TaskProcess] = {}
        self._numbers = itertools.count()

    def __enter__(self) -> Self:
        private = self._keeper.private
        self._journal.append("run", pid=os.getpid(), private_dir=str(private))
        self._end_earlier()
        self._keeper.__enter__()
        source = Path(self._settings.secrets) if self._settings.secrets else None
        try:
            self._secrets = SecretFiles(source, private / "keys")
            self._bin = python3_folder(self._settings.python, private)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._keeper.__exit__(kind, error, at)

    def check(self, pipeline: Pipeline) -> None:
        packages = {
            p for component in pipeline.components.values() if component.container for p in component.container.packages
        }
        refuse(pipeline, refusals(pipeline, self._folder.arguments, self._own_folders(), namespace_problem))
        check_interpreter(self._settings.python, sorted(packages), self._settings.install_packages)

    def create_claim(self, name: str, size: str, access_modes: Sequence[str], storage_class: str) -> None:
        folder = make_claim(self._folder.claims, name, self._folder.history().claims)
        self._journal.append("claim", name=name)
        folder.mkdir(parents=True, exist_ok=True)

    def delete_claim(self, name: str) -> None:
        remove_claim(self._folder.claims, name, self._folder.history().claims)

    def execute(self, task: Task, emit: Callable[[Event], None]) -> Outputs:
        root = self._folder.task_root(task.id)
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        with self._scratch() as scratch, self._log(task) as (log, path, start):
            files = self._files(task, scratch)
            inputs = files.inputs(task.inputs)
            message = executor_input(task, str(root), inputs)
            variables = self._environment(task, files)
            words = resolve_command(replace(task, inputs=inputs), message, self._ids)
            command = files.command(words, self._needed(variables, task))
            process = TaskProcess(command, variables, root, log, self._settings.grace)
            self._processes[task.id] = process
            claims = [mount.name for mount in task.mounts if mount.kind == "claim"]
            self._journal.append(
                "process", sync=False, task=task.id, pid=process.pid, attempt=task.attempt, claims=claims
            )
            try:
                code, out_of_time = process.wait(
                    _reporter(task.id, emit), self._secrets.sensitive(task), task.timeout_seconds
                )
            finally:
                del self._processes[task.id]
            if out_of_time:
                raise TaskFailed(f"{task.id} ran longer than the {task.timeout_seconds:g} s it has")
            if code != 0:
                reason = failure_text(path, start, exit_reason(code))
                if shutil.disk_usage(root).free < _NO_ROOM:  # then what the log ends with is not the cause
                    what = f"the disk of {self._folder.path} is full"
                    raise TaskFailed(what, reason, f"make room, then: ilab-pipeline resume {self._ids.id}")
                raise task_failure(reason) if code == 1 else TaskFailed(reason)
            return read_outputs(task, str(root), files.place)

    def cancel(self) -> None:
        """Stop every task: SIGTERM, and SIGKILL to what is left when the time to stop is over. Returns when it is."""
        threads = [threading.Thread(target=process.stop, daemon=True) for process in list(self._processes.values())]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def kill(self) -> None:
        """Stop every task now, without time to clean up."""
        keeper.end_processes(str(self._folder.path), grace=0.0)

    def _end_earlier(self) -> None:
        """End what an earlier, killed process of this run left: tasks that still run, files with secrets."""
        keeper.end_processes(str(self._folder.path), grace=self._settings.grace)
        for private in self._folder.history().private_dirs:
            if private != str(self._keeper.private):
                shutil.rmtree(private, ignore_errors=True)

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        """A folder for the task's temporary files and volumes of its own; short, since it may hold sockets."""
        folder = self._keeper.private / str(next(self._numbers))
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def _log(self, task: Task) -> Iterator[tuple[int, Path, int]]:
        """The task's log, opened for appending: descriptor, path, and where this attempt's part starts.

        Attempts follow each other in one file, divided by a line.
        """
        path = self._folder.log(task.id)
        path.parent.mkdir(exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(fd).st_size:
                os.write(fd, f"--- started again {time.strftime('%Y-%m-%d %H:%M:%S')} ---\n".encode())
            yield fd, path, os.fstat(fd).st_size
        finally:
            os.close(fd)

    def _files(self, task: Task, scratch: Path) -> TaskFiles:
        """The task's volumes, mounted if its code names their paths."""
        volumes = []
        for number, mount in enumerate(task.mounts):
            if mount.path.rstrip("/") == SHARED_MEMORY:
                continue
            temporary = mount.kind in _SCRATCH
            if mount.kind == "claim":
                folder = claim_folder(self._folder.claims, self._folder.run_id, mount)
            elif temporary:
                folder = scratch / f"volume-{number}"
                folder.mkdir()
            else:
                folder = self._secrets.folder(mount.kind, mount.name, mount.optional)
            volumes.append(Volume(mount.path, folder, mount.kind in ("secret", "config_map"), temporary))
        code = [*map(str, task.command), *map(str, task.args)]
        values = [*task.inputs.values(), *(value for name, value in task.env.items() if name != PARAMETERS)]
        literal = unnamed((one.path for one in volumes), code, values)
        if literal and (problem := namespace_problem()):
            raise TaskFailed(f"{not_mounted(literal)} ({problem})")
        if wants_own_temporary(volumes, code) and not namespace_problem():
            volumes.append(own_temporary(scratch))
            return TaskFiles(tuple(volumes), scratch, mounted=True)
        return TaskFiles(tuple(volumes), scratch, bool(literal))

    def _needed(self, variables: Mapping[str, str], task: Task) -> list[Path]:
        """Folders that the task needs wherever its volumes are mounted."""
        texts = [*(part for value in variables.values() for part in value.split(os.pathsep)), *task.inputs.values()]
        given = [Path(text) for text in texts if isinstance(text, str) and text.startswith("/")]
        return [*self._own_folders(), *given, *(path.parent for path in given)]

    def _own_folders(self) -> list[Path]:
        """What no volume may hide: the run, its temporary files, the interpreter."""
        program = Path(self._settings.python)
        return [
            self._folder.path,
            self._folder.claims,
            self._keeper.private,
            PROGRAMS,
            *(path.parents[1] for path in (program.absolute(), program.resolve())),
        ]

    def _environment(self, task: Task, files: TaskFiles) -> dict[str, str]:
        variables: dict[str, str] = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ILAB_")},
            "PATH": f"{self._bin}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "PYTHONUNBUFFERED": "1",
            "TMPDIR": str(files.temporary),
            **files.variables(task.env),
        }
        for name, path in task.kubernetes.get("field_env", {}).items():
            variables[name] = field_value(path, task, self._ids.id)
        for source in task.env_from:
            value = self._secrets.variable(source)
            if value is not None:
                variables[source.env] = value
        return {
            **variables,
            CLAIMS_DIR: str(self._folder.claims),
            CPU_PROGRAMS: str(PROGRAMS),
            keeper.RUN_MARK: str(self._folder.path),
            keeper.TASK_MARK: task.id,
        }


def _reporter(task_id: str, emit: Callable[[Event], None]) -> Callable[[str, Progress | None], None]:
    def report(message: str, progress: Progress | None) -> None:
        emit(Event(time.time(), task_id, TaskState.RUNNING, message, progress))

    return report
