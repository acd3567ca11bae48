"""Uploads leave nothing incomplete, and overwrite nothing."""

import hashlib
import os
from pathlib import Path
from typing import IO

import pytest

from tests.fakes.s3 import S3
from tests.stages.object_store.stores import MIB, download, store_of
from utils.stages.object_store.download import etag_check, object_stat
from utils.stages.object_store.upload import Upload, upload_file, upload_stream

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
