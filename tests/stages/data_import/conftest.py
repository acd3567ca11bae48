"""What tests of data import share."""

from pathlib import Path

import pytest

from tests.fakes.s3 import S3
from tests.stages.data_import.importing import Import


@pytest.fixture
def stage(s3_server: S3, tmp_path: Path, request: pytest.FixtureRequest) -> Import:
    return Import(s3_server, tmp_path, f"{request.node.name}/data.tar.gz")
