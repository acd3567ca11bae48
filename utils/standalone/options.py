"""The flags as click options, and what a user gave."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from utils.cli.options import NAMESPACE, SERVICE_ACCOUNT
from utils.standalone.flags import FLAGS, SECTIONS, Flag

_SHORT = {"--param": ["-p"], "--params": ["-f"], "--output": ["-o"]}
_TRUE, _FALSE = ("true", "yes", "on", "t", "y", "1"), ("false", "no", "off", "f", "n", "0")


@dataclass(frozen=True)
class Given:
    """What a user gave: the value of each flag, and which flags were on the command line.

    A blank text is None: unset.
    """

    values: Mapping[str, Any] = field(repr=False)
    typed: frozenset[str] = frozenset()

    def __getitem__(self, key: str) -> Any:
        return self.values[key]


class StrictBoolean(click.ParamType):  # type: ignore[type-arg] # not generic in click 8.1, which workbenches have
    """true or false in the spellings that click knows; blank means the default, anything else is rejected."""

    name = "true|false"

    def __init__(self, default: bool) -> None:
        self._default = default

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bool:
        if isinstance(value, bool):
            return value
        word = str(value).strip().lower()
        if not word:
            return self._default
        if word not in _TRUE + _FALSE:
            self.fail(f"{value!r} is neither true nor false.", param, ctx)
        return word in _TRUE


class SectionedGroup(click.Group):
    """A group whose help lists its options under the headings of SECTIONS."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        records = {one.name: one.get_help_record(ctx) for one in self.get_params(ctx)}
        for heading, flags in SECTIONS.items():
            with formatter.section(heading):
                formatter.write_dl([record for flag in flags if (record := records.pop(flag.key, None))])
        with formatter.section("Options"):
            formatter.write_dl([record for record in records.values() if record])
        self.format_commands(ctx, formatter)


def option_names(flag: Flag) -> list[str]:
    """The forms that a user may type, the short one first."""
    off = [f"--no-{flag.name.removeprefix('--')}"] if flag.kind == "on_off" else []
    return [*_SHORT.get(flag.name, []), flag.name, *off]


def option_of(flag: Flag) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The click option of a flag."""
    settings: dict[str, Any] = {"envvar": flag.envvar, "show_envvar": True, "help": flag.help}
    names, short = [flag.name], _SHORT.get(flag.name, [])
    if flag.kind == "switch":
        return click.option(*names, is_flag=True, default=False, **settings)
    if flag.kind == "on_off":
        names = ["/".join(option_names(flag))]
        return click.option(*names, default=flag.default, show_default=True, **settings)
    if flag.kind in ("many", "files"):
        kind: Any = click.Path(path_type=Path, dir_okay=False) if flag.kind == "files" else str
        return click.option(*short, *names, type=kind, multiple=True, metavar=flag.metavar or None, **settings)
    types = {
        "integer": click.INT,
        "number": click.FLOAT,
        "boolean": StrictBoolean(bool(flag.default)),
        "choice": click.Choice(flag.choices),
        "file": click.Path(path_type=Path, dir_okay=False),
        "folder": click.Path(path_type=Path, file_okay=False),
        "namespace": NAMESPACE,
        "account": SERVICE_ACCOUNT,
    }
    shown = flag.default is not None
    settings |= {"type": types.get(flag.kind, click.STRING), "default": flag.default, "show_default": shown}
    return click.option(*short, *names, metavar=flag.metavar or None, **settings)


def all_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option of every flag, in their order."""
    for flag in reversed(FLAGS.values()):
        command = option_of(flag)(command)
    return command


def given(context: click.Context, /, **values: Any) -> Given:
    """What the user gave, from the values that click read."""
    kept = {key: None if isinstance(value, str) and not value.strip() else value for key, value in values.items()}
    typed = {key for key in values if context.get_parameter_source(key) is ParameterSource.COMMANDLINE}
    return Given(kept, frozenset(typed))
