"""What every test has: an environment that does not depend on how tests are started, and real servers on loopback.

Keep its imports light: the tests of every room wait for them.
"""

import inspect
import os
import signal
import ssl
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from types import FrameType

import pytest

from tests.fakes.answers import Answer, Server
from tests.fakes.kubeconfig import write_kubeconfig
from tests.fakes.kubernetes_api import KubernetesApi, ShortTime, short_sleep
from tests.fakes.s3 import S3
from utils.cluster.client import Client
from utils.demo.s3_server import S3Server, start_s3_server
from utils.errors import TaskFailed
from utils.names import CLAIMS_DIR

# Started in the background of a shell, a process ignores Ctrl-C and hands that on; tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Authorities that this machine trusts beside the public ones: tests that need some name them. (Each stage reads them.)
for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE"):
    os.environ.pop(name, None)


def callers(context: int = 1) -> list[inspect.FrameInfo]:
    """As `inspect.stack`, without the lines of source, which it looks for in every file and module of the stack."""
    found: list[inspect.FrameInfo] = []
    frame: FrameType | None = sys._getframe(1)
    while frame:
        code = frame.f_code
        found.append(inspect.FrameInfo(frame, code.co_filename, frame.f_lineno, code.co_name, None, None))
        frame = frame.f_back
    return found


# kfp asks for its caller's name with each setting of a task: half the time that pipeline.py takes.
inspect.stack = callers

# By its name, so that the client is only imported where a test needs it.
DEFAULT_KUBECONFIG = "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION"


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """A real S3 server for the whole test session, with one bucket that all tests share."""
    from botocore.loaders import JSONFileLoader

    # Every session of boto3 reads the same megabytes of JSON: half of what making a client takes.
    read = cache(partial(JSONFileLoader.load_file, JSONFileLoader()))
    JSONFileLoader.load_file = lambda _, path: read(path)

    access_key, secret_key = f"test-{uuid.uuid4().hex[:8]}", uuid.uuid4().hex

    def start() -> S3Server:
        return start_s3_server(tmp_path_factory.mktemp("s3"), access_key, secret_key, bucket="ilab")

    try:
        server = start()
    except TaskFailed:  # a parallel test may take one of its ports before the server does
        server = start()
    try:
        yield S3(server.endpoint, access_key, secret_key, "ilab")
    finally:
        server.stop()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Starts HTTP servers that give these answers, one after the other."""
    servers: list[Server] = []

    def start(*answers: Answer, context: ssl.SSLContext | None = None) -> Server:
        servers.append(Server(list(answers), context))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Points the kubernetes client at a URL, by a kubeconfig with this token and the namespace `lab`."""

    def use(url: str, token: str = "canary-5e1f0c") -> None:
        path = write_kubeconfig(tmp_path / "kubeconfig", url, token)
        monkeypatch.delenv("KUBECONFIG", raising=False)
        monkeypatch.setattr(DEFAULT_KUBECONFIG, str(path))

    return use


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesApi]:
    """The small Kubernetes API, which the stages' client finds; they wait a hundredth of the time."""
    monkeypatch.delenv(CLAIMS_DIR, raising=False)
    server = KubernetesApi()
    server.write_kubeconfig(tmp_path / "kubeconfig")
    short = ShortTime()
    monkeypatch.setattr("utils.cluster.client.Client", partial(Client, clock=short.clock, sleep=short.sleep))
    monkeypatch.setattr(time, "sleep", partial(short_sleep, time.sleep))
    monkeypatch.setattr(DEFAULT_KUBECONFIG, str(tmp_path / "kubeconfig"))
    yield server
    server.stop()
