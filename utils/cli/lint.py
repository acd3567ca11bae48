"""`ilab-pipeline lint`: does every supported backend understand the pipeline?"""

import json
import sys
from pathlib import Path

import click

from utils.cli.compile import root
from utils.cli.settings import output_option


@click.command()
@click.argument("file", type=click.Path(path_type=Path), default=lambda: root() / "pipeline.yaml")
@output_option
def lint(file: Path, output: str) -> None:
    """Check that every supported backend understands FILE (default: our pipeline.yaml).

    Both documents of the file are parsed strictly with the protos of OpenShift AI 2.25 to 3.5; every field that one of
    them would refuse, drop or ignore is named. Ends with 1 when there is a finding.
    """
    from utils.lint import BACKENDS, lint_file

    findings = lint_file(file)
    if output == "json":
        click.echo(json.dumps([finding.as_record() for finding in findings], indent=1))
    else:
        for finding in findings:
            on = f" [{', '.join(finding.backends)}]" if 0 < len(finding.backends) < len(BACKENDS) else ""
            click.echo(f"{finding.severity}: {finding.where}{on}\n  {finding.what}\n  next: {finding.remedy}")
        names = ", ".join(f"{backend.name} (KFP {backend.version})" for backend in reversed(BACKENDS))
        verdict = f"{len(findings)} finding{'s' if len(findings) != 1 else ''}" if findings else "understood by"
        click.echo(f"{file}: {verdict}{' for' if findings else ''} {names}")
    if findings:
        sys.exit(1)
