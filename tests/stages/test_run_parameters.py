"""A task finds the values of the pipeline's parameters in its run's Workflow, or is given them by the runner."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes.config import kube_config

from tests.fakes.kubernetes_api import KubernetesApi
from utils.names import PARAMETERS
from utils.stages.run_parameters import FILE, NOTED, note_parameters, noted_parameters, run_parameters

VALUES = {
    "text": "a 'b' \u00e9",
    "number": 2,
    "share": 2e-05,
    "names": ["x"],
    "mapping": {"a": {"b": True}},
    "empty": "",
}


def workflow(runtime_config: dict[str, Any]) -> dict[str, Any]:
    """As the server makes one (backend/src/v2/compiler/argocompiler, dag.go): each DAG has a driver, the root's gets
    the run's parameters, others an empty text by the template's default; executors have no DAG."""
    root = [
        {"name": "component", "value": "{{workflow.parameters.components-root}}"},
        {"name": "runtime-config", "value": json.dumps(runtime_config)},
    ]
    template = {"name": "system-dag-driver", "inputs": {"parameters": [{"name": "runtime-config", "default": ""}]}}
    inner = {"name": "root", "dag": {"tasks": [{"name": "prerequisites-driver", "arguments": {}}, {"name": "x"}]}}
    first = {"name": "root-driver", "template": "system-dag-driver", "arguments": {"parameters": root}}
    entry = {"name": "entrypoint", "dag": {"tasks": [first, {"name": "root", "template": "root"}]}}
    return {"spec": {"templates": [template, inner, entry]}}


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesApi]:
    server = KubernetesApi()
    server.write_kubeconfig(tmp_path / "kubeconfig")
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))
    monkeypatch.delenv(PARAMETERS, raising=False)
    monkeypatch.setenv("ARGO_NODE_ID", "ilab-pipeline-x7k2p-3141592653")
    yield server
    server.stop()


def test_parameters_are_read_from_the_workflow(api: KubernetesApi) -> None:
    api.add("workflows", "ilab-pipeline-x7k2p", **workflow({"parameterValues": VALUES, "failurePolicy": ""}))
    assert run_parameters() == VALUES


def test_parameters_from_the_runner_need_no_workflow(api: KubernetesApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PARAMETERS, json.dumps(VALUES))
    assert run_parameters() == VALUES
    assert api.requests == []


def test_workflow_without_parameters_is_named(api: KubernetesApi) -> None:
    made = workflow({})
    made["spec"]["templates"].pop()
    api.add("workflows", "ilab-pipeline-x7k2p", **made)
    with pytest.raises(SystemExit, match="can't be found in its Workflow ilab-pipeline-x7k2p"):
        run_parameters()


def test_missing_workflow_is_named(api: KubernetesApi) -> None:
    with pytest.raises(SystemExit, match="get workflows.argoproj.io ilab-pipeline-x7k2p"):
        run_parameters()


def test_parameters_on_the_volume_are_written_once(tmp_path: Path) -> None:
    values = dict.fromkeys(NOTED, "a")
    note_parameters(str(tmp_path), values)
    written = (tmp_path / FILE).stat().st_mtime_ns
    note_parameters(str(tmp_path), values)
    assert (tmp_path / FILE).stat().st_mtime_ns == written
    note_parameters(str(tmp_path), values | {NOTED[0]: "b"})
    assert noted_parameters(str(tmp_path)) == values | {NOTED[0]: "b"}
