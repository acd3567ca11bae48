"""`status`, `logs` and `clean`: past and present runs of this machine."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from utils.cli.board import Board, Count, Row, count
from utils.cli.options import home_option, option, output_option
from utils.durations import format_duration
from utils.errors import UsageError
from utils.ir.model import TaskState
from utils.names import run_object_name
from utils.runners.journal import History
from utils.runners.output import MessageFilter
from utils.runners.run_folder import RunFolder, all_runs, find_run
from utils.runners.settings import ClusterSettings
from utils.runners.timestamps import timestamp

_POLL_SECONDS = 0.2
_STYLES = {"succeeded": "green", "failed": "red", "running": "cyan", "interrupted": "yellow"}


def run_state(folder: RunFolder, history: History) -> str:
    """running, succeeded, failed or interrupted (stopped or killed before its end)."""
    if folder.is_running():
        return "running"
    ends = {TaskState.SUCCEEDED: "succeeded", TaskState.FAILED: "failed"}
    return ends.get(history.state, "interrupted") if history.state else "interrupted"


def run_board(folder: RunFolder, history: History) -> Board:
    """The rows of a run from its journal; a task that was running when the run was killed counts as stopped."""
    from utils.ir.load import load

    board = Board.of(load(folder.package))
    for task in (history if folder.is_running() else history.interrupted()).tasks.values():
        board.put(task)
    return board


@click.command()
@click.argument("run_id", required=False)
@home_option
@output_option
def status(run_id: str | None, home: Path, output: str) -> None:
    """Show the runs started on this machine, or the tasks of RUN_ID."""
    if run_id:
        _show_run(find_run(home, run_id), output)
        return
    runs = [_summary(folder) for folder in all_runs(home)]
    if output == "json":
        click.echo(json.dumps(runs, indent=1))
    elif not runs:
        click.echo(f"no runs in {home}")
    else:
        _print_runs(runs)


def _summary(folder: RunFolder) -> dict[str, Any]:
    history = folder.history()
    state = run_state(folder, history)
    ended = history.ended or (time.time() if state == "running" else history.last)
    tasks = count(run_board(folder, history).snapshot())
    return {
        "run_id": folder.run_id,
        "state": state,
        "started": timestamp(history.started),
        "seconds": round(max(0.0, ended - history.started), 1) if history.started else 0.0,
        "tasks_ended": tasks.ended,
        "tasks_skipped": tasks.skipped,
        "tasks": tasks.total,
        "error": history.error,
        "folder": str(folder.path),
        "place": f"kubernetes, {folder.cluster_settings}" if folder.cluster_settings else "this machine",
    }


def _print_runs(runs: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bright_black")
    for name in ("RUN", "STATE", "STARTED", "TOOK", "TASKS"):
        table.add_column(name, no_wrap=True, overflow="ellipsis" if name == "RUN" else "fold")
    for run in runs:
        table.add_row(
            run["run_id"],
            Text(run["state"], style=_STYLES[run["state"]]),
            run["started"].replace("T", " ").removesuffix("Z"),
            format_duration(run["seconds"]),
            str(Count(run["tasks_ended"], run["tasks_skipped"], run["tasks"])),
        )
    Console(soft_wrap=True).print(table)


def _show_run(folder: RunFolder, output: str) -> None:
    history = folder.history()
    rows = run_board(folder, history).snapshot()
    if output == "json":
        tasks = [_task(folder, history, row) for row in rows]
        click.echo(json.dumps({**_summary(folder), "task_list": tasks}, indent=1))
        return
    from rich.console import Console

    from utils.cli.view import render

    console = Console()
    summary = _summary(folder)
    console.print(render(rows, folder.run_id, summary["seconds"], time.time(), console.width, len(rows) + 10))
    click.echo(f"\n{summary['state']}; {_where(folder)}")


def _where(folder: RunFolder) -> str:
    """Where a run and its files are."""
    settings = folder.cluster_settings
    if settings is None:
        return f"files in {folder.path}"
    name = run_object_name(folder.run_id)
    return f"the run is configmap/{name} in {settings}; logs and a copy of its journal in {folder.path}"


def _task(folder: RunFolder, history: History, row: Row) -> dict[str, Any]:
    record = history.tasks.get(row.id)
    log = folder.log(row.id)
    return {
        "id": row.id,
        "state": row.state.value,
        "started": timestamp(row.started),
        "seconds": round(row.seconds(time.time()), 3),
        "attempts": record.attempts if record else 0,
        "message": row.message,
        "log": str(log) if log.exists() else "",
    }


@click.command()
@click.argument("run_id")
@click.argument("task", required=False)
@option("-f", "--follow", is_flag=True, help="Continue until the run ends.")
@option("--raw", is_flag=True, help="Include the lines of KFP's executor around the task.")
@home_option
def logs(run_id: str, task: str | None, follow: bool, raw: bool, home: Path) -> None:
    """Print the output of the tasks of RUN_ID, or only of TASK (its name in `status`, its id, or the end of its id)."""
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
                click.echo(f"nothing was printed by {task or f'any task of {run_id}'}", err=True)
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


@click.command()
@click.argument("run_ids", nargs=-1, metavar="[RUN_ID]...")
@option("--all", "every", is_flag=True, envvar="ILAB_CLEAN_ALL", help="Every run.")
@option("--finished", is_flag=True, envvar="ILAB_CLEAN_FINISHED", help="Every run that succeeded.")
@option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@home_option
def clean(run_ids: tuple[str, ...], every: bool, finished: bool, yes: bool, home: Path) -> None:
    """Remove runs with their logs and volumes, also from their cluster. Active runs are left alone."""
    if sum((bool(run_ids), every, finished)) != 1:
        raise UsageError("it is not clear which runs to remove", "", "give one of RUN_ID, --all and --finished")
    folders = [find_run(home, run_id) for run_id in run_ids] or list(_chosen(home, finished))
    busy = [folder.run_id for folder in folders if folder.is_running()]
    if busy and run_ids:
        raise UsageError(f"a process is working on {', '.join(busy)}", "", "stop it first: Ctrl-C where it runs")
    folders = [folder for folder in folders if folder.run_id not in busy]
    if not folders:
        click.echo("nothing to remove")
        return
    for folder in folders:
        places = [folder.path, *folder.own_claims()]
        settings = folder.cluster_settings
        there = f", and in {settings} its ConfigMap with everything it owns" if settings else ""
        click.echo(f"{folder.run_id}  {_size(sum(_bytes(p) for p in places))}  {', '.join(map(str, places))}{there}")
    if not yes and not click.confirm(f"Remove {len(folders)} run{'s' if len(folders) > 1 else ''} for good?"):
        sys.exit(1)
    for folder in folders:
        with folder.locked():
            if settings := folder.cluster_settings:
                _remove_from_cluster(settings, folder.run_id)
            folder.remove()


def _remove_from_cluster(settings: ClusterSettings, run_id: str) -> None:
    from utils.runners.kubernetes.tidy import remove_run

    if not remove_run(settings, run_id):
        click.echo(f"{run_id} was already deleted in {settings}", err=True)


def _chosen(home: Path, finished: bool) -> Iterator[RunFolder]:
    for folder in all_runs(home):
        if not finished or run_state(folder, folder.history()) == "succeeded":
            yield folder


def _bytes(path: Path) -> int:
    return sum(f.lstat().st_size for f in path.rglob("*") if f.is_file() and not f.is_symlink())


def _size(count_of_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count_of_bytes < 1000:
            return f"{count_of_bytes:.3g} {unit}"
        count_of_bytes /= 1000
    return f"{count_of_bytes:.3g} TB"
