"""`report`: where the report of a run is, and what it says in a few lines."""

import json
import webbrowser
from pathlib import Path

import click

from utils.cli.options import home_option, option, output_option
from utils.cli.reports import find_report, reading
from utils.cli.store_access import store_options
from utils.cli.terminal import on_terminal
from utils.errors import IlabError, UsageError
from utils.foreign_text import SHAPE_ERRORS, read_yaml
from utils.runners.run_folder import LATEST

_WIDTH = 80


@click.command()
@click.argument("run_id", metavar="[RUN]", default=LATEST)
@option("--open", "show", is_flag=True, help="Open the page in a browser.")
@option(
    "--rates",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="YAML or JSON file with the price of a GPU-hour, as in `gpu_hour: 2.5`, and optionally `currency: EUR`.",
)
@store_options
@home_option
@output_option
def report(
    run_id: str, show: bool, rates: Path | None, secret: Path | None, ca: Path | None, home: Path, output: str
) -> None:
    """Show what the report of RUN says, and where its page is.

    RUN is the id of a run started on this machine, a part of one, or `latest` (the default); or a report.json, or a
    result's folder. With --secret, the report of a run on a cluster is copied from the object store, and RUN can be an
    archive's key there or s3://BUCKET/KEY.

    GPU-hours are those of training in pods and of evaluation with vLLM; the teacher's and the judge's are not known to
    a run. Those of training stand beside what was estimated for H100 when it began.
    """
    price, currency = read_rates(rates) if rates else (None, "")
    found = find_report(run_id, home, secret, ca, f"ilab-pipeline report {run_id}")
    facts = found.facts
    with reading(found):
        spent, estimated = facts.get("gpu_hours") or {}, facts.get("estimated_gpu_hours") or {}
        hours, foreseen = round(sum(spent.values()), 3), sum(estimated.values())
        training = sum(spent[stage] for stage in estimated)
        notes = [str(note) for note in facts.get("notes") or []]
    cost = None if price is None or not hours else round(hours * price, 2)
    if output == "json":
        ended = {name: facts[name] for name in ("headline", "fate", "comparisons")}
        shown = {"run_id": found.name, **ended, "page": str(found.page or ""), "address": found.address}
        shown |= {"gpu_hours": spent, "estimated_gpu_hours": estimated, "cost": cost, "currency": currency}
        click.echo(json.dumps(shown, indent=1))
    else:
        click.echo(click.wrap_text(on_terminal(f"{facts['headline']}. {facts['fate']}."), _WIDTH))
        for note in notes:
            click.echo(click.wrap_text(on_terminal(note), _WIDTH, "  ", "  "))
        if hours:
            paid = f", {cost:,.2f} {on_terminal(currency)}".rstrip() if cost is not None else ""
            click.echo(f"  {hours:,.2f} GPU-hours{paid}")
            if foreseen:
                click.echo(f"  {training:,.2f} of them for training; estimated: {foreseen:,.2f} on H100")
        elif rates:
            click.echo("  no GPU-hours are known: they are counted for training in pods and evaluation with vLLM")
        click.echo(f"page: {found.page}" if found.page else f"facts: {found.address}")
    if show and not (found.page and webbrowser.open(found.page.absolute().as_uri())):
        where = found.page or found.address
        raise IlabError("no browser could be started here", f"the page is {where}", "open it on a machine with one")


def read_rates(file: Path) -> tuple[float, str]:
    """The price of a GPU-hour, and its currency ("" if the file names none).

    Raises:
        UsageError: the file does not have such a price.
    """
    try:
        (rates,) = read_yaml(file.read_text(errors="replace"))
        price, currency = rates["gpu_hour"], rates.get("currency", "")
        if isinstance(price, bool) or not (isinstance(price, int | float) and 0 <= price < float("inf")):
            raise ValueError(f"gpu_hour is {price!r}")
    except SHAPE_ERRORS as error:
        raise UsageError(f"{file} has no price of a GPU-hour", str(error), "write: gpu_hour: 2.5") from None
    return float(price), str(currency)
