"""The connection to a cluster: who we are, where, and one request with patience."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Trouble:
    """What is known of the API server's health, shared by all threads. Times are the cluster's clock's, seconds."""

    answered: bool = False
    last: float = float("-inf")


@dataclass(frozen=True)
class Cluster:
    """One namespace of one cluster, and how patient to be with it.

    Attributes:
        namespace: where all namespaced objects lie.
        api: the `kubernetes` package's ApiClient; it holds address, certificates and credentials.
        user: for messages: `in-cluster` or the kubeconfig's context.
        patience: seconds that a request is tried again while the API server is away, overloaded or failing.
        watch_seconds: length of one watch request; `stop` and deadlines are looked at least that often.
        log_seconds: a log without a new line for so long is opened again.
        clock: monotonic seconds.
        sleep: waits so many seconds.
        notify: told once when the API server goes away and once when it is back.
    """

    namespace: str
    api: Any = field(repr=False)
    user: str = ""
    patience: float = 300.0
    watch_seconds: int = 5
    log_seconds: float = 30.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    notify: Callable[[str], None] = field(default=lambda text: None, repr=False)
    trouble: Trouble = field(default_factory=Trouble, repr=False)


def connect(namespace: str = "", kubeconfig: str = "", context: str = "", **settings: Any) -> Cluster:
    """Connect to the cluster of the pod this runs in, else to that of a kubeconfig. Nothing is asked of it yet.

    Args:
        namespace: "" for the pod's own, or that of the kubeconfig's context, or `default`.
        kubeconfig: a file; "" for the pod's own account, else $KUBECONFIG, else ~/.kube/config.
        context: of the kubeconfig; "" for its current one.
        settings: further fields of Cluster (patience, notify, clock, ...).

    Raises:
        PrerequisiteError: no cluster to connect to, or a kubeconfig that can't be used.
    """
    raise NotImplementedError


def request(
    cluster: Cluster,
    verb: str,
    kind: str,
    name: str = "",
    subresource: str = "",
    query: Mapping[str, str] | None = None,
    body: Any = None,
) -> dict[str, Any]:
    """One request, tried again while the API server is away or overloaded, up to `cluster.patience` seconds.

    Tried again with growing pauses: lost connections, 429 (Retry-After is kept), 500, 502, 503, 504, a 409 that only
    means that someone else wrote at the same time, and for some seconds after trouble also 401, 403 and unknown kinds,
    since a server that has just started does not know its roles and kinds yet.

    Args:
        verb: create, get, list, patch or delete.

    Raises:
        ForbiddenError, ConflictError, GoneError, MissingKindError, ClusterError: with `status`; 404 for what is not
            there.
    """
    raise NotImplementedError
