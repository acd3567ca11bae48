"""Options that several subcommands share, and how they print."""

import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


class ObjectName(click.ParamType):  # type: ignore[type-arg] # not generic in click 8.1, which workbenches have
    """The name of an object of a cluster, as the API server takes it; blank is unset.

    Args:
        kind: for the message.
        label: it is a DNS label, as a namespace is; else labels with dots between (RFC 1123).
    """

    name = "name"

    def __init__(self, kind: str, label: bool = False) -> None:
        self._kind, self._label = kind, label

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value).strip()
        label = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
        most, pattern, dot = (63, label, "") if self._label else (253, rf"{label}(\.{label})*", " .")
        if text and (len(text) > most or not re.fullmatch(pattern, text)):
            rule = f"at most {most} small letters, digits and -{dot}"
            self.fail(f"{text!r} is not the name of a {self._kind}: {rule}", param, ctx)
        return text


NAMESPACE = ObjectName("namespace", label=True)
SERVICE_ACCOUNT = ObjectName("service account")


def default_home() -> Path:
    """`$XDG_DATA_HOME/ilab-pipeline`, that is ~/.local/share/ilab-pipeline.

    For a user without a home, as in a pod with an arbitrary user id, a folder for temporary files.
    """
    aside = Path(tempfile.gettempdir(), f"ilab-pipeline-{os.getuid()}")
    try:
        home = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "ilab-pipeline"
    except RuntimeError:  # no HOME, and a user id without a name
        return aside
    # os.path: it treats a folder without read permission as one that does not exist.
    there = next((folder for folder in (home, *home.parents) if os.path.exists(folder)), home)  # noqa: PTH110
    return home if os.access(there, os.W_OK) else aside


Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def option(*names: str, envvar: str = "", **settings: Any) -> Decorator:
    """A click option that can also be set by an environment variable: `envvar`, or ILAB_ and its long name."""
    long = next(name for name in names if name.startswith("--")).split("/")[0]
    variable = envvar or "ILAB_" + long.removeprefix("--").replace("-", "_").upper()
    return click.option(*names, envvar=variable, show_envvar=True, **settings)


def add_options(command: Callable[..., Any], options: list[Decorator]) -> Callable[..., Any]:
    """Add the options in their order."""
    for one in reversed(options):
        command = one(command)
    return command


def image_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return option(
        "--image",
        "images",
        multiple=True,
        metavar="NAME=REF",
        help="Another image for the tasks of NAME: instructlab, notebook, all, or one task; docs/images.md lists what "
        "each must contain. For another pipeline, NAME is the image as written in it. Can be repeated.",
    )(command)


def home_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return option(
        "--home",
        type=click.Path(path_type=Path, file_okay=False),
        default=default_home,
        show_default="~/.local/share/ilab-pipeline",
        callback=lambda ctx, param, value: value.absolute(),
        help="Folder with the runs on this machine and their volumes.",
    )(command)


def confidence_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return option(
        "--confidence",
        type=click.FloatRange(0.5, 0.999),
        default=0.95,
        show_default=True,
        help="Confidence of the intervals and verdicts.",
    )(command)


def output_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return option(
        "-o",
        "--output",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="json prints one JSON document on standard output, for scripts.",
    )(command)


def default_python() -> str:
    return sys.executable
