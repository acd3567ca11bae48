"""The object store: resumed downloads, uploads that leave nothing incomplete, errors with remedies."""

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import IO, Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, SSLError

from tests.fakes.relay import Relay
from tests.fakes.s3 import S3
from tests.fakes.tls import make_certificate, serve_tls
from tests.fakes.waiting import FakeTime
from utils.files import ROOT
from utils.stages.authorities import ca_bundle
from utils.stages.object_store.client import ObjectStore, store_of_secret
from utils.stages.object_store.download import Download, ObjectStat, download_object, etag_check, object_stat
from utils.stages.object_store.upload import Upload, part_bytes, take_up, upload_file, upload_stream
from utils.stages.patience import ONCE

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
    return replace(store_of_secret(str(s3_server.secret(tmp_path / "secret", **changes)), ""), patience=ONCE)


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


# Errors


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"secret_key": "wrong"}, ["SignatureDoesNotMatch", "the secret key is wrong"]),
        ({"access_key": "nobody"}, ["InvalidAccessKeyId", "doesn't know the access key"]),
        ({"bucket": "no-such-bucket"}, ["NoSuchBucket", "there is no bucket 'no-such-bucket'"]),
        ({}, ["NoSuchKey", "the bucket holds no object 'missing.tar.gz'"]),
        (
            {"endpoint": "http://127.0.0.1:1"},
            ["EndpointConnectionError", "nothing listens there", "correct endpoint in"],
        ),
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
    with pytest.raises(SystemExit, match="SSLError(.|\n)*unknown authority(.|\n)*k8s_ca_configmap"):
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


# Secrets


def test_connection_of_the_dashboard_serves_as_it_is(s3_server: S3, tmp_path: Path) -> None:
    values = {
        "AWS_ACCESS_KEY_ID": s3_server.access_key,
        "AWS_SECRET_ACCESS_KEY": s3_server.secret_key,
        "AWS_S3_ENDPOINT": s3_server.endpoint,
        "AWS_S3_BUCKET": s3_server.bucket,
        "AWS_DEFAULT_REGION": "eu-west-1",
    }
    for name, value in values.items():
        (tmp_path / name).write_text(value)
    store = store_of_secret(str(tmp_path), "", archive=True, data_key="a/data.tar.gz")
    assert (store.bucket, store.region, store.data_key) == ("ilab", "eu-west-1", "a/data.tar.gz")
    store.put("connection/x", b"x")
    with pytest.raises(SystemExit, match="lacks: data_key"):
        store_of_secret(str(tmp_path), "", archive=True)


def test_session_token_goes_with_temporary_keys(s3_server: S3, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "AWS_SESSION_TOKEN").write_text("token-of-a-session")
    store = store_of(s3_server, tmp_path)
    assert store.client._request_signer._credentials.token == "token-of-a-session"
    assert "token-of-a-session" not in repr(store)


def test_without_keys_the_pods_own_identity_counts(
    s3_server: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
    folder = s3_server.secret(tmp_path / "secret")
    (folder / "access_key").unlink()
    with pytest.raises(SystemExit, match="lacks: access_key or AWS_ACCESS_KEY_ID"):
        store_of_secret(str(folder), "")
    (folder / "secret_key").unlink()
    store_of_secret(str(folder), "").put("identity/x", b"x")
