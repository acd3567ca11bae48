"""Command lines of standalone.py, read as the command reads them, and a cluster for it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from tests.fakes.kubeconfig import write_kubeconfig
from tests.fakes.node import Node
from utils.standalone.flags import FLAGS
from utils.standalone.options import Given, all_options, given

Read = Callable[..., Given]


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for flag in FLAGS.values():
        monkeypatch.delenv(flag.envvar, raising=False)


@pytest.fixture
def read() -> Iterator[Read]:
    """Reads arguments of `run` to what a user gave."""

    @click.command()
    @all_options
    @click.pass_context
    def command(context: click.Context, /, **values: object) -> Given:
        return given(context, **values)

    def read(*args: str) -> Given:
        return command.main(list(args), standalone_mode=False)

    yield read


@pytest.fixture
def node() -> Iterator[Node]:
    server = Node()
    yield server
    server.stop()


@pytest.fixture
def kubeconfig(node: Node, tmp_path: Path) -> Path:
    return write_kubeconfig(tmp_path / "kubeconfig", node.url)
