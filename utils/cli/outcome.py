"""How a run ended, as an exit code and in words."""

import os
from collections.abc import Collection

import click

from utils.cli.board import Board
from utils.cli.options import default_home
from utils.errors import PrerequisiteError
from utils.ir.model import RunResult, TaskState
from utils.runners.output import findings_of, log_end
from utils.runners.run_folder import RunFolder

# A pipeline's task of this name checks what the run needs; when it fails, the exit code says so.
_CHECKING_TASK = "prerequisites"
INTERRUPTED = 130
WAITS = 5
"""Exit code of a run that waits for a person."""


def exit_code(result: RunResult, board: Board) -> int:
    """0 success, 1 failed, 3 when it was the task that checks prerequisites, 5 waiting for review, 130 interrupted."""
    if result.state is TaskState.WAITING:
        return WAITS
    failed = {row.id.split("/")[-1] for row in board.snapshot() if row.state is TaskState.FAILED}
    return code_of(result.state is TaskState.SUCCEEDED, result.state is TaskState.CANCELED, failed)


def code_of(succeeded: bool, stopped: bool, failed: Collection[str]) -> int:
    """The exit code of a run whose tasks of the names `failed` failed."""
    if stopped:
        return INTERRUPTED
    if succeeded:
        return 0
    return PrerequisiteError.exit_code if _CHECKING_TASK in failed else 1


def tell_failures(folder: RunFolder, result: RunResult, board: Board) -> None:
    """Print on stderr what failed, or what waits for a person, and where its log is."""
    for row in board.snapshot():
        if row.state is TaskState.WAITING:
            click.secho(f"\n{row.label} is {row.message}", fg="yellow", err=True)
    rows = [row for row in board.snapshot() if row.state is TaskState.FAILED]
    failed = sorted(rows, key=lambda row: row.ended)
    for row in failed:
        log = folder.log(row.id)
        click.secho(f"\n{row.label} failed", fg="red", bold=True, err=True)
        findings = findings_of(log_end(log)) if log.exists() else ""
        if findings:
            click.echo(findings, err=True)
        click.echo(f"error: {row.message}", err=True)
        if log.exists():
            click.echo(f"  log: {log}", err=True)
    if not failed and result.state is not TaskState.WAITING:
        click.echo(f"\nerror: {result.error}", err=True)


def next_command(folder: RunFolder, command: str) -> str:
    """The next command, with --home if the user needs it."""
    elsewhere = folder.home != default_home().absolute() and "ILAB_HOME" not in os.environ
    return f"ilab-pipeline {command} {folder.run_id}" + (f" --home {folder.home}" if elsewhere else "")
