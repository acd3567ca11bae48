"""How a run on a cluster is shown: while it goes on, and what is said of it at its end."""

from collections.abc import Mapping
from typing import Any

import click

from utils.ir.model import Pipeline
from utils.runners.cluster_session import ClusterSettings, Make, dry_run


def print_dry_run(
    pipeline: Pipeline,
    arguments: Mapping[str, Any],
    settings: ClusterSettings,
    run_id: str,
    skip: frozenset[str] = frozenset(),
    make: Make | None = None,
) -> int:
    """Print what the run would make as YAML for `kubectl apply -f -`. Returns the exit code.

    Raises:
        IlabError: as the run itself would.
    """
    from utils.runners.dry_run import as_yaml

    click.echo(as_yaml(dry_run(pipeline, arguments, settings, run_id, skip, make)), nl=False)
    return 0
