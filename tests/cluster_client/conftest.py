"""A fake API server, and a client of it whose clock only moves when it sleeps."""

from collections.abc import Iterator

import pytest
from kubernetes import client

from tests.fakes.api_server import ApiServer, Time
from utils.cluster.cluster import Cluster
from utils.names import HASH_LABEL

CANARY = "canary-4711"


@pytest.fixture
def api() -> Iterator[ApiServer]:
    server = ApiServer()
    yield server
    server.stop()


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def told() -> list[str]:
    """What the client says about the API server's health."""
    return []


@pytest.fixture
def cluster(api: ApiServer, time: Time, told: list[str]) -> Cluster:
    """A client of the namespace `lab`; each watch request only brings what has happened."""
    configuration = client.Configuration()
    configuration.host = api.url
    configuration.api_key["authorization"] = "Bearer a-token"
    return Cluster(
        "lab",
        client.ApiClient(configuration),
        account="walker",
        watch_seconds=0,
        log_seconds=2.0,
        clock=time.clock,
        sleep=time.sleep,
        chance=lambda: 0.0,
        notify=told.append,
    )


def job(name: str = "train", hash_: str = "h1", image: str = "a") -> dict:
    spec = {"template": {"spec": {"containers": [{"name": "main", "image": image}]}}}
    return {"kind": "Job", "metadata": {"name": name, "labels": {HASH_LABEL: hash_}}, "spec": spec}


def secret(value: str = CANARY) -> dict:
    return {
        "kind": "Secret",
        "metadata": {"name": "s", "labels": {HASH_LABEL: value[-1]}},
        "stringData": {"key": value},
    }
