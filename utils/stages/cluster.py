"""What stages share of the cluster they run in: the connection, and the owners of what they make."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

from utils.cluster.client import Client, pod_client
from utils.cluster.errors import ClusterError
from utils.cluster.kinds import ACCESS_REVIEW, POD, Kind
from utils.messages import failure
from utils.names import RUN_OWNER

Owner = dict[str, str]
"""An ownerReference: apiVersion, kind, name, uid."""


@contextmanager
def stage_cluster() -> Iterator[Client]:
    """The cluster of this pod. What it refuses ends the stage like any failure: what, cause and next, no traceback."""
    try:
        yield pod_client()
    except ClusterError as error:
        raise failure(error.what, error.cause, error.remedy) from None


def pod_owners(cluster: Client) -> list[Owner]:
    """The owners of the pod this runs in (its Workflow or Job); [] when the pod may not be read or is not one."""
    try:
        pod = cluster.request("get", POD, os.uname().nodename)
    except ClusterError as error:
        if error.status not in (401, 403, 404):
            raise
        print(f"the objects made here get no owner: {error.what}", flush=True)
        return []
    keys = ("apiVersion", "kind", "name", "uid")
    return [{key: owner[key] for key in keys} for owner in pod["metadata"].get("ownerReferences", [])]


def may(cluster: Client, kind: Kind, verb: str, part: str = "") -> bool:
    """Whether the account in use may do this in the namespace.

    Args:
        part: a subresource, like log; "" for the object.
    """
    resource, _, group = kind.resource.partition(".")
    place = {"namespace": cluster.namespace, "group": group, "resource": resource, "subresource": part}
    review = cluster.request("create", ACCESS_REVIEW, body={"spec": {"resourceAttributes": {**place, "verb": verb}}})
    return bool(review["status"]["allowed"])


def run_owners(cluster: Client, pods: list[Owner] | None = None) -> list[Owner]:
    """The owners of what belongs to the run: the objects in ILAB_RUN_OWNER (JSON), else this pod's owners.

    Args:
        pods: this pod's owners where they are known.
    """
    return json.loads(os.environ.get(RUN_OWNER, "[]")) or (pod_owners(cluster) if pods is None else pods)
