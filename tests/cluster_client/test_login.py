"""A login that is renewed while a command runs."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.api_server import ApiServer
from utils.cluster import client
from utils.cluster.cluster import Cluster
from utils.cluster.connection import connect
from utils.cluster.kinds import JOB
from utils.cluster.objects import list_objects


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(client, "ACCOUNT", tmp_path / "no-account")
    return tmp_path / "kubeconfig"


def log_in(kubeconfig: Path, url: str, token: str, **changes: Any) -> None:
    """Write a kubeconfig as `oc login` does; another context of it belongs to another cluster."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [
            {"name": "s", "cluster": {"server": url}},
            {"name": "other", "cluster": {"server": "https://other.example:6443"}},
        ],
        "users": [{"name": "u", "user": {"token": token}}, {"name": "v", "user": {"token": "of-another-cluster"}}],
        "contexts": [
            {"name": "here", "context": {"cluster": "s", "user": "u", "namespace": "lab"}},
            {"name": "there", "context": {"cluster": "other", "user": "v"}},
        ],
    }
    kubeconfig.write_text(json.dumps(config | changes))


def sent(api: ApiServer, cluster: Cluster) -> str:
    """The token that comes with a request."""
    list_objects(cluster, JOB)
    return api.requests[-1].headers["authorization"].removeprefix("Bearer ")


def test_renewed_login_is_used_by_the_next_request(api: ApiServer, kubeconfig: Path) -> None:
    log_in(kubeconfig, api.url, "first")
    cluster = connect(kubeconfig=str(kubeconfig))
    assert [sent(api, cluster), sent(api, cluster)] == ["first", "first"]
    for token in ("second-one", "third"):
        log_in(kubeconfig, api.url, token)
        assert [sent(api, cluster), sent(api, cluster)] == [token, token]


def test_login_to_another_cluster_changes_nothing(api: ApiServer, kubeconfig: Path) -> None:
    log_in(kubeconfig, api.url, "first")
    cluster = connect(kubeconfig=str(kubeconfig))
    log_in(kubeconfig, api.url, "second-one", **{"current-context": "there"})
    assert sent(api, cluster) == "second-one"
    log_in(kubeconfig, "https://moved.example:6443", "not-for-this-server")
    assert sent(api, cluster) == "second-one"


@pytest.mark.parametrize("text", ["", "{", "apiVersion: v1\n", None])
def test_kubeconfig_that_can_not_be_read_for_a_moment_keeps_the_login(
    api: ApiServer, kubeconfig: Path, text: str | None
) -> None:
    log_in(kubeconfig, api.url, "first")
    cluster = connect(kubeconfig=str(kubeconfig))
    kubeconfig.unlink() if text is None else kubeconfig.write_text(text)
    assert sent(api, cluster) == "first"
    log_in(kubeconfig, api.url, "second-one")
    assert sent(api, cluster) == "second-one"
