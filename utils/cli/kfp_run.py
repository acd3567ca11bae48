"""A run on a Kubeflow Pipelines server while this command waits: what changes, how it ended, and why."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import click

from utils.cli.outcome import INTERRUPTED, WAITS, code_of
from utils.errors import IlabError, NotFollowed
from utils.ir.model import TaskState
from utils.messages import WAITING
from utils.runners.kfp import Cause, KfpServer, RunReport


@dataclass(frozen=True)
class Started:
    """A submitted run, as a script reads it. `pipeline_version` and `url` are "" if there is none."""

    run_id: str
    name: str
    experiment: str
    pipeline_version: str
    url: str

    @property
    def place(self) -> str:
        """Where a person finds the run."""
        return self.url or f"in the dashboard: Runs, experiment {self.experiment} (--ui-host URL gives links)"


def follow_run(server: KfpServer, started: Started, templates: Mapping[str, Sequence[str]], output: str) -> int:
    """Print what changes until the run ends, then why it failed. Returns the exit code.

    Args:
        templates: of the pipeline's tasks, from `pod_templates`.
        output: `text` or `json`.

    Raises:
        NotFollowed: the run continues.
    """
    shown: dict[str, str] = {}
    report = None
    try:
        for report in server.follow(started.run_id, templates):
            news = {task.id: (task.name, task.state) for task in report.tasks if task.state}
            for key, (name, state) in {**news, "": ("run", report.state)}.items():
                if shown.get(key) != state and output == "text":
                    click.echo(f"{time.strftime('%H:%M:%S')} {state:<9} {name}")
                shown[key] = state
    except KeyboardInterrupt:
        click.echo(f"\nno longer following the run; it continues\n  {started.place}", err=True)
        return INTERRUPTED
    except IlabError as error:
        raise NotFollowed(
            f"the run can no longer be followed: {error.what}", error.cause, f"it continues: {started.place}"
        ) from error
    assert report is not None
    # The tasks of a stopped run failed because it was stopped.
    causes = {} if report.stopped or report.state == "SUCCEEDED" else server.causes(report)
    code = code_of(report.state == "SUCCEEDED", report.stopped, causes)
    if causes and all(cause.text.startswith(WAITING) for cause in causes.values()):
        # The server knows no such state.
        report, code = replace(report, state=TaskState.WAITING.value), WAITS
    if output == "json":
        click.echo(json.dumps(_summary(started, report, causes, code), indent=1))
    elif code:
        _explain(report, causes, started)
    return code


def _summary(started: Started, report: RunReport, causes: Mapping[str, Cause], code: int) -> dict[str, Any]:
    """The end of a run with the fields of `utils.cli.results.summary`; what the server does not tell is None."""
    return {
        **asdict(started),
        "state": report.state,
        "stopped": report.stopped,
        "exit_code": code,
        "error": report.error,
        "failed": {name: asdict(cause) for name, cause in causes.items()},
        **dict.fromkeys(("outputs", "scores", "archive", "report")),
    }


def _explain(report: RunReport, causes: dict[str, Cause], started: Started) -> None:
    """Print on stderr why the run did not succeed."""
    for name, cause in causes.items():
        if report.state == TaskState.WAITING:
            click.secho(f"\n{name} is {cause.text}", fg="yellow", err=True)
            continue
        click.secho(f"\n{name} failed", fg="red", bold=True, err=True)
        if cause.findings:
            click.echo(cause.findings, err=True)
        click.echo(f"error: {cause.text}", err=True)
        if cause.source:
            click.echo(f"  read from: {cause.source}", err=True)
    ended = "was stopped" if report.stopped else f"ended as {report.state}"
    because = f": {report.error}" if report.error else ""
    click.echo(f"\nthe run {ended}{because}\n  {started.place}", err=True)
