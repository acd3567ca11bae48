"""What the cluster refuses to make, for good unless someone changes something."""

import re

from utils.cluster.errors import ClusterError, ConflictError, ForbiddenError
from utils.cluster.pods import REFUSED
from utils.errors import TaskRefused

# An account, a right or a policy may be a moment late. A Job's controller tries again 1, 2, 4, ... 32 s after a
# refusal; the last of these comes 63 s after the first.
REFUSED_SECONDS = 75.0
# The manifest can't be read, is too long, or not valid.
_NOT_VALID = (400, 413, 422)
# Verdicts about the namespace, not about the object.
_MAY_CHANGE = ("quota", "being terminated")


class PodRefused(TaskRefused):
    """A task's pod is refused for good."""


class Refusals:
    """Refusals that the tasks of a run have met, with the time since when each stands.

    What one task has waited for, the next one, such as the exit task, need not wait for again.
    """

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def stands(self, reason: str, now: float) -> bool:
        """Whether a reason for which there is no pod is a refusal that has stood long enough.

        Args:
            reason: of `job_pending_reason`.
            now: seconds by the cluster's clock.
        """
        return reason.startswith(REFUSED) and now - self._since.setdefault(reason, now) >= REFUSED_SECONDS

    def over(self, reason: str) -> None:
        """The pod that was refused for this reason is there."""
        self._since.pop(reason, None)


def is_for_good(error: ClusterError) -> bool:
    """Whether the cluster has judged an object that it was asked to make: waiting does not change that.

    A missing right is no such verdict.
    """
    if isinstance(error, ConflictError) or error.status in _NOT_VALID:
        return True
    admission = error.status == 403 and not isinstance(error, ForbiddenError)
    return admission and not any(text in error.cause for text in _MAY_CHANGE)


def remedy(reason: str, namespace: str) -> str:
    """What to do about a refusal."""
    if account := re.search(r'serviceaccount "([^"]+)" not found', reason):
        return (
            f"make the service account {account[1]} (kubectl apply -k manifests/access makes ilab-pipeline), or name "
            f"one that is there with --service-account: kubectl -n {namespace} get serviceaccounts"
        )
    if security := re.search(r'violates PodSecurity "([^"]+)": (.*)', reason):
        fields = ", ".join(re.findall(r"(?:^|, )([^,(]+?) \(", security[2]))
        return f"correct in the --pod-overlay what {security[1]} does not allow: {fields or 'see the cause'}"
    return f"correct in the --pod-overlay what it names, or have it allowed in the namespace {namespace}"
