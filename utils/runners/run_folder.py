"""Where runs on this machine live: a home with one folder per run and one per volume claim.

<home>/runs/<run id>/    journal.jsonl  run.json  pipeline.yaml  logs/<task>.log  tasks/<task>/
<home>/claims/<claim>/
<home>/results/<run id>/    the model and its scores, where no object store takes them

A run on a cluster lives there, as the ConfigMap `ilab-<run id>`; its folder here has logs and a copy of the journal.
"""

import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from utils.errors import UsageError
from utils.names import claim_name, is_object_name
from utils.runners.journal import History, read_history
from utils.runners.settings import ClusterSettings, LocalSettings
from utils.runners.timestamps import timestamp

_LONGEST_RUN_ID = 57
_LONGEST_PREFIX = 30
# A shorter part of an id may name a run that nobody meant, and `clean` removes runs.
_SHORTEST_PART = 4
LATEST = "latest"
"""Stands for the newest run wherever a command takes the id of one."""

RunSettings = LocalSettings | ClusterSettings


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run."""

    home: Path
    run_id: str

    @property
    def path(self) -> Path:
        return self.home / "runs" / self.run_id

    @property
    def claims(self) -> Path:
        """The folder of all volume claims of this home."""
        return self.home / "claims"

    @property
    def result(self) -> Path:
        """Where the result goes if nothing else is said. It is not removed with the run."""
        return self.home / "results" / self.run_id

    @property
    def journal(self) -> Path:
        return self.path / "journal.jsonl"

    @property
    def package(self) -> Path:
        """The pipeline file as it was when the run started."""
        return self.path / "pipeline.yaml"

    def log(self, task_id: str) -> Path:
        return self.path / "logs" / (task_id.replace("/", ".") + ".log")

    def task_root(self, task_id: str) -> Path:
        """Where a task's outputs and artifacts go."""
        return self.path / "tasks" / task_id

    def history(self) -> History:
        return read_history(self.journal)

    def local_settings(self) -> LocalSettings:
        """How the run works on this machine.

        Raises:
            UsageError: the run lives on a cluster.
        """
        if cluster := self.cluster_settings:
            raise UsageError(f"the run {self.run_id} lives on a cluster", f"in {cluster}")
        return LocalSettings(**self._stored()["settings"])

    @property
    def cluster_settings(self) -> ClusterSettings | None:
        """Where on a cluster the run lives; None for one on this machine."""
        cluster = self._stored().get("cluster")
        return ClusterSettings(**cluster) if cluster else None

    @property
    def arguments(self) -> dict[str, Any]:
        arguments: dict[str, Any] = self._stored()["arguments"]
        return arguments

    @property
    def created(self) -> str:
        """UTC, RFC 3339."""
        return str(self._stored()["created"])

    def _stored(self) -> dict[str, Any]:
        stored: dict[str, Any] = json.loads((self.path / "run.json").read_text())
        return stored

    def store(self, run_id: str, arguments: dict[str, Any], settings: RunSettings, created: str) -> None:
        """Write what `arguments`, `created` and one of the settings read."""
        key = "cluster" if isinstance(settings, ClusterSettings) else "settings"
        content = {"run_id": run_id, "created": created, "arguments": arguments, key: asdict(settings)}
        part = self.path / "run.json.part"
        part.write_text(json.dumps(content, indent=1))
        part.replace(self.path / "run.json")

    def own_claims(self) -> list[Path]:
        """Folders of the claims that belong to this run: the one named after it, and those its CreatePVC tasks made."""
        if not self.claims.is_dir():
            return []
        made = set(self.history().claims)
        return sorted(p for p in self.claims.iterdir() if p.name in made or p.name == claim_name(self.run_id))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process; the kernel releases it however the process ends.

        Raises:
            UsageError: another process works on the run.
        """
        fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(fd, 32, 0).decode().strip()
                raise UsageError(
                    f"another process works on the run {self.run_id}",
                    f"process {holder} holds it" if holder else "",
                    f"watch it with: ilab-pipeline status {self.run_id}",
                ) from None
            os.ftruncate(fd, 0)
            os.pwrite(fd, str(os.getpid()).encode(), 0)
            yield
        finally:
            os.close(fd)

    def is_running(self) -> bool:
        """Whether a process works on the run now."""
        try:
            fd = os.open(self.path / "lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def places(self) -> list[Path]:
        """All its folders: its claims, what the demo that started it keeps, and last its own."""
        demo = self.home / "demo" / self.run_id
        return [*self.own_claims(), *([demo] if demo.is_dir() else []), self.path]

    def remove(self) -> None:
        """Delete the run with all its folders."""
        for place in self.places():
            shutil.rmtree(place)


def create_run(home: Path, run_id: str, package: str, arguments: dict[str, Any], settings: RunSettings) -> RunFolder:
    """Make the folder of a new run; `package` is the text of its pipeline file.

    Raises:
        UsageError: the id is taken, or can't name a run.
    """
    check_run_id(run_id)
    folder = RunFolder(home, run_id)
    folder.claims.mkdir(parents=True, exist_ok=True)
    # Made aside and then renamed: a run's folder is whole from its first moment.
    made = RunFolder(home, f".{run_id}.{os.getpid()}")
    made.path.mkdir(parents=True, mode=0o700)
    try:
        (made.path / "logs").mkdir()
        made.package.write_text(package)
        made.store(run_id, arguments, settings, timestamp(time.time()))
        made.path.rename(folder.path)
    except OSError as error:
        shutil.rmtree(made.path)
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        raise UsageError(
            f"there is a run {run_id} already",
            f"in {folder.path}",
            f"choose another id, or resume that run: ilab-pipeline resume {run_id}",
        ) from None
    return folder


def find_run(home: Path, run_id: str) -> RunFolder:
    """The folder of a run.

    Args:
        run_id: its id; a part of it, of four characters or more, that no other run has; or `latest`.

    Raises:
        UsageError: no run has it, or several do.
    """
    folder = RunFolder(home, run_id)
    if is_run_id(run_id) and folder.path.is_dir():
        return folder
    runs = all_runs(home)
    part = run_id if len(run_id) >= _SHORTEST_PART else None
    found = runs[-1:] if run_id == LATEST else [run for run in runs if part and part in run.run_id]
    if len(found) == 1:
        return found[0]
    last = ", ".join(run.run_id for run in (found or runs)[-5:])
    raise UsageError(
        f"{len(found) or 'no'} runs in {home} match {run_id!r}",
        f"the last ones are: {last}" if last else "there are no runs yet",
        "list them with: ilab-pipeline status",
    )


def all_runs(home: Path) -> list[RunFolder]:
    """Every run of a home, the oldest first."""
    runs = home / "runs"
    if not runs.is_dir():
        return []
    folders = [RunFolder(home, path.name) for path in runs.iterdir() if is_run_id(path.name)]
    return sorted(folders, key=lambda folder: (folder.created, folder.run_id))


def new_run_id(pipeline: str) -> str:
    """`<pipeline>-YYYYMMDD-HHMMSS-xxxx` (UTC), a valid name for Kubernetes objects, and so is `ilab-<run id>`.

    A pipeline's own `ilab` is left out, since the objects' names start with it: runs of `ilab` are `run-…`.
    """
    name = re.sub(r"[^a-z0-9]+", "-", pipeline.lower()).strip("-")
    prefix = re.sub(r"^ilab(-|$)", "", name)[:_LONGEST_PREFIX].strip("-") or "run"
    return f"{prefix}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"


def is_run_id(run_id: str) -> bool:
    """Whether it can name a run, whose objects are named after it: the rest of their names takes some characters."""
    return len(run_id) <= _LONGEST_RUN_ID and is_object_name(run_id, label=True)


def check_run_id(run_id: str) -> None:
    """Refuse an id that can't name Kubernetes objects: 1 to 57 small letters, digits and dashes.

    Raises:
        UsageError: it can't name them.
    """
    if not is_run_id(run_id):
        raise UsageError(
            f"{run_id!r} can't be the id of a run",
            "it names volumes and folders: 1 to 57 small letters, digits and dashes, a letter or digit at both ends",
            "choose another --run-id",
        )
