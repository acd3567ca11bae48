"""`run` and `resume`: start a pipeline, show its progress, and end with an exit code for its result."""

import sys
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from utils.arguments import check_ranges, load_arguments, range_findings
from utils.cli.cluster_options import cluster_options, cluster_settings
from utils.cli.kfp_options import kfp_options, kfp_settings
from utils.cli.local_options import given_settings, local_options
from utils.cli.local_run import start_local, work
from utils.cli.machine_paths import refuse_paths
from utils.cli.options import default_python, home_option, image_option, option, output_option
from utils.cli.outcome import next_command
from utils.cli.submit import submit_run
from utils.cli.training_image import tell_training_image
from utils.errors import UsageError
from utils.files import COMPILED
from utils.ir.load import load
from utils.ir.model import Pipeline, TaskState
from utils.queues import in_queue, longest_wait
from utils.runners.run_folder import RunFolder, find_run
from utils.runners.settings import ClusterSettings, LocalSettings


@click.command()
@option(
    "--on",
    "place",
    type=click.Choice(["local", "kubernetes", "kfp"]),
    default="local",
    show_default=True,
    help="Where to run: this machine, a cluster without Kubeflow Pipelines, or a Kubeflow Pipelines server.",
)
@option(
    "-f",
    "--params",
    "files",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="YAML file with parameters; later files override earlier ones. Can be repeated.",
)
@option(
    "-p",
    "--param",
    "pairs",
    multiple=True,
    metavar="NAME=VALUE",
    help="A parameter; overrides files. Can be repeated.",
)
@option(
    "--package",
    type=click.Path(path_type=Path, dir_okay=False),
    default=COMPILED,
    show_default="our pipeline.yaml",
    help="Compiled KFP v2 pipeline to run.",
)
@image_option
@option(
    "--run-id",
    metavar="ID",
    help="Name of the run.  [default: the pipeline's name (run for ours), the time and four characters]",
)
@local_options
@kfp_options
@cluster_options
@home_option
@output_option
@click.pass_context
def run(
    context: click.Context,
    place: str,
    files: tuple[Path, ...],
    pairs: tuple[str, ...],
    package: Path,
    images: tuple[str, ...],
    run_id: str | None,
    home: Path,
    output: str,
    **options: Any,
) -> None:
    """Run the pipeline.

    On this machine (--on local), each task is a process, the run's volume is a folder, and Secrets come from --secrets.
    On a cluster without Kubeflow Pipelines (--on kubernetes), each task is a Job. This command follows the run to its
    end; started again with the same --run-id, it resumes the run. On a Kubeflow Pipelines server (--on kfp), the run
    continues without this command; --wait follows it.
    """
    _refuse_foreign_options(context, place)
    pipeline = with_chosen_images(load(package), images)
    ours = package.resolve() == COMPILED.resolve()
    more = {"more": partial(range_findings, pipeline.parameters, place)} if ours else {}
    arguments = load_arguments(pipeline.parameters, files, pairs, **more)
    if ours:
        check_ranges(pipeline.parameters, arguments, place)
    if place != "local":
        refuse_paths(arguments)
        tell_training_image(pipeline, arguments)
        pipeline = in_queue(pipeline, arguments)
    if place == "kfp":
        sys.exit(submit_run(pipeline, arguments, kfp_settings(options), run_id, output, options["wait"]))
    if place == "kubernetes":
        sys.exit(start_on_kubernetes(pipeline, arguments, options, home, run_id, output))
    settings = LocalSettings(**{"python": default_python(), **given_settings(options)})
    sys.exit(start_local(pipeline, arguments, settings, home, run_id, output))


def with_chosen_images(pipeline: Pipeline, images: tuple[str, ...]) -> Pipeline:
    """The pipeline with the images that the user chose; warnings go to stderr.

    Raises:
        UsageError: a name or a reference is wrong.
    """
    from utils.image_choice import with_images

    return with_images(pipeline, images, lambda line: click.echo(line, err=True))


@click.command()
@click.argument("run_id")
@local_options
@home_option
@output_option
@click.pass_context
def resume(context: click.Context, run_id: str, home: Path, output: str, **options: Any) -> None:
    """Resume the run RUN_ID (an id, a part of one, or `latest`): finished tasks are not repeated.

    The run keeps the parameters and settings it was started with; settings given here replace the earlier ones.
    """
    folder = find_run(home, run_id)
    if settings := folder.cluster_settings:
        if flags := _given_flags(context, _option_names(local_options)):
            raise UsageError(
                f"the run {folder.run_id} is on a cluster", f"{flags}: only for runs on this machine", "leave it out"
            )
        sys.exit(resume_on_kubernetes(folder, settings, output))
    history = folder.history()
    if history.state is TaskState.SUCCEEDED:
        click.echo(f"the run {folder.run_id} has succeeded; there is nothing to resume", err=True)
        return
    if given := given_settings(options):
        with folder.locked():
            settings_now = replace(folder.local_settings(), **given)
            folder.store(folder.run_id, folder.arguments, settings_now, folder.created)
    sys.exit(work(folder, load(folder.package), output))


def _option_names(decorator: Callable[[Callable[..., Any]], Any]) -> list[str]:
    """Parameter names of the options that a decorator adds."""

    def bare() -> None: ...

    return [option.name for option in click.command()(decorator(bare)).params if option.name]


def _refuse_foreign_options(context: click.Context, place: str) -> None:
    """Reject flags for a place other than the chosen one. (Variables may be set for all places at once.)

    Raises:
        UsageError: names them.
    """
    own = {"local": local_options, "kfp": kfp_options, "kubernetes": cluster_options}
    allowed = {*_option_names(own[place]), *(("namespace",) if place == "kubernetes" else ())}
    foreign = {name for other in own.values() for name in _option_names(other)} - allowed
    if flags := _given_flags(context, foreign | ({"home"} if place == "kfp" else set())):
        raise UsageError(f"{flags}: not valid with --on {place}", "", "leave it out, or choose another --on")


def _given_flags(context: click.Context, names: Collection[str]) -> str:
    """Those of the options that are given on the command line, as typed there."""
    given = {name for name in names if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    return ", ".join(option.opts[-1] for option in context.command.params if option.name in given)


def start_on_kubernetes(
    pipeline: Pipeline, arguments: dict[str, Any], options: dict[str, Any], home: Path, run_id: str | None, output: str
) -> int:
    """Run on a cluster without Kubeflow Pipelines, or print what that would create. Returns the exit code.

    Raises:
        IlabError: it can't run there.
    """
    from utils.cli.cluster_run import print_dry_run, run_on_kubernetes
    from utils.runners.kubernetes.request import RunRequest, default_run_id

    settings = cluster_settings(options, longest_wait(pipeline, arguments))
    if options["resume_failed"] and not run_id:
        raise UsageError("--resume needs the run that it resumes", "", "name it with --run-id ID")
    request = RunRequest(
        pipeline,
        arguments,
        run_id or default_run_id(pipeline.name, arguments),
        settings,
        home,
        resume=options["resume_failed"],
        keep_jobs=options["keep_jobs"],
    )
    if options["dry_run"]:
        if output == "json":
            raise UsageError("--output json can't be combined with --dry-run", "a dry run prints YAML", "leave one out")
        return print_dry_run(request)
    return run_on_kubernetes(request, output, next_command(RunFolder(home, request.run_id), "resume"))


def resume_on_kubernetes(folder: RunFolder, settings: ClusterSettings, output: str) -> int:
    """Resume a run on a cluster, with its original settings. Returns the exit code.

    Raises:
        IlabError: it can't be resumed.
    """
    from utils.cli.cluster_run import run_on_kubernetes
    from utils.runners.kubernetes.request import RunRequest

    pipeline = load(folder.package)
    request = RunRequest(pipeline, folder.arguments, folder.run_id, settings, folder.home, resume=True)
    return run_on_kubernetes(request, output, next_command(folder, "resume"))
