"""A run on this machine: how it is shown while it runs, and what is said of it at its end."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from utils.cli.board import Board
from utils.cli.machine_paths import with_paths, with_result_folder
from utils.cli.outcome import exit_code, next_command, tell_failures
from utils.cli.results import collect_report, result_lines, summary
from utils.errors import IlabError
from utils.ir.model import Pipeline, RunResult, TaskState
from utils.runners.local.limits import without_effect
from utils.runners.lost_volume import REMEDY
from utils.runners.run_folder import RunFolder, check_run_id, create_run, new_run_id
from utils.runners.settings import LocalSettings


def start_local(
    pipeline: Pipeline, arguments: dict[str, Any], settings: LocalSettings, home: Path, run_id: str | None, output: str
) -> int:
    """Start a new run on this machine and follow it to its end. Returns the exit code.

    Raises:
        IlabError: it can't run here; then no run is left behind.
    """
    run_id = run_id or new_run_id(pipeline.name)
    check_run_id(run_id)
    arguments = with_result_folder(pipeline, with_paths(arguments), settings, RunFolder(home, run_id).result)
    folder = create_run(home, run_id, pipeline.text, arguments, settings)
    if note := without_effect(pipeline, arguments):
        click.echo(note, err=True)
    try:
        return work(folder, pipeline, output)
    except IlabError:
        if not folder.history().tasks:
            folder.remove()
        raise


def work(folder: RunFolder, pipeline: Pipeline, output: str) -> int:
    """Work on a run until its end, shown on the terminal. Returns the exit code."""
    from utils.cli.view import LiveView, PlainView, SilentView
    from utils.runners.local.session import work_on

    board = Board.of(pipeline)
    board.take_over(folder.history().tasks.values())
    kind = SilentView if output == "json" else LiveView if sys.stdout.isatty() else PlainView
    with kind(board, folder.run_id) as view:
        result = work_on(folder, pipeline, view.on_event, view.on_interrupt)
    code, page = exit_code(result, board), collect_report(folder)
    if output == "json":
        ended = summary(folder, result, board, code, folder.history().finished)
        click.echo(json.dumps(ended | {"page": str(page or "")}, indent=1))
    _explain(folder, result, board)
    if page:
        click.echo(f"  page: {page}", err=True)
    return code


def _explain(folder: RunFolder, result: RunResult, board: Board) -> None:
    """Print on stderr what failed, where to read more, and the next command."""
    from utils.runners.local.session import lost_volumes

    if result.state is TaskState.SUCCEEDED:
        click.echo(f"succeeded; files in {folder.path}", err=True)
        for line in result_lines(folder.history().finished):
            click.echo(f"  {line}", err=True)
        _tell_kept(folder)
        return
    if result.state is TaskState.CANCELED:
        click.echo("\ninterrupted; all tasks were stopped", err=True)
        click.echo(f"  resume: {next_command(folder, 'resume')}\n  give up: {next_command(folder, 'clean')}", err=True)
        return
    tell_failures(folder, result, board)
    lost = lost_volumes(folder, folder.history())
    if lost:
        click.echo(f"  resume: not possible, the run's exit task deleted the volume {', '.join(lost)}", err=True)
        click.echo(f"    {REMEDY}", err=True)
    else:
        click.echo(f"  resume: {next_command(folder, 'resume')}", err=True)
        _tell_kept(folder)


def _tell_kept(folder: RunFolder) -> None:
    """Print which volume is kept after the run's end, and how to remove it."""
    if claims := folder.own_claims():
        places = ", ".join(map(str, claims))
        click.echo(f"  its volume is kept: {places}; remove it with the run: {next_command(folder, 'clean')}", err=True)
