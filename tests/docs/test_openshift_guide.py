"""The commands of docs/openshift.md that talk to a pipeline server, against one of each release."""

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.docs.guides import commands
from tests.fakes.kfp_server import KfpServer as FakeServer
from tests.fakes.kfp_server import Moment
from utils.cli.main import main
from utils.runners.kfp import KfpServer

RELEASES = {"2.5.0": "2.25", "2.14.3": "3.0 to 3.3", "2.16.0": "3.4", "2.16.1": "3.5"}
TABLE = (
    "| check | result | finding | remedy |\n|---|---|---|---|\n| rights | error | may not create pytorchjobs | oc … |\n"
)


@pytest.fixture(params=RELEASES, ids=RELEASES.get)
def server(request: pytest.FixtureRequest, kubeconfig: Callable[..., None]) -> Iterator[FakeServer]:
    """The pipeline server `dspa` of the current project."""
    fake = FakeServer(request.param)
    address = {"apiServer": {"externalUrl": fake.url}}
    fake.pipeline_servers = {"v1": {"items": [{"metadata": {"name": "dspa"}, "status": {"components": address}}]}}
    fake.group = "exit-handler-1"
    kubeconfig(fake.url)
    yield fake
    fake.stop()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Polls follow each other at once."""
    monkeypatch.setattr(KfpServer.follow, "__defaults__", ((), lambda seconds: None))


def typed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Result:
    """Type what stands in the guide, in a folder with the parameters' file that it names."""
    (folder / "params.yaml").write_text("k8s_storage_class_name: nfs-csi\ntrain_num_workers: 1\n")
    monkeypatch.chdir(folder)
    (text,) = commands("openshift.md", "test_a_run_from_a_shell")
    program, *words = shlex.split(text)
    assert program == "ilab-pipeline"
    return CliRunner().invoke(main, words)


def test_a_run_from_a_shell(server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of this repository, with default parameters but two, is taken by the server of every release."""
    done = typed(tmp_path, monkeypatch)
    assert done.exit_code == 0, done.output
    (sent,) = server.sent("POST", "/apis/v2beta1/runs")
    assert sent["runtime_config"]["parameters"]["k8s_storage_class_name"] == "nfs-csi"
    (run,) = server.runs
    assert server.duplicate_form(run.id)["pipeline"]
    again = typed(tmp_path, monkeypatch)
    assert again.exit_code == 0, again.output
    assert len(server.versions) == 1


def test_findings_of_prerequisites_have_their_own_exit_code(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.moments = [Moment("FAILED", {"prerequisites": "FAILED"})]
    server.logs = {"prerequisites": f"{TABLE}error: 1 prerequisite is not met\n  cause: rights\n"}
    done = typed(tmp_path, monkeypatch)
    assert done.exit_code == 3, done.output
    assert "may not create pytorchjobs" in done.output
