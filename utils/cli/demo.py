"""`ilab-pipeline demo`: the complete workflow on this machine."""

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import click

from utils.cli.options import default_python, home_option, option, output_option
from utils.cli.outcome import INTERRUPTED, next_command
from utils.cli.results import collect_report
from utils.errors import TaskFailed, UsageError


@click.command()
@option(
    "--quick",
    is_flag=True,
    envvar="ILAB_DEMO_QUICK",
    help="Use the smallest sizes: only shows that the stages work.",
)
@option(
    "--resume",
    "resume_id",
    metavar="ID",
    envvar="ILAB_DEMO_RESUME",
    help="Resume the run of a demo that failed or was interrupted; its servers are restarted.",
)
@option(
    "--python",
    metavar="PATH",
    default=default_python,
    show_default="the one that runs this command",
    help="Interpreter that the stages and the servers run in.",
)
@option(
    "--run-id",
    metavar="ID",
    help="Name of the run.  [default: demo, the time and four characters]",
)
@home_option
@output_option
def demo(quick: bool, resume_id: str | None, python: str, run_id: str | None, home: Path, output: str) -> None:
    """Run the complete workflow on this machine, everything included.

    An S3 server and a model server start on the loopback interface; a packaged model of 135 million parameters is
    teacher and judge. The base model and the taxonomy of an invented town are uploaded to the object store as an
    archive. pipeline.yaml runs on this machine with examples/params/demo.yaml, and uploads the trained model and its
    scores to the object store. The servers are always stopped at the end; the object store's content (1 GB) is kept
    until `ilab-pipeline clean`, and `ilab-pipeline get-model` brings the model from it.
    """
    from utils.demo.run import Demo, check_python, remove_orphans
    from utils.runners.run_folder import RunFolder, check_run_id, find_run, new_run_id

    started = time.time()
    if resume_id and (run_id or quick):
        raise UsageError("--resume can't be combined with --run-id or --quick", "", "leave them out")
    # Not resolved: the interpreter of a virtual environment is a link, and finds its packages by the link's path.
    interpreter = Path(shutil.which(python) or python).absolute()
    resume_id = find_run(home, resume_id).run_id if resume_id else None
    it = Demo(home, resume_id or run_id or new_run_id("demo"), str(interpreter))
    check_run_id(it.run_id)
    check_python(it.python)
    remove_orphans(home)
    try:
        code = _run_beside_servers(it, quick, bool(resume_id), output)
    except KeyboardInterrupt:
        click.echo("interrupted; the servers are stopped", err=True)
        code = INTERRUPTED
    if code:
        if RunFolder(home, it.run_id).path.exists():
            command = f"ilab-pipeline demo --resume {it.run_id} --home {home}"
            click.echo(f"  resume, with the demo's servers restarted: {command}", err=True)
        sys.exit(code)
    folder = RunFolder(home, it.run_id)
    page = collect_report(folder)
    if page is None:
        raise TaskFailed("the run did not write a report", "", f"look at its logs: ilab-pipeline logs {it.run_id}")
    facts = json.loads(page.with_suffix(".json").read_text())
    summary = summarise(it.run_id, page, facts, time.time() - started)
    if output == "json":
        click.echo(json.dumps(summary, indent=1))
    else:
        _print_summary(summary)
        click.echo(f"model:    {next_command(folder, 'get-model')} DIR")


def _run_beside_servers(it: Any, quick: bool, resumed: bool, output: str) -> int:
    """Run the pipeline while object store and model server are up; returns the exit code."""
    from utils.demo.run import base_model, servers, upload_input

    def say(text: str) -> None:
        if output == "text":
            click.echo(text)

    with servers(it) as credentials:
        say(f"object store {credentials['endpoint']} and model server are up")
        if not resumed:
            size = upload_input(it, base_model(it), credentials, quick)
            say(f"uploaded {credentials['data_key']}, {size / 2**20:.0f} MiB: base model and taxonomy")
        return _run(it, quick, resumed, output)


def _run(it: Any, quick: bool, resumed: bool, output: str) -> int:
    """Start or resume the pipeline; returns the exit code."""
    from utils.arguments import load_arguments
    from utils.cli.local_run import start_local, work
    from utils.demo.run import demo_arguments
    from utils.files import COMPILED
    from utils.ir.load import load
    from utils.runners.run_folder import RunFolder
    from utils.runners.settings import LocalSettings

    # With --output json, the only document on standard output is the demo's own.
    view = "json" if output == "json" else "text"
    if resumed:
        folder = RunFolder(it.home, it.run_id)
        return work(folder, load(folder.package), view)
    files, pairs = demo_arguments(quick)
    pipeline = load(COMPILED)
    arguments = load_arguments(pipeline.parameters, files, pairs)
    settings = LocalSettings(python=it.python, secrets=str(it.secrets))
    return start_local(pipeline, arguments, settings, it.home, it.run_id, view)


def summarise(run_id: str, page: Path, facts: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The result of the demo: scores of both models, where the report is, and what was published."""
    published = facts["done"]["publish"]["result"]
    return {
        "run_id": run_id,
        "seconds": round(seconds, 1),
        "headline": facts["headline"],
        "scores": [
            {name: measure[name] for name in ("name", "base", "candidate", "change", "better", "digits", "reason")}
            | {name: measure["verdict"].get(name) for name in ("low", "high", "said")}
            for measure in facts["comparisons"]
        ],
        "notes": facts["notes"],
        "report": str(page),
        "archive": published["key"],
        "sha256": published.get("sha256", ""),
    }


def _print_summary(summary: dict[str, Any]) -> None:
    from rich.console import Console

    from utils.cli.score_table import score_table

    console = Console()
    console.print(score_table(summary))
    for note in summary["notes"]:
        console.print(f"* {note}", style="dim")
    console.print(f"report:   {summary['report']}", soft_wrap=True, highlight=False)
    console.print(f"archive:  {summary['archive'] or 'nothing was published'}", soft_wrap=True, highlight=False)
