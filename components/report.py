"""The last stage: the proof, as a page, as JSON and as metrics."""

from kfp import dsl

from components.stage import stage
from utils.images import NOTEBOOK
from utils.stages.authorities import ca_bundle
from utils.stages.credentials import object_store_settings
from utils.stages.object_store import s3_call, s3_client
from utils.stages.publish import archive_key
from utils.stages.report.facts import report_facts
from utils.stages.report.page import render
from utils.stages.volume.ending import mark_outcome


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
    import json
    import time
    from pathlib import Path

    facts = report_facts(data_dir, run_id, notes)
    Path(data_dir, "report").mkdir(exist_ok=True)
    parts = (
        ("html", "text/html", page, render(facts)),
        ("json", "application/json", data, json.dumps(facts, indent=1)),
    )
    for kind, _, artifact, text in parts:
        for path in (artifact.path, f"{data_dir}/report/report.{kind}"):
            Path(path).write_text(text, "utf-8", "replace")
    for measure in facts["comparisons"]:
        for which in ("base", "candidate", "change"):
            if measure[which] is not None:
                metrics.log_metric(f"{measure['key']}_{which}", measure[which])
    print(f"{facts['headline']}. {facts['fate']}.", flush=True)
    place = ""
    published = facts["done"].get("publish", {}).get("result", {})
    if Path(object_store_secret_dir, "bucket").exists():
        settings = object_store_settings(object_store_secret_dir)
        client = s3_client(settings, ca_bundle(ca_file))
        key = (published.get("key") or archive_key(name, settings["data_key"], time.time())) + ".report."
        for kind, media_type, _, text in parts:
            body = text.encode("utf-8", "replace")
            s3_call(settings, client, "put_object", Key=key + kind, Body=body, ContentType=media_type)
        place = f"s3://{settings['bucket']}/{key}html"
        print(f"the report is {place}", flush=True)
    mark_outcome(run_id, "succeeded" if published.get("published") else facts["fate"])
    return place
