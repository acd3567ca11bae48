"""Follow the objects of a kind through everything that cuts a watch off."""

from collections.abc import Callable, Iterator
from typing import Any

from utils.cluster.client import Cluster


def never() -> bool:
    return False


def watch(
    cluster: Cluster, kind: str, labels: str = "", fields: str = "", stop: Callable[[], bool] = never
) -> Iterator[tuple[str, dict[str, Any]]]:
    """What is there, then every change, until `stop` says so.

    Yields:
        ("ADDED" | "MODIFIED" | "DELETED", object), and ("SYNC", {}) whenever all that is known has been told: after
        the first list, and then at least every `cluster.watch_seconds`, the time to look at deadlines. While the API
        server is away nothing is yielded. After a gap, what vanished in it is told as DELETED with its last known
        state, what is new as ADDED, what has another resourceVersion as MODIFIED; nothing is told twice.

    Survives dropped connections, 410 (lists again), 429 (keeps Retry-After), 500 to 504, and a restarted API server.

    Raises:
        ForbiddenError, MissingKindError, ClusterError: 401, 403, an unknown kind, or no answer in `cluster.patience` s.
    """
    raise NotImplementedError
    yield
