"""`ilab-pipeline taxonomy check`: what data import would find out about a taxonomy."""

import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path

import click

from utils.cli.options import Decorator, option, output_option
from utils.stages.authorities import ca_bundle
from utils.stages.data_import.documents import LOCAL_ADDRESS, check_taxonomy
from utils.stages.data_import.leaves import ERROR, WARNING, LeafFinding, check_leaf, yaml_line


def documents_option(text: str) -> Decorator:
    return option("--documents/--no-documents", default=True, show_default=True, help=text)


@click.group()
def taxonomy() -> None:
    """Check a taxonomy, and the documents that it names."""


@taxonomy.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@documents_option("Clone the repositories of the documents and read the documents.")
@option(
    "--ca",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    envvar="ILAB_GIT_CA",
    help="PEM file of the git servers' certificate authority.",
)
@output_option
def check(folder: Path, documents: bool, ca: Path | None, output: str) -> None:
    """Check the taxonomy in DIR as data import does: every qna.yaml, and every document of every leaf.

    A finding names leaf, file, line, cause, and what to do. A warning does not stop a run. The exit code is 1 if there
    is an error. Nothing in DIR is changed; repositories are cloned into a temporary folder.
    """
    leaves, findings = examine_taxonomy(folder, documents, ca)
    if output == "json":
        click.echo(json.dumps({"leaves": leaves, "findings": [asdict(finding) for finding in findings]}, indent=1))
    else:
        print_findings(findings)
        number = f"{len(leaves)} {'leaf' if len(leaves) == 1 else 'leaves'}"
        click.echo(f"{folder}: {number}, {count(findings, ERROR)}, {count(findings, WARNING)}")
    if any(finding.level == ERROR for finding in findings):
        sys.exit(1)


def examine_taxonomy(folder: Path, documents: bool, ca: Path | None = None) -> tuple[list[str], list[LeafFinding]]:
    """The leaves of a taxonomy on this machine, and what is wrong with them. Progress goes to standard error."""
    bundle = ca_bundle(str(ca or ""))
    try:
        with tempfile.TemporaryDirectory() as scratch, redirect_stdout(sys.stderr):
            leaves, findings = check_taxonomy(folder, Path(scratch), bundle, documents)
    finally:
        if bundle:
            Path(bundle).unlink()
    for leaf in leaves:
        content, root, _ = check_leaf(folder, leaf)
        repo = content.get("document", {}).get("repo", "") if content else ""
        if LOCAL_ADDRESS.fullmatch(repo):
            line, remedy = yaml_line(root, ".document.repo"), "for a cluster, give the address of a git server"
            cause = f"{repo} can be read by runs on this machine only"
            findings.append(LeafFinding(leaf, f"{leaf}/qna.yaml", line, cause, remedy, WARNING))
    return leaves, findings


def print_findings(findings: Sequence[LeafFinding], err: bool = False) -> None:
    """Print findings in the form of `ilab-pipeline lint`."""
    for finding in findings:
        where = f"{finding.file}:{finding.line}" if finding.line else finding.file
        click.echo(f"{finding.level}: {where}\n  {finding.cause}\n  next: {finding.remedy}", err=err)


def count(findings: Sequence[LeafFinding], level: str) -> str:
    """Such as `1 error` or `2 warnings`."""
    number = sum(finding.level == level for finding in findings)
    return f"{number} {level}{'' if number == 1 else 's'}"
