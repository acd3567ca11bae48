"""Which cluster, as whom, in which namespace; and what is said when there is none."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from kubernetes.config import incluster_config

from utils.cluster import client as module
from utils.cluster.connection import connect, token_account
from utils.errors import PrerequisiteError

TOKEN = "sha256~canary-token"


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No pod and no proxy around us."""
    for name in ("KUBECONFIG", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(module, "ACCOUNT", tmp_path / "no-account")


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    def context(name: str, namespace: str) -> dict[str, Any]:
        place = {"cluster": "s", "user": "u"} | ({"namespace": namespace} if namespace else {})
        return {"name": name, "context": place}

    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "s", "cluster": {"server": "https://cluster.example:6443"}}],
        "users": [{"name": "u", "user": {"token": TOKEN}}],
        "contexts": [context("here", "lab"), context("there", "other"), context("bare", "")],
    }
    path = tmp_path / "config"
    path.write_text(json.dumps(config))
    return path


@pytest.mark.parametrize(
    ("namespace", "context", "expected"),
    [("", "", "lab"), ("mine", "", "mine"), ("", "there", "other"), ("", "bare", "default")],
)
def test_namespace_is_the_one_given_or_that_of_the_context(
    kubeconfig: Path, namespace: str, context: str, expected: str
) -> None:
    cluster = connect(namespace, str(kubeconfig), context)
    assert (cluster.namespace, cluster.account) == (expected, "")
    assert cluster.user == (context or "here")
    assert cluster.address == "https://cluster.example:6443"


def test_environment_names_the_kubeconfig(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    assert connect().namespace == "lab"


def test_settings_reach_the_cluster(kubeconfig: Path) -> None:
    assert connect(kubeconfig=str(kubeconfig), patience=7.0).patience == 7.0


def test_proxy_from_the_environment_is_used_unless_excluded(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    assert connect(kubeconfig=str(kubeconfig)).api.configuration.proxy == "http://proxy.example:3128"
    monkeypatch.setenv("NO_PROXY", "cluster.example")
    assert connect(kubeconfig=str(kubeconfig)).api.configuration.proxy is None


@pytest.mark.parametrize("content", [None, "", f"users: [{{token: {TOKEN}", f"- {TOKEN}", f'{{"users": "{TOKEN}"}}'])
def test_unusable_kubeconfig_is_named_with_a_remedy_but_without_its_content(
    tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "broken"
    if content is not None:
        path.write_text(content)
    with pytest.raises(PrerequisiteError) as caught:
        connect(kubeconfig=str(path))
    assert str(path) in caught.value.render()
    assert caught.value.remedy
    assert TOKEN not in caught.value.render()


def test_unknown_context_is_named(kubeconfig: Path) -> None:
    with pytest.raises(PrerequisiteError, match="nowhere"):
        connect(kubeconfig=str(kubeconfig), context="nowhere")


def token(subject: str) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"sub": subject}).encode()).decode().rstrip("=")
    return f"header.{claims}.signature\n"


@pytest.mark.parametrize(
    ("text", "account"),
    [
        (token("system:serviceaccount:lab:walker"), "walker"),
        (token("someone@example.com"), ""),
        ("opaque", ""),
        ("a.!.c", ""),
    ],
)
def test_account_is_read_from_the_pods_token(text: str, account: str) -> None:
    assert token_account(text) == account


def test_pod_uses_its_own_account_and_namespace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "account"
    folder.mkdir()
    files = {"token": token("system:serviceaccount:lab:walker"), "namespace": "lab\n", "ca.crt": "a certificate\n"}
    for name, text in files.items():
        (folder / name).write_text(text)
    monkeypatch.setattr(module, "ACCOUNT", folder)
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(folder / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(folder / "ca.crt"))
    with pytest.raises(PrerequisiteError, match="service account can't be used"):
        connect()
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    cluster = connect()
    assert (cluster.namespace, cluster.account, cluster.user) == ("lab", "walker", "in-cluster")
