"""Outages, lost answers, renewed keys, and stores that refuse what others accept."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, SSLError

from tests.fakes.s3 import S3
from tests.fakes.waiting import FakeTime
from tests.stages.object_store.stores import MIB, download, store_of
from utils.files import ROOT
from utils.stages.object_store.client import store_of_secret
from utils.stages.object_store.upload import Upload, part_bytes, take_up, upload_file, upload_stream

# Outages, lost answers, particular stores


def failing(client: Any, operation: str, errors: list[Exception], after: bool = False) -> None:
    """Let the client's operation raise each of the errors once; with `after`, when the store has done its work."""
    real = getattr(client, operation)

    def call(**arguments: Any) -> Any:
        if not errors:
            return real(**arguments)
        if after:
            real(**arguments)
        raise errors.pop(0)

    setattr(client, operation, call)


def answered(status: int, code: str = "InternalError", **headers: str) -> ClientError:
    about: Any = {"HTTPStatusCode": status, "HTTPHeaders": headers}
    return ClientError({"Error": {"Code": code, "Message": code}, "ResponseMetadata": about}, "Operation")


LOST = EndpointConnectionError(endpoint_url="http://store.example")


@pytest.mark.parametrize("operation", ["head_object", "get_object", "create_multipart_upload", "upload_part"])
@pytest.mark.parametrize("error", [LOST, answered(503, "SlowDown"), answered(429)])
def test_store_that_is_away_for_a_quarter_of_an_hour_ends_nothing(
    operation: str, error: Exception, s3_server: S3, tmp_path: Path, key: str
) -> None:
    time = FakeTime()
    store = replace(store_of(s3_server, tmp_path), patience=time.patience())
    (tmp_path / "file").write_bytes(b"content")
    failing(store.client, operation, [error] * 20)  # 15 minutes of pauses
    upload_file(store, tmp_path / "file", f"{key}/{operation}/{error}"[:200])
    download(store, f"{key}/{operation}/{error}"[:200], tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == b"content"
    assert 900 < time.now < 1800


def test_store_asks_for_a_pause_and_gets_it(s3_server: S3, tmp_path: Path, key: str) -> None:
    time = FakeTime()
    store = replace(store_of(s3_server, tmp_path), patience=time.patience())
    failing(store.client, "put_object", [answered(503, **{"retry-after": "120"})])
    store.put(key, b"x")
    assert time.now == 120


UNVERIFIED = SSLError(endpoint_url="https://store.example", error="[SSL: CERTIFICATE_VERIFY_FAILED] unknown authority")


@pytest.mark.parametrize(
    "error", [answered(403, "AccessDenied"), answered(404, "NoSuchBucket"), answered(501), UNVERIFIED]
)
def test_refusal_for_good_is_told_at_once(error: Exception, s3_server: S3, tmp_path: Path, key: str) -> None:
    time = FakeTime()
    store = replace(store_of(s3_server, tmp_path), patience=time.patience())
    failing(store.client, "put_object", [error])
    with pytest.raises(SystemExit):
        store.put(key, b"x")
    assert time.now == 0


@pytest.mark.parametrize(("status", "code"), [(400, "ExpiredToken"), (403, "InvalidAccessKeyId"), (403, "403")])
def test_keys_that_were_renewed_are_read_again(status: int, code: str, s3_server: S3, tmp_path: Path, key: str) -> None:
    time, folder = FakeTime(), s3_server.secret(tmp_path / "secret")
    right = (folder / "access_key").read_text()
    (folder / "access_key").write_text("expired")
    store = replace(store_of_secret(str(folder), ""), patience=time.patience())

    def renew(**_: Any) -> Any:
        (folder / "access_key").write_text(right)
        raise answered(status, code)

    store.client.put_object = renew
    store.put(key, b"x")
    assert store.client.get_object(Bucket="ilab", Key=key)["Body"].read() == b"x"
    assert time.now == 1
    with pytest.raises(SystemExit):  # they did not change since
        failing(store.client, "put_object", [answered(status, code)])
        store.put(key, b"x")
    assert time.now == 1


def test_client_of_keys_that_were_renewed_since_is_made_anew(s3_server: S3, tmp_path: Path, key: str) -> None:
    """The Secret changes between two requests; the earlier keys are refused some time later."""
    folder = s3_server.secret(tmp_path / "secret", access_key="expired")
    store = replace(store_of_secret(str(folder), ""), patience=FakeTime().patience())
    assert store.client
    (folder / "access_key").write_text(s3_server.access_key)
    store.put(key, b"x")
    assert store.client.get_object(Bucket="ilab", Key=key)["Body"].read() == b"x"


def test_store_that_stays_away_is_an_error_after_half_an_hour(s3_server: S3, tmp_path: Path, key: str) -> None:
    time = FakeTime()
    store = replace(store_of(s3_server, tmp_path), patience=time.patience())
    failing(store.client, "put_object", [LOST] * 1000)
    with pytest.raises(SystemExit, match="EndpointConnectionError"):
        store.put(key, b"x")
    assert 1700 < time.now <= 1800


@pytest.mark.parametrize("error", [LOST, answered(500)])
def test_lost_answer_of_the_completion_does_not_fail_a_whole_upload(
    error: Exception, s3_server: S3, tmp_path: Path, key: str
) -> None:  # trap 65
    store = replace(store_of(s3_server, tmp_path), patience=FakeTime().patience())
    (tmp_path / "file").write_bytes(os.urandom(33 * MIB))
    failing(store.client, "complete_multipart_upload", [error], after=True)
    got = upload_file(store, tmp_path / "file", f"{key}/{type(error).__name__}")
    assert download(store, got.key, tmp_path / "got").check == "sha256"


def test_account_that_may_write_but_not_read_has_uploaded(
    s3_server: S3, tmp_path: Path, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store = store_of(s3_server, tmp_path)
    for operation in ("head_object", "get_object"):
        failing(store.client, operation, [answered(403, "AccessDenied")])
    assert upload_stream(store, key, 4, lambda sink: sink.write(b"mine")).size == 4
    assert s3_server.client().get_object(Bucket="ilab", Key=key)["Body"].read() == b"mine"
    said = capsys.readouterr().out
    assert "size of the uploaded object can't be compared" in said and "give it s3:GetObject" in said


def test_another_object_under_the_name_is_no_lost_answer(s3_server: S3, tmp_path: Path, key: str) -> None:
    store = store_of(s3_server, tmp_path)
    s3_server.client().put_object(Bucket="ilab", Key=key, Body=b"other")
    failing(store.client, "complete_multipart_upload", [answered(500)])
    with pytest.raises(SystemExit, match="InternalError"):
        upload_stream(store, key, 4, lambda sink: sink.write(b"mine"))


def test_object_that_the_store_kept_shorter_fails_its_upload(s3_server: S3, tmp_path: Path, key: str) -> None:
    store = store_of(s3_server, tmp_path)
    real = store.client.head_object

    def shorter(**arguments: Any) -> Any:
        answer = real(**arguments)
        return answer | {"ContentLength": answer["ContentLength"] - 1}

    store.client.head_object = shorter
    with pytest.raises(SystemExit, match=r"has 3 bytes[\s\S]*4 were sent"):
        upload_stream(store, key, 4, lambda sink: sink.write(b"mine"))
    assert f"{key}.sha256" not in str(s3_server.client().list_objects_v2(Bucket="ilab", Prefix=key))


@pytest.mark.parametrize("there", [False, True])
def test_store_that_refuses_the_condition_is_asked_without_it(
    there: bool, s3_server: S3, tmp_path: Path, key: str
) -> None:
    store, client = store_of(s3_server, tmp_path), s3_server.client()
    if there:
        client.put_object(Bucket="ilab", Key=key, Body=b"first")
    failing(store.client, "complete_multipart_upload", [answered(501, "NotImplemented")])
    if there:
        with pytest.raises(SystemExit, match="NotImplemented"):
            upload_stream(store, key, 6, lambda sink: sink.write(b"second"))
    else:
        upload_stream(store, key, 6, lambda sink: sink.write(b"second"))
    assert client.get_object(Bucket="ilab", Key=key)["Body"].read() == (b"first" if there else b"second")


@pytest.mark.parametrize("whole", [False, True])
def test_upload_of_a_killed_process_is_taken_up_or_dropped(
    whole: bool, s3_server: S3, tmp_path: Path, key: str
) -> None:
    """Killed before its last request, or between that and the note's end."""
    note, body = tmp_path / "publish.upload", os.urandom(1000)
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom utils.stages.object_store import upload\n"
        "from utils.stages.object_store.client import store_of_secret\n"
        "real = upload.complete\n"
        "def complete(*given):\n    if sys.argv[4]: real(*given)\n    os.kill(os.getpid(), 9)\n"
        "upload.complete = complete\n"
        "store = store_of_secret(sys.argv[1], '')\n"
        "upload.upload_stream(store, sys.argv[2], 1000, lambda sink: sink.write(bytes.fromhex(sys.argv[5])), "
        "note=Path(sys.argv[3]))\n"
    )
    store = store_of(s3_server, tmp_path)
    words = [str(tmp_path / "secret"), key, str(note), "whole" * whole, body.hex()]
    assert subprocess.run([sys.executable, "-c", program, *words], cwd=ROOT).returncode == -9
    got = take_up(store, note)
    client = s3_server.client()
    assert "Uploads" not in client.list_multipart_uploads(Bucket="ilab", Prefix=key)
    if whole:
        assert got == Upload(key, hashlib.sha256(body).hexdigest(), 1000)
        assert download(store, key, tmp_path / "got").check == "sha256"
    else:
        assert got is None and client.list_objects_v2(Bucket="ilab", Prefix=key)["KeyCount"] == 0


@pytest.mark.parametrize(("total", "most"), [(0, 32 * MIB), (320 << 30, 40 * MIB), (5 << 40, 600 * MIB)])
def test_parts_are_large_enough_for_their_number(total: int, most: int, s3_server: S3, tmp_path: Path) -> None:
    size = part_bytes(total)
    assert 32 * MIB <= size <= most and total * 1.04 / size <= 10_000


def test_every_request_that_stores_something_carries_its_checksum(s3_server: S3, tmp_path: Path, key: str) -> None:
    """A bucket with object lock refuses others (Amazon S3 user guide, "Configuring S3 Object Lock")."""
    store, sent = store_of(s3_server, tmp_path), dict[str, Any]()
    store.client.meta.events.register(
        "before-send.s3", lambda request, **_: sent.update({request.url: request.headers})
    )
    (tmp_path / "file").write_bytes(b"content")
    upload_file(store, tmp_path / "file", key)
    store.put(key + ".report.html", b"page", ContentType="text/html")
    puts = [headers for url, headers in sent.items() if "partNumber=" in url or url.endswith((".sha256", ".html"))]
    assert len(puts) == 3 and all("Content-MD5" in headers for headers in puts)
