"""Stage 8, publish."""

from kfp import dsl

from components.stage import stage
from utils.images import NOTEBOOK


@stage(image=NOTEBOOK)
def publish(
    data_dir: str,
    run_id: str,
    object_store_secret_dir: str,
    ca_file: str,
    name: str,
    min_mt_bench: float,
    max_error_rate: float,
    require_improvement: bool,
    force: bool,
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Uploads the candidate model, its scores and its provenance as one archive, if the gate lets it pass.

    The archive YYYY-MM-DD_HH-MM-SS.NAME (UTC) goes beside the imported one, with KEY.sha256. It holds model/, scores/
    and provenance.json; a NAME ending in .tar gives a plain tar, any other a gzip tar whose blocks are stored, since
    weights do not compress. Returns its key, or nothing when the gate held the candidate back.

    Args:
        data_dir: The run's volume.
        run_id: The run's id, for the provenance.
        object_store_secret_dir: Folder of the object store's Secret.
        ca_file: PEM file of additional certificate authorities; may be missing.
        name: Name, or key with slashes, after the time stamp; blank for the Secret's data_key.
        min_mt_bench: Lowest MT-Bench score that is published, 0 to 10; 0 for any.
        max_error_rate: Highest judge error rate that is published, 0 to 1; 1 for any.
        require_improvement: Publish only a candidate that beats the base model in at least one comparison and loses in
            none.
        force: Publish again although this volume's candidate was published under other conditions.
        metrics: 1 when published, else 0, and the bytes of the archive.
    """
    from utils.stages.publish import Publication, publish_candidate

    given = Publication(
        data_dir,
        run_id,
        object_store_secret_dir,
        ca_file,
        name,
        min_mt_bench,
        max_error_rate,
        require_improvement,
        force,
    )
    key, measured = publish_candidate(given)
    for metric, value in measured.items():
        metrics.log_metric(metric, value)
    return key
