"""Downloads: what arrived is checked, and one that broke off resumes."""

import hashlib
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.relay import Relay
from tests.fakes.s3 import S3
from tests.fakes.waiting import FakeTime
from tests.stages.object_store.stores import MIB, download, store_of
from utils.stages.object_store.download import Download, ObjectStat, download_object, etag_check, object_stat

# Checks of what was downloaded


def test_sha256_object_beside_the_archive_is_checked(s3_server: S3, tmp_path: Path, key: str) -> None:
    client, body = s3_server.client(), b"archive"
    client.put_object(Bucket="ilab", Key=key, Body=body)
    client.put_object(Bucket="ilab", Key=key + ".sha256", Body=f"{hashlib.sha256(body).hexdigest()}  data\n".encode())
    got = download(store_of(s3_server, tmp_path), key, tmp_path / "got")
    assert got == Download(key, hashlib.sha256(body).hexdigest(), 7, "sha256")
    assert (tmp_path / "got").read_bytes() == body


def test_sha256_in_the_metadata_is_checked_without_such_an_object(s3_server: S3, tmp_path: Path, key: str) -> None:
    digest = hashlib.sha256(b"archive").hexdigest()
    s3_server.client().put_object(Bucket="ilab", Key=key, Body=b"archive", Metadata={"sha256": digest.upper()})
    assert download(store_of(s3_server, tmp_path), key, tmp_path / "got").check == "sha256"


def test_without_a_sha256_the_etag_is_checked(s3_server: S3, tmp_path: Path, key: str) -> None:
    s3_server.client().put_object(Bucket="ilab", Key=key, Body=b"archive")
    assert download(store_of(s3_server, tmp_path), key, tmp_path / "got").check == "etag"


def test_content_with_another_sha256_is_refused_and_not_kept(
    s3_server: S3, tmp_path: Path, key: str
) -> None:  # trap 12
    s3_server.client().put_object(Bucket="ilab", Key=key, Body=b"torn", Metadata={"sha256": "0" * 64})
    with pytest.raises(SystemExit, match="does not have the content it should have"):
        download(store_of(s3_server, tmp_path), key, tmp_path / "got")
    assert [p.name for p in tmp_path.iterdir()] == ["secret"]


def test_invalid_sha256_object_is_an_error(s3_server: S3, tmp_path: Path, key: str) -> None:
    s3_server.client().put_object(Bucket="ilab", Key=key, Body=b"x")
    s3_server.client().put_object(Bucket="ilab", Key=key + ".sha256", Body=b"see attachment")
    with pytest.raises(SystemExit, match="its sha256 can't be read"):
        download(store_of(s3_server, tmp_path), key, tmp_path / "got")


def test_multipart_etag_is_checked_part_by_part(s3_server: S3, tmp_path: Path, key: str, content: bytes) -> None:
    store = store_of(s3_server, tmp_path)
    (tmp_path / "file").write_bytes(content)
    client = s3_server.client()
    upload = client.create_multipart_upload(Bucket="ilab", Key=key)["UploadId"]
    parts = [
        {
            "PartNumber": n + 1,
            "ETag": client.upload_part(
                Bucket="ilab", Key=key, UploadId=upload, PartNumber=n + 1, Body=content[n * 5 * MIB : (n + 1) * 5 * MIB]
            )["ETag"],
        }
        for n in range(2)
    ]
    client.complete_multipart_upload(Bucket="ilab", Key=key, UploadId=upload, MultipartUpload={"Parts": parts})
    stat = object_stat(store, key)
    assert stat.etag.endswith("-2")
    assert etag_check(tmp_path / "file", stat) == "etag"


@pytest.mark.parametrize(
    ("etag", "opaque", "size", "expected"),
    [
        (hashlib.md5(b"content").hexdigest(), False, 7, "etag"),
        (hashlib.md5(b"another").hexdigest(), False, 7, ""),
        (hashlib.md5(b"another").hexdigest(), True, 7, "size"),
        ("0" * 32 + "-3", False, 7, "size"),
        ("W-some-other-scheme", False, 7, "size"),
        (hashlib.md5(b"content").hexdigest(), False, 8, ""),
    ],
)
def test_etag_is_checked_only_when_it_is_a_digest(
    tmp_path: Path, etag: str, opaque: bool, size: int, expected: str
) -> None:
    (tmp_path / "file").write_bytes(b"content")
    assert etag_check(tmp_path / "file", ObjectStat("key", size, etag, opaque, "")) == expected


# Breaks


def test_broken_download_resumes_where_it_stopped(
    s3_server: S3, relay: Relay, tmp_path: Path, key: str, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    s3_server.client().put_object(Bucket="ilab", Key=key, Body=content)
    relay.cut_after = 4 * MIB
    store = replace(store_of(s3_server, tmp_path, endpoint=relay.endpoint), patience=FakeTime().patience())
    download(store, key, tmp_path / "got")
    assert relay.cuts == 1
    assert (tmp_path / "got").read_bytes() == content


def test_interrupted_download_resumes_in_the_next_run(
    s3_server: S3,
    relay: Relay,
    tmp_path: Path,
    key: str,
    content: bytes,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    s3_server.client().put_object(Bucket="ilab", Key=key, Body=content)
    store = store_of(s3_server, tmp_path, endpoint=relay.endpoint)
    relay.cut_after, relay.stay_broken = 5 * MIB, True
    with pytest.raises(SystemExit, match="broke off at [1-8] MiB(.|\n)*it continues from there"):
        download(store, key, tmp_path / "got", chunk=MIB // 4)
    (part,) = tmp_path.glob("got.*.part")
    have = part.stat().st_size
    assert have >= MIB and not (tmp_path / "got").exists()
    assert part.read_bytes() == content[:have]

    relay.broken, relay.passed = False, 0
    download(store, key, tmp_path / "got", chunk=MIB // 4)
    assert relay.passed < len(content) - have + MIB
    assert (tmp_path / "got").read_bytes() == content
    assert "are here from an earlier try" in capsys.readouterr().out


def test_truncated_file_of_an_earlier_run_is_repaired(
    s3_server: S3, tmp_path: Path, key: str, content: bytes
) -> None:  # trap 12
    """An earlier system took a file that was there for the whole archive."""
    s3_server.client().put_object(Bucket="ilab", Key=key, Body=content)
    store = store_of(s3_server, tmp_path)
    (tmp_path / "got").write_bytes(content[: 2 * MIB])
    download(store, key, tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == content


def test_object_that_changed_meanwhile_is_downloaded_again(
    s3_server: S3, tmp_path: Path, key: str, content: bytes
) -> None:
    client, store = s3_server.client(), store_of(s3_server, tmp_path)
    client.put_object(Bucket="ilab", Key=key, Body=b"old" * MIB)
    stat = object_stat(store, key)
    client.put_object(Bucket="ilab", Key=key, Body=content)
    got = download_object(store, stat, tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == content and got.size == len(content)
    assert list(tmp_path.glob("*.part")) == []
