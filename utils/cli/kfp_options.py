"""Options of a run on a Kubeflow Pipelines server."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from utils.cli.options import NAMESPACE, add_options, option
from utils.errors import UsageError
from utils.runners.settings import KfpSettings


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
            type=NAMESPACE,
            metavar="NAME",
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
            "--mlflow-experiment",
            default="",
            metavar="NAME",
            show_default="the server's",
            help="Experiment of the run in MLflow, on servers that log runs there: OpenShift AI 3.5 and newer.",
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
        UsageError: both a token and a file with one are given, or one without its host.
    """
    token, token_file = options["token"], options["token_file"]
    if token and token_file:
        raise UsageError("--token and --token-file are both given", "only one can be used", "leave one out")
    if (token or token_file) and not options["host"]:
        raise UsageError(
            "a token is given, and no --host",
            "the server of a project is asked with your own login",
            "add --host URL, or leave out --token, --token-file, ILAB_KFP_TOKEN and ILAB_KFP_TOKEN_FILE",
        )
    return KfpSettings(
        host=options["host"] or "",
        token=token_file.read_text().strip() if token_file else token or "",
        ca_cert=str(options["ca_cert"] or ""),
        namespace=options["namespace"] or "",
        ui_host=options["ui_host"] or "",
        experiment=options["experiment"],
        mlflow_experiment=options["mlflow_experiment"],
    )
