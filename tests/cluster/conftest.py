"""The test cluster, started when it does not run and left running: the next tests find it."""

import uuid
from collections.abc import Iterator

import pytest

from tests.cluster import lifecycle
from tests.cluster.cluster import Cluster


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """A real Kubernetes with the training operator. `make cluster-down` ends it."""
    return lifecycle.up()


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of the test module's own, where the `restricted` Pod Security Standard is enforced."""
    with cluster.namespace(f"test-{uuid.uuid4().hex[:8]}") as name:
        yield name
