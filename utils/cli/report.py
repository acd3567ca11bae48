"""`report`: where the report of a run is, and what it says in a few lines."""

import json
import webbrowser
from pathlib import Path

import click

from utils.cli.options import home_option, option, output_option
from utils.cli.reports import find_report
from utils.cli.store_access import store_options
from utils.cli.terminal import on_terminal
from utils.errors import IlabError
from utils.runners.run_folder import LATEST


@click.command()
@click.argument("run_id", metavar="[RUN]", default=LATEST)
@option("--open", "show", is_flag=True, help="Open the page in a browser.")
@store_options
@home_option
@output_option
def report(run_id: str, show: bool, secret: Path | None, ca: Path | None, home: Path, output: str) -> None:
    """Show what the report of RUN says, and where its page is.

    RUN is the id of a run started on this machine, a part of one, or `latest`, which is also meant without it. With
    --secret, the report of a run on a cluster is copied from the object store, and RUN can be an archive's key there or
    s3://BUCKET/KEY.
    """
    found = find_report(run_id, home, secret, ca, f"ilab-pipeline report {run_id}")
    facts = found.facts
    if output == "json":
        ended = {name: facts[name] for name in ("headline", "fate", "comparisons")}
        shown = {"run_id": found.name, **ended, "page": str(found.page or ""), "address": found.address}
        click.echo(json.dumps(shown, indent=1))
    else:
        click.echo(on_terminal(f"{facts['headline']}. {facts['fate']}."))
        for note in facts.get("notes") or []:
            click.echo(on_terminal(f"  {note}"))
        click.echo(f"page: {found.page}" if found.page else f"facts: {found.address}")
    if show and not (found.page and webbrowser.open(found.page.absolute().as_uri())):
        where = found.page or found.address
        raise IlabError("no browser could be started here", f"the page is {where}", "open it on a machine with one")
