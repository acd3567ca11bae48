"""`clean`: remove runs."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from utils.cli.history import run_state
from utils.cli.options import home_option, option
from utils.errors import UsageError
from utils.ir.model import TaskState
from utils.runners.run_folder import RunFolder, all_runs, find_run
from utils.runners.settings import ClusterSettings


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
        places = folder.places()
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
        if folder.result.exists():
            click.echo(f"the result of {folder.run_id} stays in {folder.result}")


def _remove_from_cluster(settings: ClusterSettings, run_id: str) -> None:
    from utils.runners.kubernetes.tidy import remove_run

    if not remove_run(settings, run_id):
        click.echo(f"{run_id} was already deleted in {settings}", err=True)


def _chosen(home: Path, finished: bool) -> Iterator[RunFolder]:
    for folder in all_runs(home):
        if not finished or run_state(folder, folder.history()) == TaskState.SUCCEEDED:
            yield folder


def _bytes(path: Path) -> int:
    return sum(f.lstat().st_size for f in path.rglob("*") if f.is_file() and not f.is_symlink())


def _size(count_of_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count_of_bytes < 1000:
            return f"{count_of_bytes:.3g} {unit}"
        count_of_bytes /= 1000
    return f"{count_of_bytes:.3g} TB"
