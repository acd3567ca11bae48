"""What the cluster says about a run's Jobs and pods, kept up to date by two watches.

It may be old: while the API server is away, nothing new is known. Whoever draws conclusions from time that has passed
asks `seen_until`.
"""

import threading
from typing import Any

from utils.cluster.cluster import Cluster
from utils.cluster.kinds import JOB, POD, Kind
from utils.cluster.watch import watch
from utils.errors import IlabError

Object = dict[str, Any]

# Proxies may hold back a watch until it ends; a run starts nevertheless.
_READY_SECONDS = 10.0
_READY_POLL = 0.02


class Observed:
    """The Jobs and pods with a label. A context manager: the watches run while it lasts.

    Args:
        cluster: where.
        labels: the selector.
    """

    def __init__(self, cluster: Cluster, labels: str) -> None:
        self._cluster, self._labels = cluster, labels
        self._changed = threading.Condition()
        self._found: dict[Kind, dict[str, Object]] = {JOB: {}, POD: {}}
        self._gone: set[str] = set()
        self._synced = dict.fromkeys(self._found, float("-inf"))
        self._stopped = threading.Event()
        self._error: IlabError | None = None

    def __enter__(self) -> "Observed":
        for kind in self._found:
            threading.Thread(target=self._follow, args=(kind,), daemon=True, name=f"watch {kind.name}").start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopped.set()  # a thread may still wait for its last answer; nobody waits for it

    def check(self) -> None:
        """Wait until all that is there is known, and the cluster has granted both watches.

        Raises:
            IlabError: it can't be watched.
        """
        until = self._cluster.clock() + _READY_SECONDS
        wanted = {("watch", kind.resource) for kind in self._found}
        while self.seen_until() < 0 or (not wanted <= self._cluster.health.granted and self._cluster.clock() < until):
            self.wait(_READY_POLL)

    def seen_until(self) -> float:
        """The time, by the cluster's clock, up to which all changes are known; negative at first."""
        with self._changed:
            return min(self._synced.values())

    def any_runs(self) -> bool:
        """Whether a Job is there that has not ended."""
        with self._changed:
            return not all(job_end(job)[0] for job in self._found[JOB].values())

    def job(self, uid: str) -> Object | None:
        with self._changed:
            return self._found[JOB].get(uid)

    def is_gone(self, uid: str) -> bool:
        """Whether the Job was there and no longer is, as far as is known."""
        with self._changed:
            return uid in self._gone

    def pods(self, job_uid: str) -> list[Object]:
        """Pods of a Job, the oldest first."""
        with self._changed:
            found = [pod for pod in self._found[POD].values() if owned_by(pod, job_uid)]
        return sorted(found, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))

    def wait(self, seconds: float) -> None:
        """Wait for a change, `seconds` at most.

        Raises:
            IlabError: the cluster can no longer be watched.
        """
        with self._changed:
            if self._error is None:
                self._changed.wait(seconds)
            if self._error is not None:
                raise self._error

    def wake(self) -> None:
        """End every `wait` now."""
        with self._changed:
            self._changed.notify_all()

    def _follow(self, kind: Kind) -> None:
        try:
            for change, found in watch(self._cluster, kind, self._labels, stop=self._stopped.is_set):
                self._take(kind, change, found)
        except IlabError as error:
            self._end(error)
        finally:
            if not self._stopped.is_set():  # those who wait must not wait for ever, whatever it was
                self._end(
                    IlabError(f"the watch of {kind.name}s has broken down", "a defect; its traceback is on stderr")
                )

    def _end(self, error: IlabError) -> None:
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def _take(self, kind: Kind, change: str, found: Object) -> None:
        with self._changed:
            if change == "DELETED":
                self._found[kind].pop(found["metadata"]["uid"], None)
                self._gone.add(found["metadata"]["uid"])
            elif change == "SYNC":
                self._synced[kind] = self._cluster.clock()
            else:
                self._found[kind][found["metadata"]["uid"]] = found
                self._gone.discard(found["metadata"]["uid"])
            self._changed.notify_all()


def owned_by(found: Object, uid: str) -> bool:
    return any(owner["uid"] == uid for owner in found["metadata"].get("ownerReferences") or [])


def job_end(job: Object) -> tuple[str, str]:
    """(Complete or Failed, the condition's reason and message) of a Job; ("", "") while it runs."""
    for condition in (job.get("status") or {}).get("conditions") or []:
        if condition["status"] == "True" and condition["type"] in ("Complete", "Failed"):
            return condition["type"], ": ".join(filter(None, (condition.get("reason"), condition.get("message"))))
    return "", ""
