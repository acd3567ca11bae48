"""`python -m tests.cluster up|down|status|env|test`."""

import subprocess
import sys

import click

from tests.cluster import lifecycle
from tests.cluster.cluster import the_cluster
from tests.cluster.errors import ClusterError

# Most tests wait most of the time, each file in a namespace of its own: two files run side by side. Those that restart
# the API server follow.
ALL = (
    ("tests/cluster", "-m", "not alone", "-n", "2", "--dist", "loadfile", "--durations", "20"),
    ("tests/cluster", "-m", "alone"),
)


@click.group()
def main() -> None:
    """A disposable Kubernetes of one node for the tests (or the one that ILAB_TEST_KUBECONFIG names)."""


@main.command()
def up() -> None:
    """Start the cluster unless it runs, and print what to put into the environment."""
    lifecycle.up()
    _print_environment()


@main.command()
def down() -> None:
    """End the cluster; only the cached programs stay."""
    lifecycle.down()


@main.command()
def status() -> None:
    """Say what is wrong; the exit code is 0 when nothing is."""
    cluster = the_cluster()
    found = lifecycle.problems(cluster)
    click.echo("\n".join(found) if found else cluster.kubectl("get", "nodes,pods", "-A", "-o", "wide"))
    sys.exit(1 if found else 0)


@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def test(words: tuple[str, ...]) -> None:
    """Run the tests on the cluster (WORDS go to pytest), started if it is down; it is left as it was found."""
    was_up = lifecycle.is_up()
    try:
        lifecycle.up()
        codes = [
            subprocess.run([sys.executable, "-m", "pytest", *chosen]).returncode
            for chosen in ([words] if words else ALL)
        ]
    finally:
        if not was_up:
            lifecycle.down()
    sys.exit(max(codes))


@main.command()
def env() -> None:
    """Print what to put into the environment."""
    _print_environment()


def _print_environment() -> None:
    cluster = the_cluster()
    click.echo(f"export KUBECONFIG={cluster.kubeconfig}")
    click.echo(f"export PATH={cluster.kubectl_path.parent}:$PATH")


if __name__ == "__main__":
    try:
        main()
    except ClusterError as error:
        sys.exit(error.render())
