"""The tables of flags in docs/standalone.md, generated from utils/standalone/flags.py and the command itself."""

import click

from utils.errors import PipelineError
from utils.standalone.flags import SECTIONS, Flag
from utils.standalone.options import option_names

BEGIN = "<!-- Made by `make docs` from utils/standalone/. -->"
END = "<!-- End of what is made. -->"


def with_flag_tables(page: str) -> str:
    """`page` with the tables of `run` and `show` between its two marks.

    Raises:
        PipelineError: the marks are not there.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise PipelineError("the page has no place for the flags", f"it lacks {BEGIN} or {END}", "put them back")
    return "\n\n".join([before + begin, *_run_tables(), "## Flags of `show`", _show_table(), end]) + after


def _run_tables() -> list[str]:
    parts = ["## Flags of `run`"]
    for heading, flags in SECTIONS.items():
        rows = ["| flag | default | environment variable | meaning |", "|---|---|---|---|"]
        parts += [f"### {heading}", "\n".join(rows + [_row(flag) for flag in flags])]
    return parts


def _row(flag: Flag) -> str:
    default = f"`{flag.default}`"
    if flag.default is None or flag.default == ():
        default = ""
    elif isinstance(flag.default, bool):
        default = ("`true`" if flag.kind == "boolean" else "on") if flag.default else "off"
    name = "`, `".join(option_names(flag))
    choices = f" One of {', '.join(flag.choices)}." if flag.choices else ""
    return f"| `{name}` | {default} | `{flag.envvar}` | {flag.help}{choices} |"


def _show_table() -> str:
    from utils.standalone.commands import show

    rows = ["| flag | default | meaning |", "|---|---|---|"]
    for option in show.params:
        if isinstance(option, click.Option):
            default = (
                "required" if option.required else f"`{option.default}`" if isinstance(option.default, str) else ""
            )
            rows.append(f"| `{option.opts[-1]}` | {default} | {option.help} |")
    return "\n".join(rows)
