"""`judges`: how far the judge of a run can be trusted, by people and by other judges."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from utils.cli.judged.answers import Judged, judged_answers
from utils.cli.judged.others import Rater, other_judge, rated_by
from utils.cli.judged.panel import panels
from utils.cli.judged.people import checked
from utils.cli.judged.ratings_file import read_ratings
from utils.cli.judged.text import print_panel, print_people
from utils.cli.options import confidence_option, home_option, option, output_option
from utils.cli.pages.judges import judges_page
from utils.cli.pages.page import page_options, write_page
from utils.cli.reports import Report, find_report, reading
from utils.cli.store_access import store_options
from utils.cli.terminal import on_terminal
from utils.errors import UsageError
from utils.foreign_text import TextError, read_json
from utils.stages.evaluation.audit import kinship


def _fields(ctx: click.Context, param: click.Parameter, value: str) -> dict[str, Any]:
    try:
        found = read_json(value)
    except TextError as error:
        raise click.BadParameter(str(error)) from None
    if not isinstance(found, dict):
        raise click.BadParameter("it is not a JSON object")
    return found


@click.command()
@click.argument("run_id", metavar="RUN")
@option(
    "--ratings",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File that `ilab-pipeline sample` wrote, with ratings of people.",
)
@option(
    "--judge",
    "secrets",
    type=click.Path(path_type=Path, exists=True),
    multiple=True,
    help="Another judge: Kubernetes YAML of its Secret, or a folder with the files endpoint, model_name, api_token. "
    "Can be repeated.",
)
@option(
    "--judge-ca",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="PEM file of the certificate authority of the other judges.",
)
@option(
    "--judge-options",
    default="{}",
    show_default=True,
    callback=_fields,
    help='JSON object with fields of each request to the other judges, as in {"max_tokens": 8192}.',
)
@option("--workers", type=click.IntRange(1, 256), default=8, show_default=True, help="Requests to a judge at a time.")
@confidence_option
@page_options
@store_options
@home_option
@output_option
def judges(
    run_id: str, ratings: Path | None, secrets: Sequence[Path], judge_ca: Path | None, judge_options: dict[str, Any],
    workers: int, confidence: float, page: Path | None, show: bool, secret: Path | None, ca: Path | None, home: Path,
    output: str,
) -> None:  # fmt: skip
    """Compare the judge of RUN with people and with other judges.

    RUN is what `ilab-pipeline report` takes. People rate a sample of the answers: `ilab-pipeline sample RUN FILE`
    writes it. Their ratings tell the judge's bias, and correct its mean over all questions (prediction-powered
    inference), with an interval.

    Other judges are asked from this machine, for all answers that the run's judge rated, with the same prompts. Their
    ratings are kept: a command that was interrupted continues. Each judge's scores are shown with what they say of the
    candidate. Agreement is Krippendorff's alpha: reliable from 0.8 on, tentative from 0.667 on.
    """
    if not ratings and not secrets:
        what, cause = "there is nothing to compare the judge with", "neither --ratings nor --judge is given"
        raise UsageError(what, cause, f"ilab-pipeline sample {run_id} FILE")
    report = find_report(run_id, home, secret, ca, f"ilab-pipeline judges {run_id}")
    answers = judged_answers(report)
    with reading(report):
        own, teacher = _names(report)
    people = checked(answers, read_ratings(ratings, answers), confidence) if ratings else []
    kept = home / "ratings" / str(report.facts.get("run_id") or report.name).replace("/", "_")
    others = [_rater(one, answers, judge_ca, judge_options, kept, workers) for one in secrets]
    found = panels(answers, [Rater(own, answers), *others], confidence) if others else []
    warnings = [said for one in (own, *(other.name for other in others)) if (said := kinship(one, teacher))]
    facts: dict[str, Any] = {"run_id": report.name, "judge": own, "confidence": confidence, "warnings": warnings}
    if page or show:
        text = judges_page({**facts, "people": people, "panels": found})
        page = write_page(page, home, f"judges-{report.name}", text, show)
    if output == "json":
        facts |= {"people": [*map(asdict, people)], "judges": [*map(asdict, found)], "page": str(page or "")}
        click.echo(json.dumps(facts, indent=1))
        return
    click.echo(f"{on_terminal(report.name)}, judge {on_terminal(own)}")
    for warning in warnings:
        click.echo(f"warning: {on_terminal(warning)}")
    for one in people:
        click.echo()
        print_people(one, confidence)
    for panel in found:
        click.echo()
        print_panel(panel, confidence)
    if page:
        click.echo(f"\npage: {page}")


def _names(report: Report) -> tuple[str, str]:
    """The run's judge and its teacher; "" for what the report does not name."""
    scores, generated = report.facts["scores"], report.facts["done"].get("sdg") or {}
    judged = scores.get("mt_bench") or scores.get("mt_bench_branch") or {}
    return str(judged.get("judge_model") or "the run's judge"), str(
        (generated.get("inputs") or {}).get("teacher") or ""
    )


def _rater(
    secret: Path, answers: Sequence[Judged], ca: Path | None, options: dict[str, Any], kept: Path, workers: int
) -> Rater:
    with tempfile.TemporaryDirectory() as scratch:
        return rated_by(other_judge(secret, Path(scratch)), answers, ca, options, kept, workers)
