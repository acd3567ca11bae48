"""The exit task: deletes what the run created in the cluster, however the run ended."""

from components.stage import stage
from utils.images import NOTEBOOK


@stage(image=NOTEBOOK)
def clean_up(run_id: str, keep_volume: str) -> None:
    """Delete the run's training jobs and its volume claim, after success, failure or cancellation.

    Finished pods of the run that mount the claim are deleted with it, because they would keep it from being removed.

    Args:
        run_id: id of the run.
        keep_volume: never, always, or on_failure: keep the volume if the run did not reach its end, or if the gate
            rejected the candidate.
    """
    from utils.stages.volume.ending import end_run_and_check

    end_run_and_check(run_id, keep_volume)
