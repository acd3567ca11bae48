"""The cluster: a small client for the few kinds of objects a run deals with. No pipeline, no run in here."""

from utils.cluster.client import Cluster, connect
from utils.cluster.errors import ClusterError, ConflictError, ForbiddenError, GoneError, MissingKindError
from utils.cluster.kinds import KINDS, Kind
from utils.cluster.logs import follow_log, tail_log
from utils.cluster.objects import (
    HASH_LABEL,
    create,
    create_or_attach,
    delete,
    delete_all,
    differences,
    events_of,
    get,
    list_objects,
    patch,
    wait_gone,
)
from utils.cluster.pods import REFUSED, PodState, job_pending_reason, pod_state, waits_in_queue
from utils.cluster.request import request
from utils.cluster.watch import watch

__all__ = [
    "HASH_LABEL",
    "KINDS",
    "REFUSED",
    "Cluster",
    "ClusterError",
    "ConflictError",
    "ForbiddenError",
    "GoneError",
    "Kind",
    "MissingKindError",
    "PodState",
    "connect",
    "create",
    "create_or_attach",
    "delete",
    "delete_all",
    "differences",
    "events_of",
    "follow_log",
    "get",
    "job_pending_reason",
    "list_objects",
    "patch",
    "pod_state",
    "waits_in_queue",
    "request",
    "tail_log",
    "wait_gone",
    "watch",
]
