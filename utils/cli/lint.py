"""`ilab-pipeline lint`: does every supported backend understand the pipeline?"""

import json
import sys
from pathlib import Path

import click

from utils.cli.options import output_option
from utils.files import COMPILED


@click.command()
@click.argument("file", type=click.Path(path_type=Path), default=COMPILED)
@output_option
def lint(file: Path, output: str) -> None:
    """Check that every supported backend understands FILE (default: our pipeline.yaml) and runs it as written.

    FILE is YAML or JSON, or a .zip or .tar.gz of it. Both documents are parsed strictly with the protos of OpenShift AI
    2.25 to 3.5 and of Kubeflow Pipelines 2.17. Every field that one of them would reject, drop or ignore is reported.
    The names of volumes that result from the parameters' defaults are checked, and the size of a run's Argo Workflow is
    estimated. The exit code is 1 if there is a finding.
    """
    from utils.lint import BACKENDS, examine_file

    report = examine_file(file)
    findings, workflow = report.findings, report.workflow
    if output == "json":
        records = [finding.as_record() for finding in findings]
        click.echo(json.dumps({"findings": records, "workflow": workflow.as_record() if workflow else None}, indent=1))
    else:
        for finding in findings:
            on = f" [{', '.join(finding.backends)}]" if 0 < len(finding.backends) < len(BACKENDS) else ""
            click.echo(f"{finding.severity}: {finding.where}{on}\n  {finding.what}\n  next: {finding.remedy}")
        if workflow:
            click.echo(f"Argo Workflow of a finished run: about {workflow}")
            click.echo(f"  nodes of tasks, in kB: {workflow.parts()}")
        names = ", ".join(f"{backend.name} (KFP {backend.version})" for backend in reversed(BACKENDS))
        verdict = f"{len(findings)} finding{'s' if len(findings) != 1 else ''}" if findings else "understood by"
        click.echo(f"{file}: {verdict}{' for' if findings else ''} {names}")
    if findings:
        sys.exit(1)
