"""What a real API server says to training's job and to pods with GPUs in a dry run: the table of wrong values."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.cluster import Cluster
from tests.stages.prerequisites.test_prerequisites import DEFAULTS, GOOD
from utils.cluster.rbac import ROLE, role
from utils.stages.prerequisites.dry_run import check_gpu_pods

GIVEN = DEFAULTS | GOOD
TOLERATION = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}


@pytest.fixture(scope="module")
def place(cluster: Cluster) -> Iterator[str]:
    """A namespace where `restricted` is enforced, with the account of manifests/access."""
    with cluster.namespace(f"dry-run-{uuid.uuid4().hex[:8]}", mounted=False) as name:
        cluster.apply(*role(name))
        yield name


@pytest.fixture(params=["administrator", "account"])
def asked_as(
    cluster: Cluster, place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
) -> str:
    """Who asks: an administrator, who may create pods, or the account of a run, which may create Jobs."""
    view = json.loads(cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    if request.param == "account":
        token = cluster.kubectl("create", "token", ROLE, "-n", place).strip()
        view["users"] = [{"name": "account", "user": {"token": token}}]
        view["contexts"][0]["context"]["user"] = "account"
    view["contexts"][0]["context"]["namespace"] = place
    (tmp_path / "kubeconfig").write_text(json.dumps(view))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "cluster")
    return str(request.param)


@pytest.mark.parametrize("launcher", ["pytorchjob", "trainjob"])
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"train_tolerations": [TOLERATION, {"operator": "Exists"}], "train_node_selectors": {"gpu": "a100", "a": ""}},
        {"train_tolerations": [TOLERATION | {"effect": "NoExecute", "tolerationSeconds": 300}]},
        {"train_num_workers": 1, "train_gpu_per_worker": 0},
    ],
)
def test_what_can_be_created_has_no_finding(
    cluster: Cluster, place: str, asked_as: str, values: dict[str, Any], launcher: str
) -> None:
    assert check_gpu_pods(launcher, "gpus", GIVEN | values) == []
    kinds = "pods,jobs,pytorchjobs,trainjobs,trainingruntimes"
    assert json.loads(cluster.kubectl("get", kinds, "-n", place, "-o", "json"))["items"] == []


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"train_tolerations": [TOLERATION | {"effect": "NoSchedul"}]}, "tolerations[0].effect: Unsupported value"),
        ({"train_tolerations": [TOLERATION | {"operator": "exists"}]}, "tolerations[0].operator: Unsupported value"),
        ({"train_tolerations": [TOLERATION | {"tolerationSeconds": 300}]}, "effect must be 'NoExecute'"),
        ({"train_tolerations": [TOLERATION | {"tolerationSeconds": "300"}]}, "tolerationSeconds"),
        ({"train_tolerations": [TOLERATION | {"unknown": 1}]}, 'tolerations[0].unknown"'),
        ({"train_node_selectors": {"my label": "b"}}, "nodeSelector: Invalid value: "),
        ({"train_node_selectors": {"a": "b c"}}, "nodeSelector: Invalid value: "),
        ({"train_node_selectors": {"a": True}}, "nodeSelector"),
        ({"train_memory_per_worker": "250GB"}, "250GB"),
        ({"train_gpu_identifier": "nvidia.com/gpu/x"}, "nvidia.com/gpu/x"),
    ],
)
def test_what_would_be_refused_when_training_starts_is_a_finding(
    asked_as: str, values: dict[str, Any], told: str
) -> None:
    found = check_gpu_pods("pytorchjob", "", GIVEN | values)
    assert found and any(told in finding.problem for finding in found), found
    assert {finding.level for finding in found} == {"error"}


def test_pod_of_evaluation_is_tried_without_training_in_pods(asked_as: str) -> None:
    (finding,) = check_gpu_pods("process", "", GIVEN | {"eval_gpu_identifier": "nvidia.com/g p"})
    assert finding.problem.startswith("evaluation's pod: ") and "nvidia.com/g p" in finding.problem
