"""What all tests of the object store share."""

import os
from collections.abc import Iterator

import pytest

from tests.fakes.relay import Relay
from tests.fakes.s3 import S3
from tests.stages.object_store.stores import MIB


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    """A key of the test's own in the shared bucket."""
    return f"{request.node.name}/data.tar.gz"


@pytest.fixture
def relay(s3_server: S3) -> Iterator[Relay]:
    relay = Relay(s3_server.endpoint)
    yield relay
    relay.close()


@pytest.fixture(scope="session")
def content() -> bytes:
    return os.urandom(9 * MIB)
