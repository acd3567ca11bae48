"""The test cluster, started when it does not run and left running: the next tests find it."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster import lifecycle, mounts
from tests.cluster.cluster import Cluster
from tests.cluster.errors import NotOursError
from tests.cluster.lab import Lab, compile_packages, laboratory
from tests.e2e.stages import in_stages


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Iterator[None]:
    with _skipped_elsewhere():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    with _skipped_elsewhere():
        return (yield)


@contextmanager
def _skipped_elsewhere() -> Iterator[None]:
    """Skip a test that asks for what only our own cluster has."""
    try:
        yield
    except NotOursError as error:
        pytest.skip(f"{error}: {error.cause}")


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """A real Kubernetes with the training operator. `make cluster-down` ends it."""
    return lifecycle.up()


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of the test module's own, where the `restricted` Pod Security Standard is enforced."""
    with cluster.namespace(f"test-{uuid.uuid4().hex[:8]}") as name:
        yield name


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the compiled small pipelines."""
    return compile_packages(tmp_path_factory.mktemp("packages"))


@pytest.fixture(scope="session")
def processed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A volume's files after data processing, for a model of two small layers."""
    if "ilab-stages" not in mounts.directories():
        pytest.skip("needs torch: run `make stages`")
    folder = tmp_path_factory.mktemp("processed")
    for step in ("volume", "data"):
        in_stages("tests/e2e/run_training.py", step, str(folder))
    return folder


@pytest.fixture(scope="module")
def lab(cluster: Cluster, namespace: str, packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The module's namespace, set up for small pipelines under the account and the Role of manifests/."""
    with laboratory(cluster, namespace, tmp_path_factory.mktemp("lab"), packages) as found:
        yield found
