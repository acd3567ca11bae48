"""The exit task: what the run made in the cluster is deleted, however the run ended."""

from components.stage import stage
from utils.images import NOTEBOOK
from utils.messages import failure
from utils.stages.volume.ending import end_run


@stage(image=NOTEBOOK)
def clean_up(run_id: str, keep_volume: str) -> None:
    """Delete the run's training jobs and its volume claim, after success, failure and cancellation.

    Pods of the run that have ended and mount the claim go with it: else it would stay as long as they do.

    Args:
        run_id: id of the run.
        keep_volume: never, always, or on_failure: keep the volume of a run that did not get to its end, or whose
            candidate the gate held back.
    """
    end_run(run_id, keep_volume)
    if keep_volume not in ("never", "on_failure", "always"):
        raise failure(f"k8s_keep_volume is {keep_volume!r}", "it is unknown", "use never, on_failure or always")
