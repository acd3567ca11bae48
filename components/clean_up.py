"""The exit task: what the run made in the cluster is deleted, however the run ended."""

from components.stage import stage
from utils.images import NOTEBOOK


@stage(image=NOTEBOOK)
def clean_up(run_id: str, keep_volume: str) -> None:
    """Delete the run's training jobs and its volume claim, after success, failure and cancellation.

    Pods of the run that have ended and mount the claim go with it: else it would stay as long as they do.

    Args:
        run_id: id of the run.
        keep_volume: never, always, or on_failure: keep the volume of a run that did not get to its end, or whose
            candidate the gate held back.
    """
    from utils.stages.volume.ending import end_run_and_check

    end_run_and_check(run_id, keep_volume)
