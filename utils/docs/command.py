"""`ilab-pipeline docs`: the pages of docs/ that are generated from the code, so that they match it."""

import ast
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import click

from utils.docs.flag_table import with_flag_tables
from utils.docs.image_list import image_tasks, image_uses, with_image_list, with_task_table
from utils.errors import PipelineError, UsageError
from utils.files import ROOT, in_checkout
from utils.ir.model import Parameter

_TYPES = {
    "STRING": "text",
    "NUMBER_INTEGER": "whole number",
    "NUMBER_DOUBLE": "number",
    "BOOLEAN": "true or false",
    "LIST": "list",
    "STRUCT": "mapping",
}
_WIDTH = 100


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if a page is not up to date.")
def docs(check: bool) -> None:
    """Write the generated pages of docs/: the pipeline's parameters, the command's flags, the list of images."""
    if not in_checkout():
        raise UsageError("there are no pages to write here", "the pages belong to the repository", "run it there")
    stale = False
    for path, make in pages(ROOT).items():
        text = make()
        if path.exists() and path.read_text() == text:
            continue
        stale = True
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        click.echo(f"{path}: {'not up to date' if check else 'written'}")
    if check and stale:
        sys.exit(1)


def pages(root: Path) -> dict[Path, Callable[[], str]]:
    """Path of each generated page of the checkout at `root`, and the function that generates it."""
    return {
        root / "docs" / "parameters.md": lambda: _parameters_of_checkout(root),
        root / "docs" / "commands.md": commands_page,
        root / "docs" / "standalone.md": lambda: with_flag_tables((root / "docs" / "standalone.md").read_text()),
        root / "docs" / "disconnected.md": lambda: _disconnected_page(root),
        root / "docs" / "images.md": lambda: _images_page(root),
    }


def _disconnected_page(root: Path) -> str:
    page, images = root / "docs" / "disconnected.md", root / "utils" / "images.py"
    return with_image_list(page.read_text(), image_uses(images.read_text()))


def _images_page(root: Path) -> str:
    from utils.image_choice import IMAGES
    from utils.ir.load import load

    page = (root / "docs" / "images.md").read_text()
    return with_task_table(page, image_tasks(load(root / "pipeline.yaml"), IMAGES))


def _parameters_of_checkout(root: Path) -> str:
    from utils.ir.load import load

    groups = parameter_groups((root / "pipeline.py").read_text(), "ilab_pipeline")
    return parameters_page(load(root / "pipeline.yaml").parameters, groups)


def parameter_groups(source: str, function: str) -> dict[str, list[str]]:
    """Heading to parameter names, in order: from the comments between the parameters of a function in `source`."""
    own = next(n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef) and n.name == function)
    names = {argument.lineno: argument.arg for argument in own.args.args}
    lines = source.splitlines()
    groups: dict[str, list[str]] = {}
    heading = ""
    for number in range(own.lineno, own.body[0].lineno):
        line = lines[number - 1].strip()
        if line.startswith("# "):
            heading = line.removeprefix("# ")
        elif number in names:
            groups.setdefault(heading, []).append(names[number])
    return groups


def parameters_page(parameters: Mapping[str, Parameter], groups: dict[str, list[str]]) -> str:
    """docs/parameters.md.

    Raises:
        PipelineError: compiled pipeline and groups do not name the same parameters: pipeline.yaml is stale.
    """
    grouped = [name for names in groups.values() for name in names]
    if sorted(grouped) != sorted(parameters):
        differ = sorted({*grouped} ^ {*parameters})
        raise PipelineError("pipeline.yaml is not up to date", ", ".join(differ), "make compile")
    parts = [
        "# Parameters of the pipeline",
        "Generated from `pipeline.yaml` by `make docs`; edit `pipeline.py`, not this page.",
        "Set them with `-p NAME=VALUE`, or in a YAML file with `-f FILE`; both can be repeated.  "
        'Every parameter has a default; `""`, `[]`, `{}` and, where noted, `0` mean unset.',
    ]
    for heading, names in groups.items():
        rows = ["| name | type | default | meaning |", "|---|---|---|---|"]
        rows += [_row(parameters[name]) for name in names]
        parts += [f"## {heading}", "\n".join(rows)]
    return "\n\n".join(parts) + "\n"


def _row(parameter: Parameter) -> str:
    default = json.dumps(parameter.default).replace("|", "\\|") if parameter.has_default else "required"
    meaning = " ".join(parameter.description.split()).replace("|", "\\|")
    return f"| `{parameter.name}` | {_TYPES.get(parameter.type, parameter.type)} | `{default}` | {meaning} |"


def commands_page() -> str:
    """docs/commands.md: the output of `--help` of every command."""
    from utils.cli.main import main
    from utils.cli.submit import pipeline_command

    parts = [
        "# Commands",
        "Generated from the code by `make docs`. A flag with an environment variable can also be set by that variable.",
    ]
    for group, name in ((main, "ilab-pipeline"), (pipeline_command(None), "python pipeline.py")):
        parts += [f"## {heading}\n\n```\n{text}\n```" for heading, text in _help_texts(group, name)]
    return "\n\n".join(parts) + "\n"


def _help_texts(group: click.Group, name: str) -> Iterator[tuple[str, str]]:
    settings = {"terminal_width": _WIDTH, "max_content_width": _WIDTH, "help_option_names": ["-h", "--help"]}
    with click.Context(group, info_name=name, **settings) as context:  # type: ignore[arg-type]
        yield name, group.get_help(context)
        for command_name in group.list_commands(context):
            command = group.get_command(context, command_name)
            assert command is not None
            with click.Context(command, info_name=command_name, parent=context) as own:
                yield f"{name} {command_name}", command.get_help(own)
                for part in command.commands.values() if isinstance(command, click.Group) else ():
                    with click.Context(part, info_name=part.name, parent=own) as below:
                        yield f"{name} {command_name} {part.name}", part.get_help(below)
