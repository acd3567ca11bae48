"""Stage 8, publish."""

from kfp import dsl

from components.stage import stage
from utils.images import NOTEBOOK
from utils.stages.archive import tree_size, write_tar
from utils.stages.authorities import ca_bundle
from utils.stages.credentials import object_store_settings
from utils.stages.marker import finished_result, read_marker, write_marker
from utils.stages.object_store import s3_client, upload_stream
from utils.stages.publish import archive_key, gate_checks, provenance, read_scores


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
    import os
    import signal
    import sys
    import time

    started = time.time()
    settings = object_store_settings(object_store_secret_dir)
    inputs = {
        "upstream": read_marker(data_dir, "final_eval").get("inputs_hash", ""),
        "store": [settings["endpoint"], settings["bucket"], name or settings["data_key"]],
        "gate": [min_mt_bench, max_error_rate, require_improvement],
    }
    result = finished_result(data_dir, "publish", inputs, force)
    if result is None:
        scores = read_scores(data_dir)
        checks = gate_checks(scores, min_mt_bench, max_error_rate, require_improvement)
        for check in checks:
            verdict = "passed" if check["passed"] else "NOT PASSED"
            print(f"gate {check['name']}: {check['value']}, limit {check['limit']}: {verdict}", flush=True)
        passed = all(check["passed"] for check in checks)
        result = {"published": passed, "key": "", "sha256": "", "size": 0, "gate": {"passed": passed, "checks": checks}}
        if passed:
            candidate = scores["mt_bench"]["candidate"]
            folders = [(os.path.join(data_dir, candidate), "model"), (os.path.join(data_dir, "scores"), "scores")]
            files = {"provenance.json": provenance(data_dir, run_id, candidate, checks)}
            key = archive_key(name, settings["data_key"], started)
            client = s3_client(settings, ca_bundle(ca_file))
            # Kubernetes and the local runner stop a task by SIGTERM: as an exception it lets the upload be aborted.
            before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
            try:
                result |= upload_stream(
                    settings, client, key, tree_size(folders), lambda sink: write_tar(sink, folders, files, key)
                )
            finally:
                signal.signal(signal.SIGTERM, before)
            print(f"published s3://{settings['bucket']}/{key}", flush=True)
        else:
            print("nothing is published; the candidate stays on the run's volume", flush=True)
        write_marker(data_dir, "publish", inputs, [], result, started)
    metrics.log_metric("published", float(result["published"]))
    metrics.log_metric("published_archive_bytes", result["size"])
    return result["key"]
