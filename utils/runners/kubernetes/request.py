"""What a run on a cluster is asked to do."""

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.ir.model import Pipeline
from utils.runners.kubernetes.manifests import Manifest, PodSettings, fingerprint
from utils.runners.kubernetes.run_object import RunRecord
from utils.runners.run_folder import new_run_id
from utils.runners.settings import ClusterSettings
from utils.runners.timestamps import timestamp

MakeExtras = Callable[[Mapping[str, Any]], list[Manifest]]

_LONGEST_HOSTNAME = 50


@dataclass(frozen=True)
class RunRequest:
    """A run on a cluster, as it is started or continued.

    Attributes:
        settings: where, and what its pods are like.
        home: folder for logs and a copy of the journal.
        skip: ids of tasks to leave out.
        extras: makes the manifests of objects that come with the run, given the ownerReference to it.
        resume: repeat what failed in a run that failed, and keep what finished.
        keep_jobs: leave the Jobs, and with them pods and logs, when the run has ended.
    """

    pipeline: Pipeline
    arguments: Mapping[str, Any]
    run_id: str
    settings: ClusterSettings = ClusterSettings()
    home: Path = Path()
    skip: frozenset[str] = frozenset()
    extras: MakeExtras = lambda owner: []
    resume: bool = False
    keep_jobs: bool = False

    def record(self) -> RunRecord:
        """The record of a new run."""
        package = hashlib.sha256(self.pipeline.text.encode()).hexdigest()
        arguments, skip = dict(self.arguments), tuple(sorted(self.skip))
        return RunRecord(self.run_id, self.pipeline.name, package, arguments, timestamp(time.time()), skip)

    def pod_settings(self, namespace: str, owner: Mapping[str, Any], account: str = "") -> PodSettings:
        """What all pods have in common.

        Args:
            account: service account where none is given: in a pod, its own.
        """
        return PodSettings(
            run_id=self.run_id,
            namespace=namespace,
            owner=owner,
            service_account=self.settings.service_account or account,
            overlay=self.settings.overlay,
            pending_seconds=self.settings.pending_seconds,
            queue_seconds=self.settings.queue_seconds,
        )


def default_run_id(pipeline_name: str, arguments: Mapping[str, Any]) -> str:
    """An id for a run that was given none.

    In a pod it is made of the pod's name and the arguments: a pod that is started again continues its run. Elsewhere
    every start is a new run.
    """
    host = os.environ.get("HOSTNAME", "").lower().partition(".")[0]
    if not host or "KUBERNETES_SERVICE_HOST" not in os.environ:
        return new_run_id(pipeline_name)
    return f"{host[:_LONGEST_HOSTNAME].strip('-')}-{fingerprint([host, dict(arguments)])[:6]}"
