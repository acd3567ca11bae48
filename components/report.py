"""The last stage: the report as a page, as JSON and as metrics."""

from kfp import dsl

from components.stage import stage
from utils.images import NOTEBOOK


@stage(image=NOTEBOOK)
def report(
    data_dir: str,
    run_id: str,
    notes: list,
    store_secret_dir: str,
    data_key: str,
    ca_file: str,
    name: str,
    page: dsl.Output[dsl.HTML],
    data: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Report the results of the run: an HTML page, the same facts as JSON, and the scores as metrics.

    If the object store's Secret is mounted, page and JSON are also uploaded beside the archive, as KEY.report.html and
    KEY.report.json, because the volume is deleted after the run, and not every backend has an artifact store. Returns
    the address of the page in the object store, or nothing.

    As the last step of the run, it records on the volume claim whether the candidate was published, for clean-up.

    Args:
        data_dir: The run's volume; page and JSON are also written there, under report/.
        run_id: Name of the run.
        notes: Remarks to show at the top of the page.
        store_secret_dir: Folder of the object store's Secret; may be empty.
        data_key: Key of the imported archive; blank for the Secret's data_key.
        ca_file: PEM file with additional certificate authorities; may be missing.
        name: Name of the archive, for the report of a run that published none; blank for the Secret's data_key.
        page: The self-contained page.
        data: Everything the page shows, as JSON.
        metrics: Scores of base and candidate, and their change.
    """
    from utils.stages.report.stage import Reporting, make_report

    given = Reporting(data_dir, run_id, notes, store_secret_dir, data_key, ca_file, name)
    place, measured = make_report(given, page.path, data.path)
    for metric, value in measured.items():
        metrics.log_metric(metric, value)
    return place
