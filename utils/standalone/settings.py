"""How the runner works, from the flags."""

import os
import tempfile
from pathlib import Path

from utils.cli.cluster_options import read_overlay, seconds
from utils.cli.settings import default_home
from utils.errors import UsageError
from utils.runners.cluster_session import ClusterSettings
from utils.standalone.options import Given


def runner_settings(given: Given) -> ClusterSettings:
    """The runner's settings.

    Raises:
        UsageError: the pod overlay or a time can't be read.
    """
    try:
        pending = seconds(given["pending_timeout"])
    except ValueError as error:
        raise UsageError(f"--pending-timeout: {error}") from None
    return ClusterSettings(
        namespace=given["namespace"] or "",
        kubeconfig=given["kubeconfig"] or "",
        context=given["context"] or "",
        service_account=given["service_account"] or "",
        overlay=read_overlay(given["pod_overlay"]),
        pending_seconds=pending,
        home=(given["home"] or writable_home()).absolute(),
        resume=given["resume"],
        keep_jobs=given["keep_jobs"],
    )


def writable_home() -> Path:
    """Where logs go: the user's data folder, or in a pod whose user has none the folder for temporary files."""
    try:
        home = default_home()
    except RuntimeError:  # no HOME, and a user id that no name belongs to
        return Path(tempfile.gettempdir(), "ilab-pipeline")
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    return home if os.access(there, os.W_OK) else Path(tempfile.gettempdir(), "ilab-pipeline")
