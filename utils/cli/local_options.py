"""Options of a run on this machine."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from utils.cli.options import add_options, option
from utils.runners.settings import LocalSettings


def local_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of a run on this machine; None means that the user gave none."""
    options = [
        option(
            "--secrets",
            type=click.Path(path_type=Path, exists=True, file_okay=False),
            help="Folder with Secrets and ConfigMaps: one folder for each, with one file per key, or Kubernetes YAML "
            "files.",
        ),
        option(
            "--python",
            metavar="PATH",
            help="Interpreter that the tasks run in.  [default: the one that runs this command]",
        ),
        option(
            "--max-parallel",
            type=click.IntRange(min=1),
            help="Largest number of tasks at a time; they share GPU and memory.  [default: 2]",
        ),
        option(
            "--install-packages",
            is_flag=True,
            default=None,
            help="Install the packages that components name and that the interpreter lacks, into that interpreter.",
        ),
        option(
            "--grace",
            type=click.FloatRange(min=0),
            metavar="SECONDS",
            help="Time that a stopped task has to shut down its servers.  [default: 10]",
        ),
    ]
    return add_options(command, options)


def given_settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those fields of `LocalSettings` that the user gave."""
    given = {one.name: options[one.name] for one in fields(LocalSettings) if options[one.name] is not None}
    if "secrets" in given:
        given["secrets"] = str(given["secrets"].absolute())
    return given
