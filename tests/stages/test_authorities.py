"""Which certificate authorities a task trusts: checked by real clients against a real TLS server."""

import os
import ssl
import subprocess
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import botocore.exceptions
import certifi
import httpx
import pytest
import requests

from tests.fakes.tls import make_certificate, serve_tls
from utils.stages.authorities import ca_bundle, certificates_of, own_authorities, pem_certificates, trust_everywhere
from utils.stages.credentials import ModelServer
from utils.stages.data_import.git import git_credentials
from utils.stages.evaluation.client import ModelClient
from utils.stages.object_store.client import ObjectStore

VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE", "GIT_SSL_CAINFO")
DER = "-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # put back in the end, whatever a test does
        monkeypatch.delenv(name)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of an HTTPS server, and the file of the authority that nobody else knows."""
    ca, chain = make_certificate(tmp_path_factory.mktemp("server"))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None: ...

    with serve_tls(Handler, chain) as url:
        yield url, ca


def by_requests(url: str, ca: str) -> None:
    requests.get(url, verify=ca or True, timeout=10)


def by_httpx(url: str, ca: str) -> None:
    ModelClient(ModelServer(url, "m", "token"), {}, ca=ca).post(url, json={"messages": []})


def by_boto3(url: str, ca: str) -> None:
    ObjectStore("bucket", "a", "b", endpoint=url, ca=ca).client.head_object(Bucket="bucket", Key="key")


def by_git(url: str, ca: str) -> None:
    """git gets past TLS, and says that the address is not a repository."""
    options, environment = git_credentials(url, "", "", ca)
    command = ["git", *options, "ls-remote", url]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if "certificate" in done.stderr:
        raise ssl.SSLError(done.stderr)


CLIENTS = [by_requests, by_httpx, by_boto3, by_git]
REFUSED = (requests.exceptions.SSLError, httpx.ConnectError, botocore.exceptions.SSLError, ssl.SSLError)


@pytest.mark.parametrize("client", CLIENTS)
def test_every_client_trusts_the_bundle_and_nothing_without_it(
    client: Callable[[str, str], None], server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, authority = server
    with pytest.raises(REFUSED):
        client(url, ca_bundle(""))
    client(url, ca_bundle(str(authority)))
    monkeypatch.setenv("SSL_CERT_DIR", f"/nowhere:{authority.parent}")
    client(url, ca_bundle(""))


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE"])
def test_what_the_pipeline_server_sets_is_trusted_by_every_client(
    variable: str, server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenShift AI sets these three to one file, and SSL_CERT_DIR to its folder, /etc/ssl/certs and /etc/pki/tls/certs
    (Data Science Pipelines 2.5.0 and its operator); newer ones to a bundle that the launcher writes (2.16.1)."""
    monkeypatch.setenv(variable, str(server[1]))
    bundle = ca_bundle("")
    for client in CLIENTS:
        client(server[0], bundle)


@pytest.mark.parametrize("name", ["service-ca.crt", "ca.crt"])
def test_the_authorities_beside_the_token_are_trusted(name: str, server: tuple[str, Path], tmp_path: Path) -> None:
    (tmp_path / "account").mkdir()
    assert own_authorities(str(tmp_path / "account")) == [], "a pod without a token"
    (tmp_path / "account" / name).write_bytes(server[1].read_bytes())
    assert own_authorities(str(tmp_path / "account")) == [ssl.PEM_cert_to_DER_cert(server[1].read_text())]


def test_users_certificates_are_added_to_the_pods_without_duplicates(
    server: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, _ = make_certificate(tmp_path)
    roots = Path(certifi.where()).read_text()
    (tmp_path / "system").mkdir()
    (tmp_path / "system" / "bundle.crt").write_text(
        "# comment: é\r\n" + roots + other.read_text().replace("\n", "\r\n")
    )
    (tmp_path / "system" / "key.pem").write_text("-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n")
    (tmp_path / "system" / "binary").write_bytes(bytes(range(256)))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "system"))
    monkeypatch.setenv("SSL_CERT_FILE", str(server[1]))
    found, problems = pem_certificates(Path(ca_bundle(str(server[1]))).read_text())
    assert problems == []
    assert len(found) == len(set(found)) == len(pem_certificates(roots)[0]) + 2


def test_public_authorities_alone_need_no_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", certifi.where())
    monkeypatch.setattr(own_authorities, "__defaults__", (str(tmp_path),))
    assert ca_bundle("") == ca_bundle(str(tmp_path / "no-folder" / "ca-bundle.crt")) == ""


def test_library_without_an_explicit_bundle_trusts_it_too(
    server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, authority = server
    trust_everywhere("")
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(url, timeout=10)
    trust_everywhere(ca_bundle(str(authority)))
    requests.get(url, timeout=10)
    httpx.get(url)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nothing", "no line -----BEGIN CERTIFICATE-----"),
        (DER, "certificate 1 is broken: "),
        (DER.replace("bm90", "****"), "certificate 1 is broken: its text is not base64"),
        (DER.rpartition("-----END")[0], "certificate 1 is broken: its text is cut off"),
    ],
)
def test_broken_file_of_the_user_is_an_error_and_one_of_the_pod_is_skipped(
    text: str, problem: str, server: tuple[str, Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    file = tmp_path / "broken.crt"
    file.write_text(text)
    with pytest.raises(SystemExit) as error:
        ca_bundle(str(file))
    assert f"{file} is not a file of PEM certificates" in str(error.value) and problem in str(error.value)
    assert "the key broken.crt of the ConfigMap that k8s_ca_configmap names" in str(error.value)
    file.write_text(server[1].read_text() + text)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    by_requests(server[0], ca_bundle(""))
    assert ("are left out" in capsys.readouterr().out) == ("BEGIN" in text)


def test_missing_config_map_key_is_reported_with_the_existing_keys(tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()  # as the kubelet mounts a ConfigMap, a missing one too
    assert certificates_of(str(tmp_path / "ca-bundle.crt")) == []
    (tmp_path / "root.pem").write_text("")
    with pytest.raises(SystemExit, match=r"no key ca-bundle\.crt\n  cause: it has root\.pem\n  next: .*k8s_ca_key"):
        certificates_of(str(tmp_path / "ca-bundle.crt"))
    assert certificates_of(str(tmp_path / "root.pem")) == [], "OpenShift fills an empty key when it is ready"


def test_unreadable_file_of_the_pod_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(Path, "read_text", lambda *_: (_ for _ in ()).throw(PermissionError(13, "not yours")))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "file"))
    assert own_authorities(str(tmp_path / "none")) == []
    assert "left out: it can't be read: not yours" in capsys.readouterr().out
