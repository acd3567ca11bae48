"""`logs`: what the tasks of a run printed."""

import time
from collections.abc import Callable
from pathlib import Path

import click

from utils.cli.history import run_board
from utils.cli.options import home_option, option
from utils.errors import UsageError
from utils.runners.output import MessageFilter
from utils.runners.run_folder import RunFolder, find_run

_POLL_SECONDS = 0.2


@click.command()
@click.argument("run_id")
@click.argument("task", required=False)
@option("-f", "--follow", is_flag=True, help="Continue until the run ends.")
@option("--raw", is_flag=True, help="Include the lines of KFP's executor around the task.")
@home_option
def logs(run_id: str, task: str | None, follow: bool, raw: bool, home: Path) -> None:
    """Print the output of the tasks of RUN_ID (an id, a part of one, or `latest`), or only of TASK.

    TASK is the name in `status`, the id, or the end of the id.
    """
    folder = find_run(home, run_id)
    wanted = _selector(folder, task)
    tails: dict[str, Tail] = {}
    several = task is None
    last = ""
    while True:
        running = folder.is_running()
        for task_id in _started(folder, wanted):
            tail = tails.setdefault(task_id, Tail(folder.log(task_id), raw))
            text = tail.read(final=not (follow and running))
            if text and several and task_id != last:
                click.secho(f"==> {task_id} <==", bold=True)
            if text:
                click.echo(text, nl=False)
                last = task_id
        if not (follow and running):
            if not last:
                click.echo(f"nothing was printed by {task or f'any task of {folder.run_id}'}", err=True)
            return
        time.sleep(_POLL_SECONDS)


class Tail:
    """New lines of a growing log file, without those of the KFP executor unless `raw`."""

    def __init__(self, path: Path, raw: bool) -> None:
        self._path = path
        self._position = 0
        self._rest = b""
        self._keep = None if raw else MessageFilter()

    def read(self, final: bool) -> str:
        """The new lines; at the end of the log also an incomplete one."""
        if not self._path.exists():
            return ""
        with self._path.open("rb") as file:
            file.seek(self._position)
            data = self._rest + file.read()
            self._position = file.tell()
        whole = len(data) if final else data.rfind(b"\n") + 1
        self._rest = data[whole:]
        text = data[:whole].decode(errors="replace")
        if self._keep is None:
            return text
        return "".join(line for line in text.splitlines(keepends=True) if self._keep(line))


def _started(folder: RunFolder, wanted: Callable[[str], bool]) -> list[str]:
    """Ids of the wanted tasks that have a log, in the order they started."""
    records = sorted(folder.history().tasks.values(), key=lambda record: record.started)
    return [record.id for record in records if record.attempts and wanted(record.id)]


def _selector(folder: RunFolder, task: str | None) -> Callable[[str], bool]:
    """Which task ids `task` selects: an id, the end of one, or the name that `status` shows; None selects all.

    Raises:
        UsageError: it does not name a task of the run.
    """
    if task is None:
        return lambda task_id: True
    rows = run_board(folder, folder.history()).snapshot()
    named = {row.id for row in rows if row.label == task or row.id == task or row.id.endswith("/" + task)}
    if not named:
        raise UsageError(
            f"the run {folder.run_id} has no task {task}",
            f"its tasks are: {', '.join(row.id.split('/')[-1] for row in rows)}",
            f"see them with: ilab-pipeline status {folder.run_id}",
        )
    return lambda task_id: task_id in named or task_id.endswith("/" + task)
