"""The last stage: the proof, as a page, as JSON and as metrics."""

from kfp import dsl

from components.stage import stage
from utils.images import NOTEBOOK
from utils.report.facts import report_facts
from utils.report.page import render


@stage(image=NOTEBOOK)
def report(
    data_dir: str,
    run_id: str,
    notes: list,
    page: dsl.Output[dsl.HTML],
    data: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Show what the run made: an HTML page, the same facts as JSON, and the scores as metrics.

    Args:
        data_dir: The run's volume; page and JSON also lie there, under report/.
        run_id: Name of the run.
        notes: Remarks shown at the top of the page.
        page: The page; it loads nothing from elsewhere.
        data: Everything the page shows, as JSON.
        metrics: Scores of base and candidate, and their change.
    """
    import json
    from pathlib import Path

    facts = report_facts(data_dir, run_id, notes)
    Path(data_dir, "report").mkdir(exist_ok=True)
    for name, artifact, text in (("html", page, render(facts)), ("json", data, json.dumps(facts, indent=1))):
        for path in (artifact.path, f"{data_dir}/report/report.{name}"):
            Path(path).write_text(text, "utf-8", "replace")
    for measure in facts["comparisons"]:
        for which in ("base", "candidate", "change"):
            if measure[which] is not None:
                metrics.log_metric(f"{measure['key']}_{which}", measure[which])
    print(f"{facts['headline']}. {facts['fate']}.", flush=True)
