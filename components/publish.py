"""Stage 8, publish."""

from kfp import dsl

from components.stage import stage
from utils.images import NOTEBOOK


@stage(image=NOTEBOOK)
def publish(
    data_dir: str,
    run_id: str,
    store_secret_dir: str,
    data_key: str,
    ca_file: str,
    name: str,
    min_mt_bench: float,
    max_error_rate: float,
    require_improvement: bool,
    confidence: float,
    max_regression: dict,
    images: dict,
    force: bool,
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Upload the candidate model with its card, its scores and its provenance as one archive, if the gate accepts it.

    The archive YYYY-MM-DD_HH-MM-SS.NAME (UTC) is uploaded beside the imported one, with KEY.sha256. It contains model/,
    scores/ and provenance.json, which has the hash of every file: `ilab-pipeline verify` compares them. With a NAME in
    .tar it is a plain tar, else a gzip tar with uncompressed blocks, because weights do not compress. Returns the key,
    or nothing if the gate rejects the candidate.

    Args:
        data_dir: The run's volume.
        run_id: The run's id, for the provenance.
        store_secret_dir: Folder of the object store's Secret.
        data_key: Key of the imported archive; blank for the Secret's data_key.
        ca_file: PEM file with additional certificate authorities; may be missing.
        name: Name, or key with slashes, after the timestamp; blank for the Secret's data_key. An absolute path is a
            folder of this machine, into which model/, scores/ and provenance.json go instead.
        min_mt_bench: Lowest MT-Bench score to publish, 0 to 10; 0 for any.
        max_error_rate: Highest judge error rate to publish, 0 to 1; 1 for any.
        require_improvement: Publish only a candidate that is better than the base model in at least one comparison and
            worse in none, each by more than chance.
        confidence: Confidence of the intervals, 0.5 to 0.999.
        max_regression: For each comparison that is named, the largest loss that its interval may leave possible; {} for
            any.
        images: The pipeline's images by name, for the provenance.
        force: Publish again if this volume's candidate was published with other inputs.
        metrics: 1 if published, else 0; size of the archive in bytes.
    """
    from utils.stages.publish import Publication, publish_candidate

    given = Publication(
        data_dir,
        run_id,
        store_secret_dir,
        data_key,
        ca_file,
        name,
        min_mt_bench,
        max_error_rate,
        require_improvement,
        confidence,
        max_regression,
        images,
        force,
    )
    key, measured = publish_candidate(given)
    for metric, value in measured.items():
        metrics.log_metric(metric, value)
    return key
