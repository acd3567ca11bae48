"""`status`: the runs started on this machine, or the tasks of one."""

import json
import time
from pathlib import Path
from typing import Any

import click

from utils.cli.board import Count, Row, count
from utils.cli.history import INTERRUPTED, run_board, run_state
from utils.cli.options import home_option, output_option
from utils.cli.results import published, result_lines, scores
from utils.durations import format_duration
from utils.ir.model import TaskState
from utils.names import run_object_name
from utils.runners.journal import History
from utils.runners.run_folder import RunFolder, all_runs, find_run
from utils.runners.timestamps import timestamp

_COLORS = {"SUCCEEDED": "green", "FAILED": "red", "RUNNING": "cyan", "CANCELED": "yellow", INTERRUPTED: "yellow"} | {
    "WAITING": "yellow"
}
_COLUMNS = ("RUN", "STATE", "STARTED", "TOOK", "TASKS")


@click.command()
@click.argument("run_id", required=False)
@home_option
@output_option
def status(run_id: str | None, home: Path, output: str) -> None:
    """Show the runs started on this machine, or the tasks of RUN_ID: an id, a part of one, or `latest`."""
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
    ended = history.ended or (time.time() if state == TaskState.RUNNING else history.last)
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
    """A table in plain text. Nothing is cut: a terminal wraps what is too long, a pipe or a file has it whole."""
    rows = [_COLUMNS] + [
        (
            str(run["run_id"]),
            str(run["state"]),
            str(run["started"]).replace("T", " ").removesuffix("Z"),
            format_duration(run["seconds"]),
            str(Count(run["tasks_ended"], run["tasks_skipped"], run["tasks"])),
        )
        for run in runs
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)]
        cells[1] = click.style(cells[1], fg=_COLORS.get(row[1]))
        click.echo("  ".join(cells).rstrip())


def _show_run(folder: RunFolder, output: str) -> None:
    history = folder.history()
    rows = run_board(folder, history).snapshot()
    if output == "json":
        tasks = [_task(folder, history, row) for row in rows]
        ended = {"scores": scores(history.finished), **published(history.finished)}
        click.echo(json.dumps({**_summary(folder), **ended, "task_list": tasks}, indent=1))
        return
    from rich.console import Console

    from utils.cli.view import render

    console = Console()
    summary = _summary(folder)
    console.print(render(rows, folder.run_id, summary["seconds"], time.time(), console.width, len(rows) + 10))
    click.echo(f"\n{summary['state']}; {_where(folder)}")
    for line in result_lines(history.finished):
        click.echo(f"  {line}")


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
