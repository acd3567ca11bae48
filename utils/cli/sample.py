"""`sample`: answers of a run in a file, for people to rate."""

from pathlib import Path

import click

from utils.cli.judged.answers import NAMES, judged_answers, sampled
from utils.cli.judged.ratings_file import write_ratings_file
from utils.cli.options import home_option, option
from utils.cli.reports import find_report
from utils.cli.store_access import store_options
from utils.cli.terminal import on_terminal


@click.command()
@click.argument("run_id", metavar="RUN")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@option("--answers", type=click.IntRange(2), default=50, show_default=True, help="Number of answers, about.")
@option(
    "--measure",
    type=click.Choice([*NAMES]),
    help="What the answers belong to.  [default: mt_bench_branch if the run has it, else mt_bench]",
)
@option("--seed", type=int, default=0, show_default=True, help="Draws other questions.")
@store_options
@home_option
def sample(
    run_id: str, file: Path, answers: int, measure: str | None, seed: int, secret: Path | None, ca: Path | None,
    home: Path,
) -> None:  # fmt: skip
    """Write answers of RUN to the new FILE (.csv or .jsonl), for people to rate.

    RUN is what `ilab-pipeline report` takes. The questions are drawn at random. Of MT-Bench-branch, each is there with
    the answers of the base model and of the candidate, in random order; of MT-Bench, with both turns of the
    candidate's. The file does not show which model answered, or how the judge rated.

    People write a number from 1 to 10 into the column `rating`, from the first line on, and can stop anywhere. Then
    `ilab-pipeline judges RUN --ratings FILE` compares the judge with them.
    """
    report = find_report(run_id, home, secret, ca, f"ilab-pipeline sample {run_id} {file}")
    found = judged_answers(report)
    chosen = measure or next(name for name in NAMES if any(one.measure == name for one in found))
    drawn = sampled(found, chosen, answers, seed)
    if not drawn:
        raise click.UsageError(f"{report.name} has no rated answers of {NAMES[chosen]}")
    write_ratings_file(file, drawn)
    questions = len({one.question for one in drawn})
    of = f"{questions} questions of {NAMES[chosen]} in {on_terminal(report.name)}"
    click.echo(f"{file}: {len(drawn)} answers to {of}")
    click.echo("next: write a number from 1 to 10 into `rating` of each line, from the first one on")
    click.echo(f"then: ilab-pipeline judges {run_id} --ratings {file}")
