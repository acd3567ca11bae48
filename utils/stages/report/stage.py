"""The last stage: the proof, as a page and as JSON, on the volume, as artifacts and in the object store."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from utils.stages.authorities import ca_bundle
from utils.stages.credentials import secret_keys
from utils.stages.disk import tells_full_disk
from utils.stages.folders import own_path
from utils.stages.object_store.client import store_of_secret
from utils.stages.publish import archive_key
from utils.stages.report.facts import report_facts
from utils.stages.report.mlflow import track, tracked
from utils.stages.report.page import render
from utils.stages.volume.ending import mark_outcome

MEDIA_TYPES = {"html": "text/html", "json": "application/json"}


@dataclass(frozen=True)
class Reporting:
    """What the stage is given: the parameters of the component `report`."""

    data_dir: str
    run_id: str
    notes: list[str]
    store_secret_dir: str
    data_key: str
    ca_file: str
    name: str


@tells_full_disk
def make_report(given: Reporting, page: str, data: str) -> tuple[str, dict[str, float]]:
    """Write page and JSON, and note on the volume claim whether the candidate was published.

    Args:
        page: where the page goes besides the volume, a path.
        data: where the JSON goes.

    Returns:
        where the page is beside the published archive, or ""; and the stage's metrics.
    """
    facts = report_facts(given.data_dir, given.run_id, given.notes)
    Path(given.data_dir, "report").mkdir(exist_ok=True)
    parts = {"html": render(facts), "json": json.dumps(facts, indent=1)}
    for (kind, text), artifact in zip(parts.items(), (page, data), strict=True):
        for path in (artifact, f"{given.data_dir}/report/report.{kind}"):
            Path(path).write_text(text, "utf-8", "replace")
    measured: dict[str, float] = {}
    for measure in facts["comparisons"]:
        said = measure["verdict"]
        values = {name: measure[name] for name in ("base", "candidate", "change")}
        values |= {name: said.get(name) for name in ("low", "high", "needed")}
        if "p" in said:
            values["verdict"] = (measure["better"] is True) - (measure["better"] is False)
        measured |= {f"{measure['key']}_{name}": value for name, value in values.items() if value is not None}
    print(f"{facts['headline']}. {facts['fate']}.", flush=True)
    published = facts["done"].get("publish", {}).get("result", {})
    place = upload_report(given, published.get("key", ""), parts)
    track(tracked(facts, measured, parts["html"], ended_at(given)), os.environ, ca_bundle(given.ca_file))
    ended = f"{facts['headline']}. {facts['fate']}"
    mark_outcome(given.run_id, "succeeded" if published.get("published") else ended)
    return place, measured


def ended_at(given: Reporting) -> float:
    """When the last stage finished, in seconds since the epoch: the same when the report is made again."""
    done = Path(given.data_dir, "done")
    return done.stat().st_mtime if done.exists() else time.time()


def upload_report(given: Reporting, archive: str, parts: Mapping[str, str]) -> str:
    """Put the parts beside the archive; returns where the page is, "" without the object store's Secret."""
    if own_path(given.name):
        for kind, text in parts.items() if archive else ():
            Path(archive, f"report.{kind}").write_text(text, "utf-8", "replace")
        return f"{archive}/report.html" if archive else ""
    if not secret_keys(given.store_secret_dir):
        return ""
    store = store_of_secret(given.store_secret_dir, ca_bundle(given.ca_file), data_key=given.data_key)
    key = (archive or archive_key(given.name, store.data_key, ended_at(given))) + ".report."
    for kind, text in parts.items():
        store.put(key + kind, text.encode("utf-8", "replace"), ContentType=MEDIA_TYPES[kind])
    place = f"s3://{store.bucket}/{key}html"
    print(f"the report is {place}", flush=True)
    return place
