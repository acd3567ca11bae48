"""Runs on a Kubeflow Pipelines server: `ilab-pipeline run --on kfp` and `python pipeline.py run`."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from utils.cli.kfp_options import kfp_options, kfp_settings
from utils.cli.options import image_option, option
from utils.cli.training_image import tell_training_image
from utils.errors import IlabError
from utils.ir.model import Pipeline
from utils.runners.settings import KfpSettings

if TYPE_CHECKING:
    from utils.cli.kfp_run import Started
    from utils.runners.kfp import Submitted


def submit_run(
    pipeline: Pipeline,
    arguments: Mapping[str, Any],
    settings: KfpSettings,
    run_id: str | None = None,
    output: str = "text",
    wait: bool = False,
) -> int:
    """Submit a run of a compiled pipeline, and follow it when `wait`. Returns the exit code.

    Args:
        arguments: typed and checked against the pipeline, from `load_arguments`.
        run_id: name of the run on the server; None for the pipeline's name and the time.
        output: `text` or `json`.

    Raises:
        IlabError: no server was found, or it refuses the run.
    """
    from utils.cli.account_rights import tell_missing_rights
    from utils.cli.kfp_run import Started, follow_run
    from utils.runners.kfp import KfpServer, Server, find_server, pod_templates

    if settings.host:
        # Only a token meant for this host is sent to it, never the cluster's own.
        server = Server(settings.host, settings.token, settings.ca_cert, settings.namespace)
    else:
        server = find_server(settings.namespace, settings.ca_cert)
    tell_missing_rights(server, arguments)
    connection = KfpServer(replace(server, ui=settings.ui_host))
    name = run_id or f"{pipeline.name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    submitted = connection.submit(pipeline, arguments, settings.experiment, name, settings.mlflow_experiment)
    started = Started(
        run_id=submitted.id,
        name=name,
        experiment=settings.experiment,
        pipeline_version=submitted.version.name if submitted.version else "",
        url=connection.page(submitted.id),
    )
    _tell(submitted, started, output)
    if wait:
        return follow_run(connection, started, pod_templates(pipeline), output)
    if output == "json":
        click.echo(json.dumps(asdict(started), indent=1))
    return 0


def _tell(submitted: "Submitted", started: "Started", output: str) -> None:
    """Print what was submitted, and what it lacks."""
    if submitted.unlinked:
        click.echo(f"warning: the run does not belong to a pipeline version: {submitted.unlinked}", err=True)
        click.echo("  it runs, but in the dashboard, Duplicate and Schedule must be filled in by hand", err=True)
    if output == "text":
        click.echo(f"submitted {started.name} ({submitted.id})\n  {started.place}")
        if submitted.version:
            how = "uploaded now" if submitted.version.uploaded else "already on the server"
            click.echo(f"  version {submitted.version.name} of the pipeline ({how})")


def pipeline_main(pipeline: Any) -> None:
    """The command line of pipeline.py."""
    try:
        pipeline_command(pipeline)()
    except IlabError as error:
        click.echo(error.render(), err=True)
        raise SystemExit(error.exit_code) from None


def pipeline_command(pipeline: Any) -> click.Group:
    """The command of pipeline.py: without a subcommand it compiles; `run` submits the compiled pipeline."""

    @click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
    @click.pass_context
    def main(context: click.Context) -> None:
        """Compile this pipeline to pipeline.yaml; with `run`, submit it to a Kubeflow Pipelines server."""
        if context.invoked_subcommand is None:
            from components.compile import compile_pipeline
            from utils.files import default_output

            compile_pipeline(pipeline, default_output())

    @main.command()
    @option("-r", "--run", "run_name", envvar="ILAB_RUN_ID", help="Name of the run.")
    @click.option("-p", "--param", "pairs", multiple=True, metavar="NAME=VALUE", help="A parameter; overrides files.")
    @click.option(
        "-f",
        "--params",
        "files",
        multiple=True,
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="YAML file with parameters; later files override earlier ones.",
    )
    @image_option
    @kfp_options
    def run(
        run_name: str | None, pairs: tuple[str, ...], files: tuple[Path, ...], images: tuple[str, ...], **options: Any
    ) -> None:
        """Compile this pipeline, check the arguments against it, and submit it."""
        import tempfile
        from functools import partial

        from components.compile import compile_pipeline
        from utils.arguments import check_ranges, load_arguments, range_findings
        from utils.image_choice import with_images
        from utils.ir.load import load
        from utils.queues import in_queue

        with tempfile.TemporaryDirectory() as folder:
            package = Path(folder, "pipeline.yaml")
            compile_pipeline(pipeline, package)
            compiled = with_images(load(package), images, lambda line: click.echo(line, err=True))
        arguments = load_arguments(
            compiled.parameters, files, pairs, partial(range_findings, compiled.parameters, "kfp")
        )
        check_ranges(compiled.parameters, arguments, "kfp")
        tell_training_image(compiled, arguments)
        queued, settings = in_queue(compiled, arguments), kfp_settings(options)
        raise SystemExit(submit_run(queued, arguments, settings, run_name, wait=options["wait"]))

    return main
