"""The lines that a container writes: followed across lost connections, or the last ones of a failed container."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

from utils.cluster.client import Client
from utils.cluster.cluster import Cluster, Patience
from utils.cluster.errors import ClusterError
from utils.cluster.kinds import POD
from utils.cluster.objects import get
from utils.cluster.pods import container_ended
from utils.cluster.streams import TryAgain, never, stream

_POLL_SECONDS = 1.0
_ENDED_PATIENCE = 30.0
_STAMP = re.compile(r"(?P<second>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(?P<zone>Z|[+-]\d\d:\d\d) ?")
_RESOURCE = "pods/log"
# The container has not started (400), or the kubelet does not know its log yet (404, 500).
_NOT_YET = {400, 404}


class _Position:
    """How far a log has been read: the newest second, and its lines that were already yielded.

    The API continues from a second, not from a line, so lines of the newest second are repeated and skipped.
    """

    def __init__(self) -> None:
        self.second = ""
        self.since = ""
        self.given: Counter[str] = Counter()
        self.repeated: Counter[str] = Counter()

    def reopened(self) -> dict[str, str]:
        """The query that continues from here."""
        self.repeated = self.given.copy()
        return {"sinceTime": self.since} if self.since else {}

    def new_text(self, line: str) -> str | None:
        """The text of a line (`2026-01-02T03:04:05.678Z text`), None if it was yielded before."""
        if self.repeated[line]:
            self.repeated[line] -= 1
            return None
        stamp = _STAMP.match(line)
        if stamp and stamp["second"] > self.second:
            self.second, self.since = stamp["second"], stamp["second"] + stamp["zone"]
            self.given.clear()
        self.given[line] += 1
        return line[stamp.end() :] if stamp else line


def follow_log(cluster: Cluster, pod: str, container: str = "", stop: Callable[[], bool] = never) -> Iterator[str]:
    """The lines of a container from its start, without line ends, until it has ended, the pod is gone, or `stop`.

    Waits for a container that has not started. After a lost connection it continues with the next line; no line is
    repeated. `stop` is checked with every line, and at least every `cluster.log_seconds`.

    Args:
        pod: its name.
        container: "" for the only one.

    Raises:
        ForbiddenError: pods or their logs may not be read.
        ClusterError: no answer in `cluster.patience` seconds.
    """
    position, patience, ended = _Position(), Patience(cluster, "get", _RESOURCE, pod), False
    path = POD.path(cluster.namespace, pod) + "/log"
    while not stop():
        found = get(cluster, POD, pod)
        if found is None:
            return
        container = container or found["spec"]["containers"][0]["name"]
        # Checked before the log is opened: only then is the end of the stream the end of the log.
        if not ended and container_ended(found, container):
            ended, patience = True, Patience(_hasty(cluster), "get", _RESOURCE, pod)
        query = {"container": container, "follow": "true", "timestamps": "true", **position.reopened()}
        try:
            for line in stream(patience, path, query, cluster.log_seconds, ended):
                text = position.new_text(line)
                if text is not None:
                    yield text
                if stop():
                    return
        except TryAgain:
            continue
        except ClusterError as error:
            if error.status not in _NOT_YET:
                raise
        if ended:
            return
        cluster.sleep(_POLL_SECONDS)


def _hasty(cluster: Cluster) -> Cluster:
    """The cluster for reading logs of ended containers: a node that is gone does not come back with the log."""
    return replace(cluster, patience=min(cluster.patience, _ENDED_PATIENCE))


def tail_log(cluster: Client, pod: str, container: str = "", lines: int = 25) -> list[str]:
    """The last lines of a container; [] if it wrote none, never started, or its pod is gone.

    A log that can't be read (its node is gone, no permission) gives one line that says so: callers want to explain a
    failure, and must not hide it.
    """
    hasty = replace(cluster, patience=min(cluster.patience, _ENDED_PATIENCE))
    query = {"tailLines": str(lines), **({"container": container} if container else {})}
    try:
        return str(hasty.request("get", POD, pod, query=query, part="/log")).splitlines()
    except ClusterError as error:
        return [] if error.status in _NOT_YET else [f"(the log can't be read: {error})"]
