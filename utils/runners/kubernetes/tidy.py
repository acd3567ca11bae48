"""The end of a run: what it created and nothing needs any longer is deleted."""

import time
from collections.abc import Mapping

from utils.cluster.cluster import Cluster
from utils.cluster.connection import connect
from utils.cluster.errors import ForbiddenError
from utils.cluster.kinds import CONFIG_MAP, JOB, KINDS, POD, PYTORCH_JOB, Kind
from utils.cluster.objects import delete, delete_all, get, list_objects
from utils.names import OBJECT_LABEL, RUN_LABEL, run_object_name
from utils.runners.kubernetes.observed import owned_by
from utils.runners.kubernetes.run_object import RunObject, find_object
from utils.runners.settings import ClusterSettings

_TIDY_SECONDS = 90.0


def tidy_up(run: RunObject, keep_jobs: bool) -> None:
    """Delete what the run has made and nothing needs after its end; its object and volume stay.

    Raises:
        ForbiddenError: the account may not delete some of it; the rest is gone. The message names what stays, and the
            command that removes it.
    """
    cluster, label = run.cluster, f"{RUN_LABEL}={run.record.run_id}"
    refused: dict[Kind, ForbiddenError] = {}
    stays: list[str] = []
    for extra, name in run.record.extras:
        kind = KINDS[extra]
        try:
            _delete_extra(run, kind, name)
        except ForbiddenError as error:
            refused[kind] = error
            stays.append(f"{extra.lower()}/{name}")
    deleted = 0
    for kind in () if keep_jobs else (PYTORCH_JOB, JOB):
        try:
            deleted += delete_all(cluster, kind, label)
        except ForbiddenError as error:  # what can't be found here still goes with the Job that made it
            refused[kind] = error
            stays += _names(cluster, kind, label)
    until = time.monotonic() + _TIDY_SECONDS
    while deleted and time.monotonic() < until and list_objects(cluster, POD, label):
        time.sleep(1.0)
    if refused:
        raise _left(run, refused, stays)


def remove_run(settings: ClusterSettings, run_id: str) -> bool:
    """Delete a run's object, and with it all that belongs to it, volume included; False when there is none.

    In the background: a TrainJob that is deleted in the foreground, after its runtime, is never gone (`delete_job` in
    utils/stages/train/job.py).
    """
    cluster = connect(settings.namespace, settings.kubeconfig, settings.context)
    name = run_object_name(run_id)
    return find_object(cluster, run_id) is not None and delete(cluster, CONFIG_MAP, name, "Background")


def _delete_extra(run: RunObject, kind: Kind, name: str) -> None:
    """Delete an object that came with the run, not one of its name that is someone else's."""
    found = get(run.cluster, kind, name)
    if found and owned_by(found, run.uid):
        delete(run.cluster, kind, name)


def _left(run: RunObject, refused: Mapping[Kind, ForbiddenError], stays: list[str]) -> ForbiddenError:
    """What stays. Deleting the run's object would take it along, but the record and a volume that is kept as well."""
    label = f"{RUN_LABEL}={run.record.run_id},{OBJECT_LABEL}!=run"
    told = f"these stay: {', '.join(stays)}" if stays else "whether something stays can't be seen"
    rights = "\n".join(dict.fromkeys(str(error) for error in refused.values()))
    kinds = ",".join(kind.resource for kind in refused)
    return ForbiddenError(
        f"not all that the run {run.record.run_id} made could be deleted",
        f"{told}\n{rights}",
        "under an account that has the right (kubectl apply -k manifests/access): "
        f"kubectl -n {run.cluster.namespace} delete {kinds} -l '{label}' --wait=false",
        403,
    )


def _names(cluster: Cluster, kind: Kind, label: str) -> list[str]:
    """`kind/name` of objects; [] when they may not be listed."""
    try:
        return [f"{kind.name.lower()}/{one['metadata']['name']}" for one in list_objects(cluster, kind, label)]
    except ForbiddenError:
        return []
