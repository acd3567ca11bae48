"""The runner's settings, from the flags."""

from utils.cli.cluster_options import read_overlay
from utils.cli.options import default_home
from utils.durations import parse_duration
from utils.errors import UsageError
from utils.runners.kubernetes.session import ClusterSettings
from utils.standalone.options import Given


def runner_settings(given: Given) -> ClusterSettings:
    """The runner's settings.

    Raises:
        UsageError: the pod overlay or a time can't be read.
    """
    try:
        pending = float(parse_duration(given["pending_timeout"]))
    except ValueError as error:
        raise UsageError(f"--pending-timeout: {error}") from None
    return ClusterSettings(
        namespace=given["namespace"] or "",
        kubeconfig=given["kubeconfig"] or "",
        context=given["context"] or "",
        service_account=given["service_account"] or "",
        overlay=read_overlay(given["pod_overlay"]),
        pending_seconds=pending,
        home=(given["home"] or default_home()).absolute(),
        resume=given["resume"],
        keep_jobs=given["keep_jobs"],
    )
