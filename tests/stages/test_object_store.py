"""The object store: resumed downloads, uploads that leave nothing incomplete, errors with remedies."""

import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import IO

import pytest

from tests.fakes.relay import Relay
from tests.fakes.s3 import S3
from tests.fakes.tls import make_certificate, serve_tls
from utils.stages.authorities import ca_bundle
from utils.stages.object_store.client import ObjectStore, store_of_secret
from utils.stages.object_store.download import Download, ObjectStat, download_object, etag_check, object_stat
from utils.stages.object_store.upload import Upload, upload_file, upload_stream

MIB = 1 << 20


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


def store_of(s3_server: S3, tmp_path: Path, **changes: str) -> ObjectStore:
    return store_of_secret(str(s3_server.secret(tmp_path / "secret", **changes)), "")


def download(store: ObjectStore, key: str, path: Path, chunk: int = MIB) -> Download:
    return download_object(store, object_stat(store, key), path, chunk)


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
    download(store_of(s3_server, tmp_path, endpoint=relay.endpoint), key, tmp_path / "got")
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


# Errors


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"secret_key": "wrong"}, ["SignatureDoesNotMatch", "the secret key is wrong"]),
        ({"access_key": "nobody"}, ["InvalidAccessKeyId", "doesn't know the access key"]),
        ({"bucket": "no-such-bucket"}, ["NoSuchBucket", "there is no bucket 'no-such-bucket'"]),
        ({}, ["NoSuchKey", "the bucket holds no object 'missing.tar.gz'"]),
        ({"endpoint": "http://127.0.0.1:1"}, ["EndpointConnectionError", "correct endpoint"]),
    ],
)
def test_every_wrong_setting_is_named(
    s3_server: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], told: str
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    store = store_of(s3_server, tmp_path, **changes)
    with pytest.raises(SystemExit) as error:
        object_stat(store, "missing.tar.gz")
    text = str(error.value)
    assert all(part in text for part in told), text
    assert len(text.splitlines()) == 3 and s3_server.secret_key not in text and "wrong" not in text.split("cause")[0]


@pytest.mark.parametrize("value", ["maybe", "on", "enabled", "1"])
def test_an_unknown_verify_tls_is_an_error_and_never_turns_verification_off(
    s3_server: S3, tmp_path: Path, value: str
) -> None:  # trap 14
    with pytest.raises(SystemExit, match="it must be true or false"):
        store_of(s3_server, tmp_path, verify_tls=value)


@pytest.mark.parametrize(("value", "verify"), [("", True), ("true", True), ("True", True), ("false", False)])
def test_verify_tls_is_strict_and_blank_means_on(
    s3_server: S3, tmp_path: Path, value: str, verify: bool
) -> None:  # trap 14
    assert store_of(s3_server, tmp_path, verify_tls=value).verify_tls is verify


def test_blank_endpoint_and_region_mean_amazon_s3(
    s3_server: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # trap 14
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    client = store_of(s3_server, tmp_path, endpoint=" ", region="\n").client
    assert client.meta.endpoint_url == "https://s3.amazonaws.com"


def test_a_custom_endpoint_gets_no_checksums_it_may_refuse_and_path_style(s3_server: S3, tmp_path: Path) -> None:
    config = store_of(s3_server, tmp_path).client.meta.config
    assert config.request_checksum_calculation == "when_required"
    assert config.response_checksum_validation == "when_required"
    assert config.s3["addressing_style"] == "path"


@pytest.fixture(scope="session")
def tls_server(tmp_path_factory: pytest.TempPathFactory, s3_server: S3) -> Iterator[tuple[str, Path]]:
    """An HTTPS server with a certificate of an authority nobody knows; its address and that authority's file."""
    folder = tmp_path_factory.mktemp("tls")
    ca, chain = make_certificate(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.send_header("ETag", '"abc"')
            self.end_headers()

        def do_GET(self) -> None:
            self.send_response(404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    with serve_tls(Handler, chain) as url:
        yield url, ca


def test_unverifiable_tls_is_refused_with_a_remedy(
    s3_server: S3, tls_server: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    store = store_of(s3_server, tmp_path, endpoint=tls_server[0])
    with pytest.raises(SystemExit, match="SSLError(.|\n)*TLS can't be verified(.|\n)*k8s_ca_configmap"):
        object_stat(store, "data.tar.gz")


def test_a_private_authority_is_trusted_when_its_certificate_is_given(
    s3_server: S3, tls_server: tuple[str, Path], tmp_path: Path
) -> None:
    store = store_of(s3_server, tmp_path, endpoint=tls_server[0])
    client = replace(store, ca=ca_bundle(str(tls_server[1])))
    assert object_stat(client, "data.tar.gz").size == 5


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_verify_tls_false_accepts_an_unknown_authority(
    s3_server: S3, tls_server: tuple[str, Path], tmp_path: Path
) -> None:
    store = store_of(s3_server, tmp_path, endpoint=tls_server[0], verify_tls="false")
    assert object_stat(store, "data.tar.gz").size == 5


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
