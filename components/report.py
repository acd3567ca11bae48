"""The last stage: the proof, as a page, as JSON and as metrics."""

from kfp import dsl

from components.stage import stage
from utils.images import NOTEBOOK


@stage(image=NOTEBOOK)
def report(
    data_dir: str,
    run_id: str,
    notes: list,
    object_store_secret_dir: str,
    ca_file: str,
    name: str,
    page: dsl.Output[dsl.HTML],
    data: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Show what the run made: an HTML page, the same facts as JSON, and the scores as metrics.

    With the object store's Secret mounted, page and JSON also go beside the archive, as KEY.report.html and
    KEY.report.json: the volume does not outlive the run, and not every place has an artifact store. Returns where the
    page is in the object store, or nothing.

    At its end, which is the run's, it notes on the volume claim whether the candidate was published, for clean up.

    Args:
        data_dir: The run's volume; page and JSON also lie there, under report/.
        run_id: Name of the run.
        notes: Remarks shown at the top of the page.
        object_store_secret_dir: Folder of the object store's Secret; may be empty.
        ca_file: PEM file of additional certificate authorities; may be missing.
        name: Name of the archive, for a report of a run that published none; blank for the Secret's data_key.
        page: The page; it loads nothing from elsewhere.
        data: Everything the page shows, as JSON.
        metrics: Scores of base and candidate, and their change.
    """
    from utils.stages.report.stage import Reporting, make_report

    given = Reporting(data_dir, run_id, notes, object_store_secret_dir, ca_file, name)
    place, measured = make_report(given, page.path, data.path)
    for metric, value in measured.items():
        metrics.log_metric(metric, value)
    return place
