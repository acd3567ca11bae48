"""The lines a container writes: followed through lost connections, or the last ones of one that failed."""

from collections.abc import Callable, Iterator

from utils.cluster.client import Cluster
from utils.cluster.watch import never


def follow_log(cluster: Cluster, pod: str, container: str = "", stop: Callable[[], bool] = never) -> Iterator[str]:
    """The lines of a container from its start on, without line ends, until it has ended, the pod is gone, or `stop`.

    A container that has not started is waited for. After a lost connection it goes on with the next line; none comes
    twice. `stop` is looked at with every line, and at least every `cluster.log_seconds`.

    Args:
        pod: its name.
        container: "" for the only one.

    Raises:
        ForbiddenError: pods or their logs may not be read.
        ClusterError: no answer in `cluster.patience` seconds.
    """
    raise NotImplementedError
    yield


def tail_log(cluster: Cluster, pod: str, container: str = "", lines: int = 25) -> list[str]:
    """The last lines of a container; [] when it wrote none, never started, or its pod is gone."""
    raise NotImplementedError
