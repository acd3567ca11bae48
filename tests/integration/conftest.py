"""Real servers for the tests, on loopback, stopped when the tests end."""

import ssl
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import kubernetes.config.kube_config
import pytest
import yaml

from tests.integration.answers import Answer, Server
from tests.kubernetes_api import KubernetesApi, short_sleep
from utils.demo.s3_server import start_s3_server


@dataclass(frozen=True)
class S3:
    """A running S3 server: its address, the only identity it accepts, and a bucket."""

    endpoint: str
    access_key: str
    secret_key: str
    bucket: str

    def client(self) -> Any:
        """A boto3 client with the right keys, for preparing and looking at objects."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
        )

    def secret(self, folder: Path, **changes: str) -> Path:
        """Write the object store's Secret as a folder, a file a key, with changes; returns the folder."""
        values = {
            "bucket": self.bucket,
            "access_key": self.access_key,
            "secret_key": self.secret_key,
            "data_key": "data.tar.gz",
            "endpoint": self.endpoint,
            "region": "",
            "verify_tls": "",
        }
        folder.mkdir(parents=True, exist_ok=True)
        for key, value in {**values, **changes}.items():
            (folder / key).write_text(value)
        return folder


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """A real S3 server for the whole test session, with one bucket that all tests share."""
    access_key, secret_key = f"test-{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    server = start_s3_server(tmp_path_factory.mktemp("s3"), access_key, secret_key, bucket="ilab")
    try:
        yield S3(server.endpoint, access_key, secret_key, "ilab")
    finally:
        server.stop()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(*answers: Answer, context: ssl.SSLContext | None = None) -> Server:
        servers.append(Server(list(answers), context))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Point the kubernetes client at a URL, by a kubeconfig with this token and the namespace `lab`."""

    def use(url: str, token: str = "canary-5e1f0c") -> None:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u", "namespace": "lab"}}],
            "clusters": [{"name": "k", "cluster": {"server": url}}],
            "users": [{"name": "u", "user": {"token": token}}],
        }
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
        monkeypatch.delenv("KUBECONFIG", raising=False)
        monkeypatch.setattr(kubernetes.config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))

    return use


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesApi]:
    """The small Kubernetes API, which the stages' client finds; they wait a hundredth of the time."""
    monkeypatch.delenv("ILAB_CLAIMS_DIR", raising=False)
    server = KubernetesApi()
    server.write_kubeconfig(tmp_path / "kubeconfig")
    monkeypatch.setattr(time, "sleep", partial(short_sleep, time.sleep))
    monkeypatch.setattr(kubernetes.config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))
    yield server
    server.stop()
