"""What a pod's status says, in words. Pure: no request is made here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PodState:
    """A pod's state.

    Attributes:
        phase: Pending, Running, Succeeded, Failed or Unknown.
        started: a container (no init container) has started; pending deadlines end here.
        pending_reason: why it has not started, with the cluster's own text: `unschedulable: 0/3 nodes are ...`,
            `image pull: ...`, `volume: ...`, `quota: ...`; "" when it has, or nothing is known.
        container: the container that failed; "" when none did.
        reason: of the failure: OOMKilled, Error, Evicted, DeadlineExceeded, ...
        exit_code: of the container that failed; None when no container ended with one.
        message: the termination message of the pod's first container (the outputs of a task that succeeded).
        disrupted: the cluster took the pod away (evicted, preempted, node drained); a new one may succeed.
        failure: the failure in one sentence for people; "" when there is none.
    """

    phase: str
    started: bool = False
    pending_reason: str = ""
    container: str = ""
    reason: str = ""
    exit_code: int | None = None
    message: str = ""
    disrupted: bool = False
    failure: str = ""


def pod_state(pod: dict[str, Any], events: Sequence[dict[str, Any]] = ()) -> PodState:
    """The state of a pod.

    Args:
        pod: as the API gives it; a pending pod's containerStatuses may be missing or None.
        events: about this pod (`events_of`), oldest first; they explain what a pending pod waits for.
    """
    raise NotImplementedError


def job_pending_reason(job: dict[str, Any], events: Sequence[dict[str, Any]] = ()) -> str:
    """Why a Job has no pod yet: suspended by a queue, quota, pod security; "" when nothing is known.

    Args:
        events: about this Job (`events_of(cluster, "Job", name)`): FailedCreate carries the refusal's text.
    """
    raise NotImplementedError
