"""Runs on a Kubeflow Pipelines server: `ilab-pipeline run --on kfp` and `python pipeline.py run`."""

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from utils.cli.options import add_options, image_option, option
from utils.errors import IlabError, UsageError
from utils.ir.model import Pipeline
from utils.runners.settings import KfpSettings

if TYPE_CHECKING:
    from utils.cli.kfp_run import Started
    from utils.runners.kfp import Submitted


def kfp_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that select the server and name the run there; for commands that submit."""
    options = [
        option(
            "--host",
            envvar="ILAB_KFP_HOST",
            metavar="URL",
            help="Kubeflow Pipelines server.  [default: the pipeline server of the current project]",
        ),
        option(
            "--token",
            envvar="ILAB_KFP_TOKEN",
            help="Token for --host. Prefer the variable or a file: other users can see arguments.",
        ),
        option(
            "--token-file",
            envvar="ILAB_KFP_TOKEN_FILE",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            help="File with the token for --host.",
        ),
        option(
            "--ca-cert",
            envvar="ILAB_KFP_CA_CERT",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            help="PEM file of the server's certificate authority.",
        ),
        option(
            "--namespace",
            help="Project of the server, and the user's namespace on a multi-user server; on plain Kubernetes the "
            "namespace of the run.  [default: that of the pod or of the kubeconfig]",
        ),
        option(
            "--ui-host",
            metavar="URL",
            default=lambda: os.environ.get("KF_PIPELINES_UI_ENDPOINT"),
            show_default="$KF_PIPELINES_UI_ENDPOINT, else the cluster's dashboard, else --host",
            help="Start of links to runs; on OpenShift AI https://DASHBOARD/external/pipelinesSdk/PROJECT.",
        ),
        option(
            "-e",
            "--experiment",
            default="ilab",
            show_default=True,
            help="Experiment of the run; created if it does not exist.",
        ),
        option(
            "--wait/--no-wait",
            default=False,
            help="Follow the run to its end; the exit code is its result.",
        ),
    ]
    return add_options(command, options)


def kfp_settings(options: Mapping[str, Any]) -> KfpSettings:
    """The settings that the options of `kfp_options` amount to.

    Raises:
        UsageError: both a token and a file with one are given.
    """
    token, token_file = options["token"], options["token_file"]
    if token and token_file:
        raise UsageError("--token and --token-file are both given", "only one can be used", "leave one out")
    return KfpSettings(
        host=options["host"] or "",
        token=token_file.read_text().strip() if token_file else token or "",
        ca_cert=str(options["ca_cert"] or ""),
        namespace=options["namespace"] or "",
        ui_host=options["ui_host"] or "",
        experiment=options["experiment"],
    )


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
    from utils.cli.kfp_run import Started, follow_run
    from utils.runners.kfp import KfpServer, Server, find_server, pod_templates

    if settings.host:
        # Only a token meant for this host is sent to it, never the cluster's own.
        server = Server(settings.host, settings.token, settings.ca_cert, settings.namespace)
    else:
        server = find_server(settings.namespace, settings.ca_cert)
    connection = KfpServer(replace(server, ui=settings.ui_host))
    name = run_id or f"{pipeline.name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    submitted = connection.submit(pipeline, arguments, settings.experiment, name)
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

        from components.compile import compile_pipeline
        from utils.arguments import check_ranges, load_arguments
        from utils.image_choice import with_images
        from utils.ir.load import load
        from utils.queues import in_queue

        with tempfile.TemporaryDirectory() as folder:
            package = Path(folder, "pipeline.yaml")
            compile_pipeline(pipeline, package)
            compiled = with_images(load(package), images, lambda line: click.echo(line, err=True))
        arguments = load_arguments(compiled.parameters, files, pairs)
        check_ranges(compiled.parameters, arguments, "kfp")
        queued, settings = in_queue(compiled, arguments), kfp_settings(options)
        raise SystemExit(submit_run(queued, arguments, settings, run_name, wait=options["wait"]))

    return main
