"""A run whose volume is gone can't be resumed: what its finished tasks wrote is lost."""

from collections.abc import Iterable

from utils.errors import UsageError

REMEDY = "start a new run; unless k8s_keep_volume is never, a failed run keeps its volume"


def lost_volume_error(run_id: str, claims: Iterable[str]) -> UsageError:
    """The refusal to resume a run that lost these claims."""
    return UsageError(
        f"the run {run_id} can't be resumed: its volume {', '.join(claims)} is gone",
        "the pipeline's exit task deleted it, or somebody else did",
        REMEDY,
    )
