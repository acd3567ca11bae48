"""The exit task: what the run made in the cluster is deleted, however the run ended."""

from kfp import dsl

from components.stage import stage
from utils.images import NOTEBOOK
from utils.stages.claims import delete_run_objects
from utils.stages.outcome import failure


@stage(image=NOTEBOOK)
def clean_up(run_id: str, keep_volume: str, status: dsl.PipelineTaskFinalStatus) -> None:
    """Delete the run's training jobs and its volume claim, after success, failure and cancellation.

    Args:
        run_id: id of the run.
        keep_volume: never, on_failure (keep it when the run did not succeed) or always.
        status: how the run ended.
    """
    # The server of OpenShift AI says COMPLETE where KFP's documentation says SUCCEEDED.
    succeeded = status.state in ("SUCCEEDED", "COMPLETE")
    known = keep_volume in ("never", "on_failure", "always")
    keep = keep_volume != "never" and not (keep_volume == "on_failure" and succeeded)
    delete_run_objects(run_id, keep)
    print(f"the run ended: {status.state}; its volume claim ilab-{run_id} is {'kept' if keep else 'deleted'}")
    if not known:
        raise failure(f"k8s_keep_volume is {keep_volume!r}", "it is unknown", "use never, on_failure or always")
