"""Tasks as their pods run them: KFP's own command, the image's interpreter, a user without name or home."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.images.environments import environment
from utils.errors import TaskFailed
from utils.ir.command import executor_input, resolve_command
from utils.ir.model import Event, Outputs, RunIds, Task
from utils.ir.outputs import read_outputs
from utils.ir.runner import Runner
from utils.runners.local.volumes import rewrite

# As a restricted-v2 SCC gives it: no user of the image, no entry in its passwd, group 0.
ANY_UID = "1000680000"
ANY_USER = ("setpriv", "--reuid", ANY_UID, "--regid", "0", "--clear-groups", "--no-new-privs")
# Where the interpreter lies in a home that only root may enter: the right to read, not to write.
READING = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
IDS = RunIds(name="run-1", id="run-1", root="/pipeline-root", created="2026-01-02T03:04:05Z")


def any_user(python: Path) -> tuple[tuple[str, ...], str]:
    """What to put before a command so that a user without a name runs it; () and the reason where that can't be."""
    if os.geteuid() != 0:
        return (), "only root can start tasks as another user: they run as this one"
    if not shutil.which("setpriv"):
        return (), "there is no setpriv: tasks run as root"
    problem = ""
    for prefix in (ANY_USER, (*ANY_USER, *READING)):
        done = subprocess.run([*prefix, python, "-c", "import kfp"], capture_output=True, text=True, cwd="/")
        if done.returncode == 0:
            return prefix, ""
        problem = done.stderr.strip()[-200:]
    return (), f"another user can't read {python}: {problem}"


class PodRunner(Runner):
    """Executes the tasks of one image in its environment and asks `stand_in` to do the work of all others.

    Args:
        folder: for the tasks' files; the run's volume is `data` in it.
        image: the image whose tasks are executed.
        secrets: name of a Secret or ConfigMap to the folder with its keys; those that are not here are empty.
        env: variables that KFP's pod has from elsewhere.
        stand_in: does on the volume what a task of another image would do.
        may_fail: tasks whose failure does not end the walk.
    """

    max_parallel = 2

    def __init__(
        self,
        folder: Path,
        image: str,
        secrets: dict[str, Path],
        env: dict[str, str],
        stand_in: Callable[[Path], None],
        may_fail: tuple[str, ...] = (),
    ) -> None:
        self.folder, self.image, self.secrets, self.env = folder, image, secrets, env
        self.stand_in, self.may_fail = stand_in, may_fail
        self.python = environment(image) / "bin" / "python3"
        self.prefix, self.why_not = any_user(self.python)
        self.logs: dict[str, str] = {}
        self.failed: list[str] = []
        self.data, self.empty, self.home = (self._made(name, mode) for name, mode in FOLDERS)

    def _made(self, name: str, mode: int) -> Path:
        path = self.folder / name
        path.mkdir(parents=True)
        path.chmod(mode)
        return path

    def create_claim(self, *_: object) -> None:
        raise AssertionError("our pipeline makes its claim in a task")

    def delete_claim(self, name: str) -> None:
        raise AssertionError("our pipeline deletes its claim in a task")

    def cancel(self) -> None:
        pass

    def execute(self, task: Task, emit: Callable[[Event], None]) -> Outputs:
        if task.image != self.image:
            self.stand_in(self.data)
            return Outputs()
        root = self._made(f"tasks/{task.name}", 0o777)
        mounts = [
            (m.path, self.data if m.kind == "claim" else self.secrets.get(m.name, self.empty)) for m in task.mounts
        ]
        given = {name: rewrite(v, mounts) if isinstance(v, str) else v for name, v in task.inputs.items()}
        message = executor_input(task, str(root), given)
        command = resolve_command(replace(task, inputs=given), message, IDS)
        # Nothing of this machine's own environment, as in a pod; what pipeline.yaml sets comes last.
        env = {
            "PATH": f"{self.python.parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.home),
            **self.env,
            **{name: rewrite(value, mounts) for name, value in task.env.items()},
        }
        done = subprocess.run(
            [*self.prefix, *command], cwd="/", env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            stdin=subprocess.DEVNULL, timeout=120,
        )  # fmt: skip
        self.logs[task.name] = done.stdout
        if done.returncode and task.name not in self.may_fail:
            raise TaskFailed(f"{task.name} ended with {done.returncode}: {done.stdout[-4000:]}")
        if done.returncode:
            self.failed.append(task.name)
        return read_outputs(task, str(root))


# Name and mode: the volume and the outputs are writable, Secrets and the image's home are not.
FOLDERS = (("data", 0o777), ("empty", 0o555), ("home", 0o555))
