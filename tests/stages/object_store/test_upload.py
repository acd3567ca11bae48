"""Uploads leave nothing incomplete, and overwrite nothing."""

import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pytest
from botocore.exceptions import ClientError

from tests.fakes.s3 import S3
from tests.fakes.waiting import FakeTime
from tests.stages.object_store.stores import MIB, download, store_of
from utils.stages.object_store import upload
from utils.stages.object_store.client import ObjectStore
from utils.stages.object_store.download import etag_check, object_stat
from utils.stages.object_store.upload import Requests, Upload, upload_file, upload_stream

# Uploads


def test_a_file_is_uploaded_with_its_sha256_beside_it(
    s3_server: S3, tmp_path: Path, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store, body = store_of(s3_server, tmp_path), os.urandom(40 * MIB)
    (tmp_path / "data.tar.gz").write_bytes(body)
    digest = hashlib.sha256(body).hexdigest()
    got = upload_file(store, tmp_path / "data.tar.gz", key)
    assert got == Upload(key, digest, 40 * MIB)
    side = s3_server.client().get_object(Bucket="ilab", Key=key + ".sha256")["Body"].read().decode()
    assert side == f"{digest}  data.tar.gz\n"
    assert download(store, key, tmp_path / "got", 16 * MIB).check == "sha256"
    assert f"progress: 40/40 MiB to {key}" in capsys.readouterr().out


def test_our_own_multipart_upload_has_an_etag_we_can_check(s3_server: S3, tmp_path: Path, key: str) -> None:
    store = store_of(s3_server, tmp_path)
    (tmp_path / "file").write_bytes(os.urandom(33 * MIB))
    upload_file(store, tmp_path / "file", key)
    stat = object_stat(store, key)
    assert etag_check(tmp_path / "file", stat) == "etag"


def test_an_upload_whose_source_fails_leaves_nothing_in_the_store(s3_server: S3, tmp_path: Path, key: str) -> None:
    store = store_of(s3_server, tmp_path)

    def produce(sink: IO[bytes]) -> None:
        sink.write(b"x" * (33 * MIB))
        raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        upload_stream(store, key, 40 * MIB, produce)
    client = s3_server.client()
    assert client.list_objects_v2(Bucket="ilab", Prefix=key)["KeyCount"] == 0
    assert "Uploads" not in client.list_multipart_uploads(Bucket="ilab", Prefix=key)


def test_an_object_of_the_same_name_is_not_overwritten(s3_server: S3, tmp_path: Path, key: str) -> None:
    store = store_of(s3_server, tmp_path)
    s3_server.client().put_object(Bucket="ilab", Key=key, Body=b"first")
    with pytest.raises(SystemExit, match="PreconditionFailed"):
        upload_stream(store, key, 5, lambda sink: sink.write(b"second"))
    assert s3_server.client().get_object(Bucket="ilab", Key=key)["Body"].read() == b"first"


# Uploads that are interrupted


class Interrupted(upload.ThreadPoolExecutor):
    """A signal comes within the submit of that number: its thread works all the same, and nobody knows it."""

    at, submitted = 0, 0
    late: list[Callable[[], Any]] = []

    def submit(self, call: Any, /, *given: Any, **named: Any) -> Any:
        Interrupted.submitted += 1
        if Interrupted.submitted - 1 != Interrupted.at:
            return super().submit(call, *given, **named)
        Interrupted.late.append(lambda: call(*given, **named))
        if Interrupted.begun:
            thread = threading.Thread(target=call, args=given)
            thread.start()
            Interrupted.begun.wait(30)
        raise KeyboardInterrupt

    begun: threading.Event | None = None


def interrupted(monkeypatch: pytest.MonkeyPatch, at: int, begun: threading.Event | None = None) -> None:
    for name, value in (("at", at), ("submitted", 0), ("late", []), ("begun", begun)):
        monkeypatch.setattr(Interrupted, name, value)
    monkeypatch.setattr(upload, "ThreadPoolExecutor", Interrupted)


def left_by(s3_server: S3, key: str) -> list[Any]:
    found: list[Any] = s3_server.client().list_multipart_uploads(Bucket="ilab", Prefix=key).get("Uploads", [])
    return found


@pytest.mark.parametrize("at", [0, 1, 2])
def test_thread_that_starts_after_an_interrupted_upload_sends_nothing(
    at: int, s3_server: S3, tmp_path: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of(s3_server, tmp_path)
    interrupted(monkeypatch, at)
    with pytest.raises(KeyboardInterrupt):
        upload_stream(store, key, 70 * MIB, lambda sink: sink.write(bytes(70 * MIB)))
    with pytest.raises(CancelledError):
        Interrupted.late[0]()
    assert left_by(s3_server, key) == []


def test_upload_that_was_being_created_when_the_signal_came_is_aborted(
    s3_server: S3, tmp_path: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, begun = store_of(s3_server, tmp_path), threading.Event()
    create = store.client.create_multipart_upload

    def creating(**arguments: Any) -> Any:
        begun.set()
        return create(**arguments)

    store.client.create_multipart_upload = creating
    interrupted(monkeypatch, 0, begun)
    with pytest.raises(KeyboardInterrupt):
        upload_stream(store, key, 5, lambda sink: sink.write(b"never"))
    assert left_by(s3_server, key) == []


def test_end_of_requests_waits_for_those_that_have_begun() -> None:
    requests, begun, may_end = Requests(), threading.Event(), threading.Event()
    order: list[str] = []

    def request() -> None:
        with requests:
            begun.set()
            may_end.wait(30)
            order.append("request")

    def end() -> None:
        requests.end()
        order.append("end")

    threads = [threading.Thread(target=request), threading.Thread(target=end)]
    threads[0].start()
    assert begun.wait(30)
    threads[1].start()
    while not requests.ended:
        os.sched_yield()
    with pytest.raises(CancelledError), requests:
        pytest.fail("a request began after the end")
    may_end.set()
    for thread in threads:
        thread.join(30)
    assert order == ["request", "end"]


def failing_upload(store: ObjectStore, key: str) -> None:
    def produce(sink: IO[bytes]) -> None:
        sink.write(bytes(33 * MIB))
        raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        upload_stream(store, key, 40 * MIB, produce)


@pytest.mark.parametrize(("late", "seconds"), [(0, 0), (3, 1 + 2 + 4), (100, 31)])
def test_part_that_arrives_after_the_abort_is_aborted_too(
    late: int, seconds: int, s3_server: S3, tmp_path: Path, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The store writes a part so many times after it was told to abort; it has a minute for that."""
    time, aborts = FakeTime(), []
    store = replace(store_of(s3_server, tmp_path), patience=time.patience(0))
    abort = store.client.abort_multipart_upload

    def aborting(**arguments: Any) -> Any:
        aborts.append(arguments)
        return abort(**arguments) if len(aborts) > late else {}

    store.client.abort_multipart_upload = aborting
    failing_upload(store, key)
    stays = late == 100
    assert ("stays in the object store: it was aborted, but has 1 parts" in capsys.readouterr().out) == stays
    assert (len(left_by(s3_server, key)), time.now) == (int(stays), seconds)


def test_account_that_may_not_list_parts_has_aborted(
    s3_server: S3, tmp_path: Path, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store = store_of(s3_server, tmp_path)
    about: Any = {"HTTPStatusCode": 403, "HTTPHeaders": {}}

    def denied(**_: Any) -> Any:
        raise ClientError({"Error": {"Code": "AccessDenied"}, "ResponseMetadata": about}, "ListParts")

    store.client.list_parts = denied
    failing_upload(store, key)
    assert left_by(s3_server, key) == [] and "stays" not in capsys.readouterr().out
