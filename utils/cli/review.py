"""`review`: the samples of a run that waits for review, and what was decided on them."""

import contextlib
import json
import re
import webbrowser
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from utils.cli.options import home_option, option, output_option
from utils.cli.outcome import next_command
from utils.cli.store_access import key_of, named_store, run_store, stage_errors, store_options
from utils.cli.terminal import on_terminal, print_table
from utils.errors import IlabError, UsageError
from utils.foreign_text import SHAPE_ERRORS, TextError, read_json
from utils.runners.run_folder import LATEST, RunFolder, find_run
from utils.stages.data_processing.review import DECISIONS, MOST_BYTES, PAGE, read_decisions
from utils.stages.object_store.client import ObjectStore
from utils.stages.object_store.upload import stored

_MOST = 256 << 20
"""Bytes of a page."""


@dataclass(frozen=True)
class Review:
    """Where page and decisions of a run lie.

    Attributes:
        page: on this machine.
        prefix: in the object store, what their keys start with; with a store alone.
        again: what continues the run.
    """

    page: Path
    again: str
    store: ObjectStore | None = None
    prefix: str = ""

    @property
    def target(self) -> str:
        """Where the decisions go."""
        return f"s3://{self.store.bucket}/{self.prefix}{DECISIONS}" if self.store else str(self.page.parent / DECISIONS)

    def decisions(self) -> bytes:
        """Those that are there; b"" for none."""
        if not self.store:
            file = self.page.parent / DECISIONS
            return file.read_bytes() if file.is_file() else b""
        key = self.prefix + DECISIONS
        with stage_errors():
            there = stored(self.store, key)
            body: bytes = self.store.call("get_object", Key=key)["Body"].read(MOST_BYTES) if there else b""
        return body

    def decide(self, decisions: bytes) -> None:
        """Put decisions where the run looks for them, whole or not at all."""
        if self.store:
            with stage_errors():
                self.store.put(self.prefix + DECISIONS, decisions, ContentType="application/json")
            return
        part = self.page.parent / f"{DECISIONS}.part"
        part.write_bytes(decisions)
        part.replace(self.page.parent / DECISIONS)


@click.command()
@click.argument("run_id", metavar="[RUN]", default=LATEST)
@option("--open", "show", is_flag=True, help="Open the page in a browser. It saves decisions.json.")
@option(
    "--decisions",
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Hand over this file: that of the page, or an edited one of --save.",
)
@option("--accept-all", is_flag=True, help="Hand over decisions that accept every sample.")
@option(
    "--save",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write decisions to a file: those that are there, else ones that accept every sample. Set reject or edit as a "
    "decision, or change the texts of those with edit.",
)
@store_options
@home_option
@output_option
def review(
    run_id: str,
    show: bool,
    file: Path | None,
    accept_all: bool,
    save: Path | None,
    secret: Path | None,
    ca: Path | None,
    home: Path,
    output: str,
) -> None:
    """Show the samples that RUN waits for someone to review, and hand over the decisions.

    A run with sdg_review=stop ends before training, with exit code 5 and a page of its samples. With decisions on all
    of them, it continues: with `resume`, on Kubeflow Pipelines with Retry. Nothing is generated again.

    RUN is the id of a run started on this machine, a part of one, or `latest` (the default). For a run on a cluster,
    --secret names the object store; RUN can be the address of the page there, s3://BUCKET/KEY, which the task
    prints.
    """
    if sum((bool(file), accept_all, bool(save))) > 1:
        raise UsageError("--decisions, --accept-all and --save do not go together", "", "give one of them")
    with contextlib.ExitStack() as stack:
        found = _find(run_id, home, secret, ca, stack)
        listed = read_page(found.page)
        if file or accept_all:
            text = file.read_bytes() if file else json.dumps(accepted(listed)).encode()
            said = _said(text, listed, str(file or "--accept-all"))
            found.decide(text)
        else:
            text = found.decisions()
            said = _said(text, listed, found.target) if text and not save else ""
        if save:
            save.write_bytes(text or json.dumps(accepted(listed), indent=1).encode())
    counts, number = listed["counts"], len(listed["samples"])
    if output == "json":
        told = {"run_id": listed["run"], "hash": listed["hash"], "samples": number, "leaves": counts}
        click.echo(json.dumps(told | {"page": str(found.page), "decisions": found.target, "said": said}, indent=1))
    elif save:
        click.echo(f"{save}: decisions on {number} samples")
    else:
        shown = {leaf: sum(one["leaf"] == leaf for one in listed["samples"]) for leaf in counts}
        rows = [(on_terminal(leaf) or "no leaf", str(counts[leaf]), str(shown[leaf])) for leaf in counts]
        print_table([("LEAF", "SAMPLES", "ON THE PAGE"), *rows])
        click.echo(f"page: {found.page}")
        click.echo(said or f"no decisions are there yet: {found.target}")
        click.echo(f"  next: {found.again}" if said else f"  next: ilab-pipeline review {run_id} --decisions FILE")
    if show and not webbrowser.open(found.page.absolute().as_uri()):
        raise IlabError(
            "no browser could be started here", f"the page is {found.page}", "open it on a machine with one"
        )


def accepted(listed: Mapping[str, Any]) -> dict[str, Any]:
    """Decisions that accept every sample, with the texts, so that people can edit them."""
    texts = ("leaf", "question", "answer")
    about = {one["id"]: {"decision": "accept", **{name: one[name] for name in texts}} for one in listed["samples"]}
    return {"hash": listed["hash"], "decisions": about}


def read_page(page: Path) -> dict[str, Any]:
    """The samples that a page shows; someone else may have written it.

    Raises:
        IlabError: it is not such a page.
    """
    text = page.read_bytes()
    found = re.search(rb'<script type="application/json">(.*?)</script>', text, re.DOTALL)
    try:
        listed = read_json(found[1] if found else b"")
        names = ("id", "leaf", "question", "answer", "document")
        texts = [listed["run"], listed["hash"], *(one[name] for one in listed["samples"] for name in names)]
        if not all(isinstance(one, str) for one in texts) or not all(
            isinstance(n, int) for n in listed["counts"].values()
        ):
            raise ValueError("a text or a number is another value")
    except (TextError, *SHAPE_ERRORS) as error:
        raise IlabError(f"{page} is not the page of a review", repr(error), "name the run, or its page") from None
    return dict(listed)


def _said(text: bytes, listed: dict[str, Any], place: str) -> str:
    """What decisions come to.

    Raises:
        UsageError: they can't be used.
    """
    try:
        return on_terminal(read_decisions(text, listed, place).said)
    except ValueError as error:
        raise UsageError(
            f"{place}: the decisions can't be used",
            on_terminal(str(error)),
            "correct them on the page, or begin with those of ilab-pipeline review RUN --save FILE",
        ) from None


def _find(given: str, home: Path, secret: Path | None, ca: Path | None, stack: contextlib.ExitStack) -> Review:
    """The review of a run, with its page on this machine.

    Raises:
        UsageError: the run has none, or the object store is not named.
    """
    if "/" in given:
        if not secret:
            raise UsageError(f"{given} can't be read", "the object store's keys are not here", "add --secret FILE")
        again = "Retry in the dashboard, or: ilab-pipeline resume RUN"
        return _fetched(named_store(given, secret, ca, stack), home, again)
    folder = find_run(home, given)
    again = next_command(folder, "resume")
    if not folder.cluster_settings:
        for claim in folder.own_claims():
            if (claim / "review" / PAGE).is_file():
                return Review(claim / "review" / PAGE, again)
        raise _no_review(folder)
    told = "\n".join(task.message for task in folder.history().tasks.values())
    address = re.search(rf"s3://\S+/{re.escape(PAGE)}", told)
    if not address:
        raise _no_review(folder)
    command = f"ilab-pipeline review {given}"
    return _fetched(run_store(folder, address[0], secret, ca, command, stack), home, again)


def _no_review(folder: RunFolder) -> UsageError:
    return UsageError(
        f"the run {folder.run_id} has no samples to review",
        "it was not started with sdg_review=stop, has not come that far, or has succeeded",
        f"see how far it came: ilab-pipeline status {folder.run_id}",
    )


def _fetched(store: ObjectStore, home: Path, again: str) -> Review:
    """The review whose page, or decisions, or folder is the store's data_key; the page is copied here."""
    prefix = re.sub(rf"({re.escape(PAGE)}|{re.escape(DECISIONS)})?$", "", key_of(store.data_key)[1])
    prefix = prefix.rstrip("/") + "/"
    with stage_errors():
        body: bytes = store.call("get_object", Key=prefix + PAGE)["Body"].read(_MOST + 1)
    if len(body) > _MOST:
        raise IlabError(f"{prefix}{PAGE} has more than {_MOST >> 20} MiB", "it is not the page of a review")
    page = home / "reviews" / f"{prefix.rstrip('/').rpartition('/')[2]}.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_bytes(body)
    return Review(page, again, store, prefix)
