"""Judges on the terminal: tables and lines."""

from collections.abc import Iterator

import click

from utils.cli.judged.agreement import Agreement
from utils.cli.judged.panel import Panel
from utils.cli.judged.people import Checked
from utils.cli.terminal import on_terminal, print_table


def print_people(one: Checked, confidence: float) -> None:
    """A measure's scores as the judge and as people see them."""
    score = one.scores["candidate"].mean
    click.echo(f"{one.name}: people rated {one.answers} answers, all of {score.rated} of {score.questions} questions")
    if one.left_out:
        click.echo(f"  {one.left_out} questions are left out: people rated only some of their answers")
    print_table([*_people_rows(one, confidence)])
    if one.said:
        click.echo(f"  the corrected change: {one.said}")
    _print_agreement("agreement of judge and people", one.ordinal, one.interval)


def _people_rows(one: Checked, confidence: float) -> Iterator[list[str]]:
    yield ["", "judge", f"bias ({confidence:.0%})", f"corrected ({confidence:.0%})"]
    for name, found in one.scores.items():
        sign = "+" if name == "change" else ""
        bias = _ranged(found.bias.change, found.bias.low, found.bias.high, "+")
        corrected = _ranged(found.mean.estimate, found.mean.low, found.mean.high, sign)
        yield [name, f"{found.mean.judge:{sign}.2f}", bias, corrected]


def print_panel(one: Panel, confidence: float) -> None:
    """A measure's scores by several judges."""
    click.echo(f"{one.name}: {len(one.rows)} judges")
    rows, below = [["judge", "base", "candidate", f"change ({confidence:.0%})"]], []
    for row in one.rows:
        found = row.difference
        change = _ranged(found.change, found.low, found.high, "+") if found else "–"
        rows.append([on_terminal(row.judge), *(_ranged(score, None, None, "") for score in (row.base, row.candidate))])
        rows[-1].append(change)
        unrated = f"{row.unrated} answers without a rating" if row.unrated else ""
        below.append("; ".join(filter(None, [found.said if found else "", unrated])))
    print_table(rows, below)
    if len(one.words) > 1:
        click.echo("  the judges do not agree on the verdict")
    _print_agreement("agreement of the judges", one.ordinal, one.interval)


def _print_agreement(of: str, ordinal: Agreement, interval: Agreement) -> None:
    alphas = [_ranged(found.alpha, found.low, found.high, "") for found in (ordinal, interval)]
    click.echo(f"  {of}, Krippendorff's alpha of {ordinal.units} answers:")
    click.echo(f"    by rank {alphas[0]}: {ordinal.word}; by number {alphas[1]}")


def _ranged(value: float | None, low: float | None, high: float | None, sign: str) -> str:
    """`+0.80 (+0.31 to +1.29)`, without the interval if there is none."""
    if value is None:
        return "–"
    ends = f" ({low:{sign}.2f} to {high:{sign}.2f})" if low is not None and high is not None else ""
    return f"{value:{sign}.2f}{ends}"
