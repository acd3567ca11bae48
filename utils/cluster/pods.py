"""A pod's status in words. Pure: sends no request."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from utils.names import QUEUE_LABEL

_IMAGE_REASONS = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
REFUSED = "pod refused: "
"""How `job_pending_reason` begins if waiting does not help."""

# The final verdict of a policy, an admission plugin or the validation; an unreachable webhook says otherwise.
_FOR_GOOD = ("is forbidden", "denied the request", "is invalid")
_SIGNALS = {137: "killed (SIGKILL)", 143: "terminated (SIGTERM)", 139: "crashed (SIGSEGV)", 134: "aborted (SIGABRT)"}


@dataclass(frozen=True)
class PodState:
    """A pod's state.

    Attributes:
        phase: Pending, Running, Succeeded, Failed or Unknown.
        started: a container (not an init container) has started; pending deadlines end here.
        pending_reason: why it has not started, with the cluster's own text: `unschedulable: 0/3 nodes are ...`, `image
            pull: ...`, `volume: ...`, `container: ...`, `queue: ...`; "" if it has started, or nothing is known.
        container: the container that failed; "" if none did.
        reason: of the failure: OOMKilled, Error, Evicted, DeadlineExceeded, ...
        exit_code: of the container that failed; None if no container ended with one.
        message: the termination message of the pod's first container (the outputs of a task that succeeded).
        disrupted: the cluster removed the pod (evicted, preempted, node drained); a new one may succeed.
        failure: the failure in one sentence for users; "" if there is none.
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
        events: about this pod (`events_of`), oldest first; they explain what a pending pod is waiting for.
    """
    status = pod.get("status") or {}
    phase = status.get("phase") or "Pending"
    containers = status.get("containerStatuses") or []
    started = phase in ("Running", "Succeeded") or any(_ran(c) for c in containers)
    failed = next((c for c in [*(status.get("initContainerStatuses") or []), *containers] if _exit_code(c)), None)
    disruption = _condition(status, "DisruptionTarget", "True")
    ended = _terminated(failed) if failed else {}
    # The pod's own reason (Evicted, DeadlineExceeded) takes precedence: the container's is only its consequence.
    reason = status.get("reason") or ended.get("reason") or disruption.get("reason") or ""
    broken = bool(failed) or phase == "Failed"
    return PodState(
        phase=phase,
        started=started,
        pending_reason="" if started or broken else _pending_reason(status, events),
        container=failed["name"] if failed else "",
        reason=reason if broken else "",
        exit_code=_exit_code(failed) if failed else None,
        message=_message(pod, containers),
        disrupted=bool(disruption),
        failure=_failure(status, failed, disruption) if broken else "",
    )


def container_ended(pod: dict[str, Any], container: str) -> bool:
    """Whether a container will not write anything else. Containers here are never restarted within their pod."""
    status = pod.get("status") or {}
    statuses = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    mine: dict[str, Any] = next((c for c in statuses if c["name"] == container), {})
    return status.get("phase") in ("Succeeded", "Failed") or bool(_terminated(mine))


def waits_in_queue(job: dict[str, Any], pod: dict[str, Any] | None) -> bool:
    """Whether a queue such as Kueue holds a Job (it is suspended) or its pod (by a scheduling gate)."""
    gates = (pod or {}).get("spec", {}).get("schedulingGates")
    return bool(job["spec"].get("suspend") or gates)


def job_pending_reason(job: dict[str, Any], events: Sequence[dict[str, Any]] = ()) -> str:
    """Why a Job has no pod yet; "" if nothing is known.

    It begins with `queue: ` (suspended), `quota: `, `pod refused: ` (permanent unless something is changed: pod
    security, a missing service account), or `no pod yet: ` (the server retries).

    Args:
        events: about this Job (`events_of(cluster, "Job", name)`): FailedCreate contains the text of the refusal.
    """
    if job["spec"].get("suspend"):
        queue = job.get("metadata", {}).get("labels", {}).get(QUEUE_LABEL, "")
        return f"queue: the Job is suspended until its queue {queue}".rstrip() + " admits it"
    told = [e for e in events if e.get("reason") in ("FailedCreate", "SuccessfulCreate")]
    refused = _last(told[-1:], {"FailedCreate"})
    if not refused:
        return ""
    # The pod has no name yet, and the essential part must fit into a line.
    why = re.sub(r'^Error creating: (pods "[^"]*" is forbidden: )?', "", refused)
    if "quota" in why:
        return f"quota: {why}"
    return (REFUSED if any(text in refused for text in _FOR_GOOD) else "no pod yet: ") + why


def _terminated(container: dict[str, Any]) -> dict[str, Any]:
    return (container.get("state") or {}).get("terminated") or {}


def _exit_code(container: dict[str, Any]) -> int:
    return _terminated(container).get("exitCode") or 0


def _ran(container: dict[str, Any]) -> bool:
    """Whether it is running or has ended, even if it could not be started: it no longer waits."""
    return bool({"running", "terminated"} & (container.get("state") or {}).keys())


def _condition(status: dict[str, Any], kind: str, value: str) -> dict[str, Any]:
    found = (c for c in status.get("conditions") or [] if c["type"] == kind and c["status"] == value)
    return next(found, {})


def _last(events: Sequence[dict[str, Any]], reasons: set[str]) -> str:
    """The text of the newest event with one of these reasons."""
    return next((e.get("message") or "" for e in reversed(events) if e.get("reason") in reasons), "")


def _message(pod: dict[str, Any], containers: list[dict[str, Any]]) -> str:
    first = ((pod.get("spec") or {}).get("containers") or [{}])[0].get("name")
    found = next((c for c in containers if c["name"] == first), {})
    return _terminated(found).get("message") or ""


def _pending_reason(status: dict[str, Any], events: Sequence[dict[str, Any]]) -> str:
    scheduled = _condition(status, "PodScheduled", "False")
    if scheduled.get("reason") == "SchedulingGated":
        return f"queue: {scheduled.get('message') or 'the pod waits for a scheduling gate'}"
    if scheduled:
        text = scheduled.get("message") or _last(events, {"FailedScheduling"})
        return ("volume: " if "persistentvolumeclaim" in text.lower() else "unschedulable: ") + text
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        state = container.get("state") or {}
        waiting = state.get("waiting") or {}
        reason = waiting.get("reason") or ""
        if reason in _IMAGE_REASONS:
            # "Back-off pulling image" hides the cause; the event before it names it.
            return f"image pull: {_pull_failure(events) or waiting.get('message') or reason}"
        if reason and reason not in ("ContainerCreating", "PodInitializing"):
            return f"container: {reason}: {waiting.get('message') or ''}".rstrip(": ")
        if "running" in state:
            return f"init container {container['name']} is running"
    volume = _last(events, {"FailedMount", "FailedAttachVolume", "FailedMapVolume"})
    if volume:
        return f"volume: {volume}"
    sandbox = _last(events, {"FailedCreatePodSandBox", "FailedScheduling", "FailedPreemption"})
    return f"node: {sandbox}" if sandbox else ""


def _pull_failure(events: Sequence[dict[str, Any]]) -> str:
    texts = [e.get("message") or "" for e in events if e.get("reason") == "Failed"]
    return next((text for text in reversed(texts) if text.startswith("Failed to pull image")), "")


def _failure(status: dict[str, Any], failed: dict[str, Any] | None, disruption: dict[str, Any]) -> str:
    parts = []
    if status.get("reason") or disruption:
        reason = status.get("reason") or disruption.get("reason") or ""
        text = status.get("message") or disruption.get("message") or ""
        parts.append(f"the pod ended: {reason}: {text}".rstrip(": "))
    if failed:
        ended = _terminated(failed)
        code = ended["exitCode"]
        reason = ended.get("reason") or "Error"
        if reason == "OOMKilled":
            parts.append(f"container {failed['name']} used more memory than its limit (OOMKilled, exit code {code})")
        elif reason == "Error":
            parts.append(f"container {failed['name']} ended with exit code {code}")
            parts += [_SIGNALS[code]] if code in _SIGNALS else []
        else:
            text = f": {ended['message']}" if ended.get("message") else ""
            parts.append(f"container {failed['name']} could not run: {reason} (exit code {code}){text}")
    return "; ".join(parts) or status.get("message") or "the pod failed, and its status does not say why"
