"""Stage 1: the run's volume claim."""

from components.stage import stage
from utils.images import NOTEBOOK


@stage(image=NOTEBOOK)
def create_volume(run_id: str, size: str, storage_class: str, access_mode: str) -> str:
    """Create the volume claim of the run, named after it. Wait until it is bound, if its class binds immediately.

    It fails, and creates nothing, if volumes of the storage class can be mounted on one node only.

    Args:
        run_id: id of the run; the claim is ilab-RUN_ID.
        size: Kubernetes quantity, like 100Gi.
        storage_class: storage class; empty for the cluster's default.
        access_mode: ReadWriteMany, unless everything runs on one node.

    Returns:
        The claim's name.
    """
    from utils.stages.volume.claims import VolumeClaim, create_claim

    return create_claim(VolumeClaim(run_id, size, storage_class, access_mode))
