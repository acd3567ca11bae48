"""How a run on a cluster is shown: its progress, and the summary at its end."""

import json
import sys
import traceback

import click

from utils.cli.board import Board
from utils.cli.outcome import exit_code, tell_failures
from utils.cli.results import result_lines, summary
from utils.cli.view import PlainView, SilentView, View
from utils.errors import IlabError, NotFollowed
from utils.ir.model import Outputs, TaskState
from utils.names import run_object_name
from utils.runners.kubernetes.request import RunRequest
from utils.runners.kubernetes.session import ClusterResult, Listener, run_on_cluster
from utils.runners.lost_volume import REMEDY
from utils.runners.run_folder import RunFolder
from utils.runners.settings import ClusterSettings


def print_dry_run(request: RunRequest) -> int:
    """Print what the run would create as YAML for `kubectl apply -f -`. Returns the exit code.

    Raises:
        IlabError: as the run itself would.
    """
    from utils.cli.foreseen import foresee
    from utils.runners.kubernetes.dry_run import as_yaml, planned_manifests

    click.echo(as_yaml(planned_manifests(request, foresee)), nl=False)
    return 0


def run_on_kubernetes(request: RunRequest, output: str = "text", again: str = "") -> int:
    """Run on a cluster to the end, shown on the terminal. Returns the exit code.

    Args:
        output: `text`, or `json` for one document on standard output.
        again: the command that resumes the run, for messages.

    Raises:
        IlabError: it can't run there, can no longer be followed, or has ended and may not delete all it created.
    """
    board = Board.of(request.pipeline)
    board.leave_out(request.skip)
    try:
        with _view(output, board, request.run_id) as view:
            result = run_on_cluster(request, Listener(view.on_event, view.on_interrupt, view.on_notice))
    except NotFollowed as error:
        if not isinstance(error.__cause__, IlabError | OSError):
            traceback.print_exception(error.__cause__)
        if output == "json":
            left = ClusterResult(TaskState.RUNNING, str(error), Outputs(), RunFolder(request.home, request.run_id))
            _print_json(left, board, error.exit_code)
        raise
    code = exit_code(result, board)
    if output == "json":
        _print_json(result, board, code)
    _explain(result, board, again or f"ilab-pipeline resume {request.run_id}")
    if result.left:
        raise result.left
    return code


def _print_json(result: ClusterResult, board: Board, code: int) -> None:
    name = run_object_name(result.folder.run_id)
    place = {"namespace": _where(result).namespace, "object": f"configmap/{name}"}
    click.echo(json.dumps(summary(result.folder, result, board, code, result.tasks) | place, indent=1))


def _view(output: str, board: Board, run_id: str) -> View:
    """The table on a terminal, if the library that draws it is installed; else lines."""
    if output == "json":
        return SilentView(board, run_id)
    if not sys.stdout.isatty():
        return PlainView(board, run_id)
    try:
        from utils.cli.view import LiveView

        return LiveView(board, run_id)
    except ImportError:  # a workbench image has no rich
        return PlainView(board, run_id)


def _where(result: ClusterResult) -> ClusterSettings:
    settings = result.folder.cluster_settings
    assert settings is not None, "a run on a cluster has a place there"
    return settings


def _explain(result: ClusterResult, board: Board, again: str) -> None:
    """Print on stderr how it ended, its results, and the next command."""
    folder = result.folder
    home = f"  the run: configmap/{run_object_name(folder.run_id)} in {_where(result)}; logs: {folder.path / 'logs'}"
    earlier = " earlier; nothing was done now" if result.earlier else ""
    if result.state is TaskState.SUCCEEDED:
        click.echo(f"succeeded{earlier}", err=True)
        for line in result_lines(result.tasks):
            click.echo(f"  {line}", err=True)
        click.echo(home, err=True)
        _tell_kept(result)
        return
    if result.state is TaskState.CANCELED:
        jobs = "not all of its Jobs were deleted" if result.left else "its Jobs were deleted"
        give_up = f"kubectl delete configmap {run_object_name(folder.run_id)} -n {_where(result).namespace}"
        click.echo(f"\ninterrupted; {jobs}\n{home}\n  resume: {again}\n  give up: {give_up}", err=True)
        return
    tell_failures(folder, result, board)
    if result.earlier:
        what = "waits since earlier" if result.state is TaskState.WAITING else "failed earlier"
        click.echo(f"it {what}; nothing was done now", err=True)
    click.echo(home, err=True)
    if result.lost:
        click.echo(f"  resume: not possible, the volume {', '.join(result.lost)} is gone", err=True)
        click.echo(f"    {REMEDY}", err=True)
    else:
        click.echo(f"  resume: {again}", err=True)
    _tell_kept(result)


def _tell_kept(result: ClusterResult) -> None:
    """Print which volume is kept after the run's end, and how to remove it."""
    for name in result.kept:
        click.echo(
            f"  its volume is kept; remove it: kubectl -n {_where(result).namespace} delete pvc {name}", err=True
        )
