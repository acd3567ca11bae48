"""`compare`: two runs side by side."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from utils.cli.comparison import compare_given, compare_scores, score_rows, verdict_line
from utils.cli.options import confidence_option, home_option, output_option
from utils.cli.pages.compare import compare_page
from utils.cli.pages.page import page_options, write_page
from utils.cli.reports import find_report, reading
from utils.cli.store_access import store_options
from utils.cli.terminal import on_terminal, print_table

_WIDTH = 80
"""Characters of a line that are read without scrolling."""


@click.command()
@click.argument("first", metavar="RUN")
@click.argument("second", metavar="RUN")
@confidence_option
@page_options
@store_options
@home_option
@output_option
def compare(
    first: str, second: str, confidence: float, page: Path | None, show: bool, secret: Path | None, ca: Path | None,
    home: Path, output: str,
) -> None:  # fmt: skip
    """Compare the second RUN with the first: what they were given differently, and how their candidates score.

    RUN is the id of a run started on this machine, a part of one, or `latest`; a report.json, or a result's folder; or,
    with --secret, an archive's key in the object store.

    If both candidates were asked the same questions, the change of a score has an interval and a verdict: better, worse
    or not distinguishable. MT-Bench chose the checkpoint in each run, so both MT-Bench scores are a little too high.
    """
    runs = [find_report(run, home, secret, ca, f"ilab-pipeline compare {first} {second}") for run in (first, second)]
    with reading(*runs):
        changed = compare_given(*runs)
        scores = compare_scores(runs[0], runs[1], confidence)
        if page or show:
            text = compare_page(runs, scores, changed, confidence)
            page = write_page(page, home, "-".join(["compare", *(run.name for run in runs)]), text, show)
    if output == "json":
        facts = {
            "runs": [{"run_id": run.name, "address": run.address, "headline": run.facts["headline"]} for run in runs],
            "confidence": confidence,
            "given": [asdict(one) for one in changed],
            "scores": [asdict(one) for one in scores],
            "page": str(page or ""),
        }
        click.echo(json.dumps(facts, indent=1))
        return
    for label, run in zip(("first: ", "second:"), runs, strict=True):
        click.echo(f"{label} {on_terminal(run.name)}")
    click.echo()
    if scores:
        print_table(score_rows(scores, confidence), [on_terminal(verdict_line(one)) for one in scores])
    else:
        click.echo("neither run has scores")
    click.echo()
    click.echo("given differently, first → second:" if changed else "both were given the same")
    for one in changed:
        name, old, new = (on_terminal(text) for text in (one.name, one.first or "–", one.second or "–"))
        line = f"  {name}: {old} → {new}"
        click.echo(line if len(line) <= _WIDTH else f"  {name}:\n    {old}\n  → {new}")
    if page:
        click.echo(f"page: {page}")
