"""`judges`: how far the judge of a run can be trusted, by ratings of people."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from utils.cli.judged.agreement import Agreement
from utils.cli.judged.answers import judged_answers
from utils.cli.judged.people import Checked, checked
from utils.cli.judged.ratings_file import read_ratings
from utils.cli.options import home_option, option, output_option
from utils.cli.reports import find_report
from utils.cli.store_access import store_options
from utils.cli.terminal import on_terminal, print_table
from utils.errors import UsageError


@click.command()
@click.argument("run_id", metavar="RUN")
@option(
    "--ratings",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File that `ilab-pipeline sample` wrote, with ratings of people.",
)
@option(
    "--confidence",
    type=click.FloatRange(0.5, 0.999),
    default=0.95,
    show_default=True,
    help="Confidence of the intervals and verdicts.",
)
@store_options
@home_option
@output_option
def judges(
    run_id: str, ratings: Path | None, confidence: float, secret: Path | None, ca: Path | None, home: Path, output: str
) -> None:
    """Compare the judge of RUN with people: its bias, and what its scores become by their ratings.

    RUN is what `ilab-pipeline report` takes. People rate a sample of the answers: `ilab-pipeline sample RUN FILE`
    writes it. Their ratings correct the judge's mean over all questions (prediction-powered inference), with an
    interval. Agreement is Krippendorff's alpha: reliable from 0.8 on, tentative from 0.667 on.
    """
    if not ratings:
        raise UsageError(
            "there is nothing to compare the judge with",
            "no --ratings are given",
            f"ilab-pipeline sample {run_id} FILE",
        )
    report = find_report(run_id, home, secret, ca, f"ilab-pipeline judges {run_id}")
    answers = judged_answers(report)
    people = checked(answers, read_ratings(ratings, answers), confidence)
    judge = str((report.facts["scores"].get("mt_bench") or {}).get("judge_model") or "")
    if output == "json":
        facts = {"run_id": report.name, "judge": judge, "confidence": confidence, "people": [*map(asdict, people)]}
        click.echo(json.dumps(facts, indent=1))
        return
    click.echo(f"{on_terminal(report.name)}, judge {on_terminal(judge)}")
    for one in people:
        click.echo()
        print_people(one, confidence)


def print_people(one: Checked, confidence: float) -> None:
    """A measure's scores as the judge and as people see them."""
    score = one.scores["candidate"].mean
    click.echo(f"{one.name}: people rated {one.answers} answers, all of {score.rated} of {score.questions} questions")
    if one.left_out:
        click.echo(f"  {one.left_out} questions are left out: people rated only some of their answers")
    print_table([*people_rows(one, confidence)])
    if one.said:
        click.echo(f"  the corrected change: {one.said}")
    click.echo(f"  agreement of judge and people, ordinal: {agreement_text(one.ordinal)}; {one.ordinal.word}")
    click.echo(f"  the same, interval: {agreement_text(one.interval)}")


def people_rows(one: Checked, confidence: float) -> Iterator[list[str]]:
    """The rows of a table of scores, its heading first."""
    yield ["", "judge", f"bias ({confidence:.0%})", f"corrected ({confidence:.0%})"]
    for name, found in one.scores.items():
        sign = "+" if name == "change" else ""
        bias = ranged(found.bias.change, found.bias.low, found.bias.high, "+")
        corrected = ranged(found.mean.estimate, found.mean.low, found.mean.high, sign)
        yield [name, f"{found.mean.judge:{sign}.2f}", bias, corrected]


def ranged(value: float | None, low: float | None, high: float | None, sign: str) -> str:
    """`+0.80 (+0.31 to +1.29)`, without the interval if there is none."""
    if value is None:
        return "–"
    ends = f" ({low:{sign}.2f} to {high:{sign}.2f})" if low is not None and high is not None else ""
    return f"{value:{sign}.2f}{ends}"


def agreement_text(found: Agreement) -> str:
    """Alpha with its interval and the number of answers."""
    return f"{ranged(found.alpha, found.low, found.high, '')} of {found.units} answers"
