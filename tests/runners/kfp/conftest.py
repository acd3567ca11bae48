"""A Kubeflow Pipelines server, and a pipeline of two tasks for it."""

from collections.abc import Iterator
from pathlib import Path

import kubernetes.config.kube_config
import pytest

from tests.fakes.kfp_server import KfpServer as FakeServer
from tests.runners.kfp.small_pipeline import PACKAGE
from utils.ir.load import load
from utils.ir.model import Pipeline
from utils.runners.kfp import KfpServer


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    fake.group = "exit-handler-1"
    yield fake
    fake.stop()


@pytest.fixture
def package(tmp_path: Path) -> Pipeline:
    file = tmp_path / "small.yaml"
    file.write_text(PACKAGE)
    return load(file)


@pytest.fixture(autouse=True)
def no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No kubeconfig but a test's own; polls follow each other at once."""
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setattr(kubernetes.config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    monkeypatch.setattr(KfpServer.follow, "__defaults__", ({}, lambda seconds: None))
