"""The command `ilab-pipeline`. A subcommand is imported only when it is used, so that `--help` answers at once."""

import difflib
import errno
import importlib
import sys
from typing import Any

import click

from ilab_pipeline import __version__
from utils.errors import IlabError

# Name of a subcommand: where it is, and the line that --help shows for it.
_COMMANDS = {
    "demo": ("utils.cli.demo:demo", "Run the complete workflow on this machine, everything included."),
    "taxonomy": ("utils.cli.taxonomy:taxonomy", "Check a taxonomy and its documents."),
    "upload": ("utils.cli.upload:upload", "Upload model and taxonomy to the object store for a run."),
    "run": ("utils.cli.run:run", "Run the pipeline: on this machine, on a cluster, or on a Kubeflow Pipelines server."),
    "status": ("utils.cli.status:status", "Show the runs on this machine, or the tasks of one."),
    "logs": ("utils.cli.logs:logs", "Print what the tasks of a run printed."),
    "report": ("utils.cli.report:report", "Show the report of a run."),
    "compare": ("utils.cli.compare:compare", "Compare two runs: what they were given, and how they score."),
    "sample": ("utils.cli.sample:sample", "Write answers of a run to a file, for people to rate."),
    "judges": ("utils.cli.judges:judges", "Compare the judge of a run with people and with other judges."),
    "get-model": ("utils.cli.get_model:get_model", "Get the trained model of a run on this machine."),
    "verify": ("utils.cli.verify:verify", "Compare every file of a published archive with its hash."),
    "review": ("utils.cli.review:review", "Show the samples that a run waits to have reviewed; hand over decisions."),
    "resume": ("utils.cli.run:resume", "Resume a run that failed or was interrupted."),
    "clean": ("utils.cli.clean:clean", "Remove past runs with their volumes."),
    "compile": ("utils.cli.compile:compile", "Write pipeline.yaml."),
    "lint": ("utils.cli.lint:lint", "Check that every supported backend understands a pipeline file."),
    "docs": ("utils.docs.command:docs", "Write the generated pages of docs/."),
}


class LazyGroup(click.Group):
    """A group that imports a subcommand when it is used, and prints our errors without a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and (near := difflib.get_close_matches(args[0], _COMMANDS, 1)):
            ctx.fail(f"No such command {args[0]!r}. Did you mean {near[0]!r}?")
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, function = _COMMANDS[cmd_name][0].split(":")
        command: click.Command = getattr(importlib.import_module(module), function)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except IlabError as error:
            click.echo(error.render(), err=True)
            sys.exit(error.exit_code)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            full = IlabError(
                f"no space left: {error.filename or 'writing to the disk'}", remedy="free up space, then resume"
            )
            click.echo(full.render(), err=True)
            sys.exit(full.exit_code)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
def main() -> None:
    """The InstructLab workflow as one Kubeflow pipeline: synthetic data, two training phases, scores, a better model.

    Exit codes: 0 success; 1 the run failed; 2 wrong usage; 3 failed prerequisites or no server; 4 the run can no longer
    be followed and was left as it is (start it again with the same run id: it continues); 5 the run waits for review of
    its samples; 130 interrupted.
    """


if __name__ == "__main__":
    main()
