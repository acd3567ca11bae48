"""Options of a run on a cluster without Kubeflow Pipelines."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from utils.cli.options import SERVICE_ACCOUNT, add_options, option
from utils.durations import parse_duration
from utils.errors import UsageError
from utils.foreign_text import TextError, read_yaml
from utils.runners.settings import PENDING_TIMEOUT, ClusterSettings

_POD_KEYS = {"metadata", "spec"}


class Duration(click.ParamType):  # type: ignore[type-arg] # not generic in click 8.1, which workbenches have
    """A duration such as 60m, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return float(parse_duration(str(value)))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def cluster_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that select the cluster and configure its pods. (`--namespace` comes with the server's options.)"""
    options = [
        option(
            "--kubeconfig",
            type=click.Path(exists=True, dir_okay=False),
            help="Kubeconfig file.  [default: in a pod its service account, else KUBECONFIG, ~/.kube/config]",
        ),
        option(
            "--context",
            "kube_context",
            metavar="NAME",
            help="Context of the kubeconfig.  [default: its current one]",
        ),
        option(
            "--service-account",
            type=SERVICE_ACCOUNT,
            metavar="NAME",
            help="Service account of the pods; some stages use it for the Kubernetes API.  [default: the namespace's]",
        ),
        option(
            "--pod-overlay",
            envvar="ILAB_POD_OVERLAY_FILE",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            help="YAML file with metadata and spec of a pod, merged into every pod: pull secrets, queue labels, "
            "proxies. A container named * applies to all containers.",
        ),
        option(
            "--pending-timeout",
            type=Duration(),
            default=PENDING_TIMEOUT,
            show_default=True,
            help="Longest wait for a task's pod to start, like 60m. (For training pods: train_pending_timeout.)",
        ),
        option(
            "--resume",
            "resume_failed",
            is_flag=True,
            help="With --run-id of a failed run: repeat what failed, keep what finished.",
        ),
        option(
            "--keep-jobs",
            is_flag=True,
            help="Keep the Jobs, with their pods and logs, after the run has ended.",
        ),
        option(
            "--dry-run",
            is_flag=True,
            help="Print what would be created, as YAML for kubectl apply, without connecting to a cluster.",
        ),
    ]
    return add_options(command, options)


def cluster_settings(options: Mapping[str, Any], queue_seconds: float) -> ClusterSettings:
    """The settings that the options amount to.

    Args:
        queue_seconds: how long a queue may hold a pod back, which is a parameter of the pipeline.

    Raises:
        UsageError: the pod overlay is not valid.
    """
    return ClusterSettings(
        namespace=options["namespace"] or "",
        kubeconfig=options["kubeconfig"] or "",
        context=options["kube_context"] or "",
        service_account=options["service_account"] or "",
        overlay=read_overlay(options["pod_overlay"]),
        pending_seconds=options["pending_timeout"],
        queue_seconds=queue_seconds,
    )


def read_overlay(path: Path | None) -> Mapping[str, Any]:
    """The patch for every pod from a YAML file; {} without one.

    Raises:
        UsageError: it is not YAML, or contains anything but the metadata and spec of a pod.
    """
    if path is None:
        return {}
    try:
        documents = read_yaml(path.read_text())
    except OSError as error:
        raise UsageError(f"--pod-overlay {path} can't be read", error.strerror or "", "name a file") from None
    except (TextError, UnicodeDecodeError) as error:
        raise UsageError(f"--pod-overlay {path} is not valid YAML", str(error), "correct the file") from None
    overlay = documents[0] if documents and documents[0] is not None else {}
    if (
        len(documents) > 1
        or not isinstance(overlay, dict)
        or set(overlay) - _POD_KEYS
        or not all(map(_mapping, overlay.values()))
    ):
        raise UsageError(
            f"--pod-overlay {path} is not a patch for a pod",
            "it may contain only metadata and spec, each a mapping",
            "start it with spec: or metadata:",
        )
    found: dict[str, Any] = _without_blanks(overlay)
    if found.get("spec"):
        _check_spec(path, found["spec"])
    return found


def _check_spec(path: Path, spec: Mapping[str, Any]) -> None:
    """Reject what can't be merged; warn of a field that the API server may silently drop, such as a typo."""
    from kubernetes.client import V1PodSpec

    is_list = {name: V1PodSpec.openapi_types[key].startswith("list") for key, name in V1PodSpec.attribute_map.items()}
    for key, value in spec.items():
        if key not in is_list:
            click.echo(f"warning: --pod-overlay {path}: spec.{key} is not a known field of a pod", err=True)
        elif is_list[key] != isinstance(value, list):
            raise UsageError(
                f"--pod-overlay {path}: spec.{key} must {'' if is_list[key] else 'not '}be a list",
                "",
                "write it as in a pod: kubectl explain pod.spec",
            )


def _without_blanks(node: Any) -> Any:
    """node without keys that have no value: `labels:` with nothing below changes nothing."""
    if isinstance(node, dict):
        return {key: _without_blanks(value) for key, value in node.items() if value is not None}
    return [_without_blanks(item) for item in node] if isinstance(node, list) else node


def _mapping(value: Any) -> bool:
    return value is None or isinstance(value, dict)
