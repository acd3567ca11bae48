"""Runs on a Kubeflow Pipelines server: `ilab-pipeline run --on kfp` and `python pipeline.py run`."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from utils.cli.settings import add_options, option
from utils.errors import IlabError, PrerequisiteError, UsageError

_INTERRUPTED = 130
# A pipeline's task that checks what the run needs: its failure has an exit code of its own.
_CHECKING_TASK = "prerequisites"


def kfp_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say which server, and how the run is named there; for commands that submit."""
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
            help="Token for --host; better by the variable or a file: other users see arguments.",
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
            help="PEM file of the certificate authority of the server.",
        ),
        option(
            "--namespace",
            help="Project to find the server in, and the user's namespace on a multi-user server; on plain Kubernetes "
            "where everything is made.  [default: that of the pod or of the kubeconfig]",
        ),
        option(
            "-e",
            "--experiment",
            default="ilab",
            show_default=True,
            help="Experiment to put the run in; made when there is none.",
        ),
        option(
            "--wait/--no-wait",
            default=False,
            help="Follow the run to its end; the exit code tells how it ended.",
        ),
    ]
    return add_options(command, options)


def submit_run(
    package: Path,
    arguments: Mapping[str, Any],
    run_id: str | None = None,
    output: str = "text",
    host: str | None = None,
    token: str | None = None,
    token_file: Path | None = None,
    ca_cert: Path | None = None,
    namespace: str | None = None,
    experiment: str = "ilab",
    wait: bool = False,
) -> int:
    """Submit a run of a compiled pipeline, and follow it when `wait`. Returns the exit code.

    Args:
        arguments: typed and checked against the package, from `load_arguments`.
        run_id: name of the run on the server; None for the pipeline's name and the time.
        output: `text` or `json`.

    Raises:
        IlabError: no server, or it refuses.
    """
    from utils.ir.load import load
    from utils.runners.kfp import KfpServer, Server, find_server

    pipeline = load(package)
    if host:
        # Only a token meant for this host is sent to it, never the cluster's own.
        server = Server(host, _token(token, token_file), str(ca_cert or ""), namespace or "")
    else:
        server = find_server(namespace or "", str(ca_cert or ""))
    connection = KfpServer(server)
    name = run_id or f"{pipeline.name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    server_id = connection.submit(pipeline.text, arguments, experiment, name)
    started = {"run_id": server_id, "name": name, "experiment": experiment, "url": connection.page(server_id)}
    if output == "text":
        click.echo(f"submitted {name} ({server_id})\n  {started['url']}")
    if not wait:
        if output == "json":
            click.echo(json.dumps(started, indent=1))
        return 0
    return _follow(connection, started, output)


def _token(token: str | None, token_file: Path | None) -> str:
    if token and token_file:
        raise UsageError("--token and --token-file are both given", "one of them is the token", "leave one out")
    return token_file.read_text().strip() if token_file else token or ""


def _follow(connection: Any, started: dict[str, str], output: str) -> int:
    """Print what changes until the run has ended."""
    shown: dict[str, str] = {}
    report = None
    try:
        for report in connection.follow(started["run_id"]):
            news = {task.name: task.state for task in report.tasks if task.state}
            for name, state in {**news, "run": report.state}.items():
                if shown.get(name) != state and output == "text":
                    click.echo(f"{time.strftime('%H:%M:%S')} {state.lower():<9} {name}")
                shown[name] = state
    except KeyboardInterrupt:
        click.echo(f"\nno longer followed; the run goes on\n  {started['url']}", err=True)
        return _INTERRUPTED
    except IlabError as error:
        raise IlabError(
            f"the run can't be followed any more: {error.what}", error.cause, f"it goes on: {started['url']}"
        ) from error
    assert report is not None
    failed = [task for task in report.tasks if task.state == "FAILED"]
    code = _exit_code(report.state, [task.name for task in failed])
    if output == "json":
        errors = {task.name: task.error for task in failed}
        click.echo(json.dumps({**started, "state": report.state, "exit_code": code, "failed": errors}, indent=1))
    elif code:
        for task in failed:
            click.echo(f"error: {task.name} failed: {task.error}", err=True)
        click.echo(f"error: the run ended as {report.state}: {report.error}\n  next: {started['url']}", err=True)
    return code


def _exit_code(state: str, failed: list[str]) -> int:
    if state == "SUCCEEDED":
        return 0
    if state == "CANCELED":
        return _INTERRUPTED
    return PrerequisiteError.exit_code if _CHECKING_TASK in failed else 1


def pipeline_main(pipeline: Any) -> None:
    """Do what the command line of pipeline.py says."""
    try:
        pipeline_command(pipeline)()
    except IlabError as error:
        click.echo(error.render(), err=True)
        raise SystemExit(error.exit_code) from None


def pipeline_command(pipeline: Any) -> click.Group:
    """The command of pipeline.py: alone it compiles, `run` submits what it compiles."""

    @click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
    @click.pass_context
    def main(context: click.Context) -> None:
        """Compile this pipeline to pipeline.yaml; with `run`, submit it to a Kubeflow Pipelines server."""
        if context.invoked_subcommand is None:
            from components.compile import compile_pipeline
            from utils.cli.compile import root

            compile_pipeline(pipeline, root() / "pipeline.yaml")

    @main.command()
    @option("-r", "--run", "run_name", envvar="ILAB_RUN_ID", help="Name of the run.")
    @click.option("-p", "--param", "pairs", multiple=True, metavar="NAME=VALUE", help="A parameter; wins over files.")
    @click.option(
        "-f",
        "--params",
        "files",
        multiple=True,
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="YAML file with parameters; later files win over earlier ones.",
    )
    @kfp_options
    def run(run_name: str | None, pairs: tuple[str, ...], files: tuple[Path, ...], **options: Any) -> None:
        """Submit this pipeline, compiled anew, after checking the arguments against it."""
        import tempfile

        from components.compile import compile_pipeline
        from utils.arguments import check_ranges, load_arguments
        from utils.ir.load import load

        with tempfile.TemporaryDirectory() as folder:
            package = Path(folder, "pipeline.yaml")
            compile_pipeline(pipeline, package)
            parameters = load(package).parameters
            arguments = load_arguments(parameters, files, pairs)
            check_ranges(parameters, arguments, "kfp")
            raise SystemExit(submit_run(package, arguments, run_id=run_name, **options))

    return main
