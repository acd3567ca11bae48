"""A run on a cluster without Kubeflow Pipelines, from its start, or its resumption, to its end."""

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.ir.model import Pipeline
from utils.runners.dry_run import planned_manifests
from utils.runners.manifests import PodSettings, fingerprint
from utils.runners.run_object import RunRecord, timestamp
from utils.runners.runs import check_run_id, new_run_id

Manifest = dict[str, Any]
Make = Callable[[Mapping[str, Any]], list[Manifest]]

_LONGEST_HOSTNAME = 50


@dataclass(frozen=True)
class ClusterSettings:
    """How a run works on a cluster.

    Attributes:
        namespace, kubeconfig, context: which cluster and where in it; "" as `utils.cluster.connect` says.
        service_account: of the pods; "" for the namespace's default.
        overlay: a patch for every pod.
        pending_seconds: how long a pod may wait before it starts.
        home: folder for logs and a copy of the journal.
        resume: repeat what failed in a run that failed, and keep what finished.
        keep_jobs: leave the Jobs, and with them pods and logs, when the run has ended.
    """

    namespace: str = ""
    kubeconfig: str = ""
    context: str = ""
    service_account: str = ""
    overlay: Mapping[str, Any] = field(default_factory=dict)
    pending_seconds: float = 3600.0
    home: Path = Path()
    resume: bool = False
    keep_jobs: bool = False


def default_run_id(pipeline_name: str, arguments: Mapping[str, Any]) -> str:
    """An id for a run that was given none.

    In a pod it is made of the pod's name and the arguments: a pod that is started again goes on with its run.
    Elsewhere every start is a new run.
    """
    host = os.environ.get("HOSTNAME", "").lower().partition(".")[0]
    if not host or "KUBERNETES_SERVICE_HOST" not in os.environ:
        return new_run_id(pipeline_name)
    return f"{host[:_LONGEST_HOSTNAME].strip('-')}-{fingerprint([host, dict(arguments)])[:6]}"


def dry_run(
    pipeline: Pipeline,
    arguments: Mapping[str, Any],
    settings: ClusterSettings,
    run_id: str,
    skip: frozenset[str] = frozenset(),
    make: Make | None = None,
) -> list[Manifest]:
    """Manifests of all that the run would make, in order; no cluster is asked. See `planned_manifests`.

    Raises:
        IlabError: as the run itself would.
    """
    check_run_id(run_id)
    record = _new_record(pipeline, arguments, run_id, skip)
    return planned_manifests(pipeline, record, pod_settings(settings, run_id, settings.namespace, {}), make)


def pod_settings(settings: ClusterSettings, run_id: str, namespace: str, owner: Mapping[str, Any]) -> PodSettings:
    return PodSettings(run_id, namespace, owner, settings.service_account, settings.overlay, settings.pending_seconds)


def _new_record(pipeline: Pipeline, arguments: Mapping[str, Any], run_id: str, skip: frozenset[str]) -> RunRecord:
    package = hashlib.sha256(pipeline.text.encode()).hexdigest()
    return RunRecord(run_id, pipeline.name, package, dict(arguments), timestamp(time.time()), tuple(sorted(skip)))
