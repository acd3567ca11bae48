"""Secrets and endpoints of a store: what is wrong is named, with a remedy."""

import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from tests.fakes.s3 import S3
from tests.fakes.tls import make_certificate, serve_tls
from tests.stages.object_store.stores import store_of
from utils.stages.authorities import ca_bundle
from utils.stages.object_store.client import store_of_secret
from utils.stages.object_store.download import object_stat

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


@pytest.mark.parametrize(
    ("operation", "policy"),
    [
        ("list_objects_v2", "s3:ListBucket"),
        ("head_object", "s3:GetObject"),
        ("get_object", "s3:GetObject"),
        ("create_multipart_upload", "s3:PutObject"),
        ("abort_multipart_upload", "s3:AbortMultipartUpload"),
    ],
)
def test_policy_that_a_refused_operation_lacks_is_named(
    s3_server: S3, tmp_path: Path, operation: str, policy: str
) -> None:
    """These are all that stages and prerequisites ask for; none deletes an object."""
    denied = {"Error": {"Code": "AccessDenied", "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": 403}}
    error = ClientError(denied, operation)
    told = str(store_of(s3_server, tmp_path).failure("a/data.tar.gz", error, operation))
    assert f"this account may not {operation}" in told and f"give it {policy} on the bucket" in told


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
