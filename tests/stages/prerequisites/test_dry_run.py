"""Training's job and the pods with GPUs are tried in a dry run before anything is paid for."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes.config import kube_config

from tests.fakes.kubernetes_api import KubernetesApi
from tests.stages.prerequisites.test_prerequisites import DEFAULTS, GOOD
from utils.cluster import client
from utils.names import POD_OVERLAY
from utils.stages.prerequisites.dry_run import check_gpu_pods

TOLERATIONS = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
GIVEN = DEFAULTS | GOOD | {"train_tolerations": TOLERATIONS, "train_node_selectors": {"gpu": "a100"}}


def status(code: int, message: str) -> tuple[int, Any]:
    return code, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesApi]:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "cluster")
    monkeypatch.setattr(client, "DENIED_SECONDS", 0)
    api = KubernetesApi()
    api.write_kubeconfig(tmp_path / "kubeconfig")
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))
    yield api
    api.stop()


def test_job_and_pods_are_those_of_the_run_and_nothing_is_created(
    api: KubernetesApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(POD_OVERLAY, '{"metadata": {"labels": {"team": "a"}}, "spec": {"priorityClassName": "high"}}')
    assert check_gpu_pods("pytorchjob", "gpus", GIVEN) == []
    job, training, evaluation = api.tried
    assert [one["apiVersion"] for one in api.tried] == ["kubeflow.org/v1", "v1", "v1"]
    replicas = job["spec"]["pytorchReplicaSpecs"]
    assert [(role, one["replicas"]) for role, one in replicas.items()] == [("Master", 1), ("Worker", 1)]
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    amounts = {"cpu": "2", "memory": "250Gi", "nvidia.com/gpu": "2"}
    assert training["spec"]["containers"][0]["resources"]["limits"] == amounts
    # As Kubeflow Pipelines makes it: a quota may want more of a pod.
    assert evaluation["spec"]["containers"][0]["resources"] == {"limits": {"nvidia.com/gpu": "1"}}
    for spec in (replicas["Master"]["template"]["spec"], training["spec"], evaluation["spec"]):
        assert (spec["tolerations"], spec["nodeSelector"]) == (TOLERATIONS, {"gpu": "a100"})
        assert spec["priorityClassName"] == "high"
    assert not any(api.objects.values())


def test_trainjob_is_tried_with_its_runtime(api: KubernetesApi) -> None:
    """Kubeflow Trainer's webhook (2.0 to 2.3) looks for the runtime, which is not there after a dry run."""
    webhook = (
        'admission webhook "validator.trainjob.trainer.kubeflow.org" denied the request: spec.runtimeRef: Invalid '
    )
    webhook += "value: not found: specified trainingRuntime must be created before the TrainJob is created"
    api.refusals["TrainJob"] = status(403, webhook)
    assert check_gpu_pods("trainjob", "gpus", GIVEN) == []
    assert [one["kind"] for one in api.tried] == ["TrainingRuntime", "TrainJob", "Pod", "Pod"]
    runtime, job, *_ = api.tried
    assert job["spec"]["runtimeRef"]["name"] == job["metadata"]["name"] == runtime["metadata"]["name"]
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    api.refusals["TrainJob"] = status(400, 'strict decoding error: unknown field "spec.x"')
    (finding,) = check_gpu_pods("trainjob", "", GIVEN)
    assert finding.problem == 'training\'s TrainJob: strict decoding error: unknown field "spec.x"'


def test_without_training_pods_only_evaluation_is_tried(api: KubernetesApi) -> None:
    assert check_gpu_pods("process", "", GIVEN) == []
    assert [one["kind"] for one in api.tried] == ["Pod"]


def test_nothing_is_tried_outside_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert check_gpu_pods("pytorchjob", "", GIVEN) == []


@pytest.mark.parametrize(
    "message",
    [
        'Pod "x" is invalid: spec.tolerations[0].effect: Unsupported value: "NoSchedul"',
        'Pod "x" is invalid: spec.nodeSelector: Invalid value: "my label": name part must consist of alphanumeric',
        'pods "x" is forbidden: violates PodSecurity "restricted:latest": host namespaces',
        'pods "x" is forbidden: failed quota: compute: must specify limits.cpu,limits.memory',
        'admission webhook "pods.example.com" denied the request: label "cost-centre" is missing',
    ],
)
def test_what_the_server_says_is_one_finding_for_training_and_evaluation(api: KubernetesApi, message: str) -> None:
    api.refusals["Pod"] = status(403 if "forbidden" in message else 422, message)
    (finding,) = check_gpu_pods("pytorchjob", "", GIVEN)
    assert finding.problem.startswith("training's pod: ") and message.split("x", 1)[1] in finding.problem
    assert finding.level == "error" and "train_tolerations" in finding.remedy


def test_refused_pytorchjob_is_a_finding(api: KubernetesApi) -> None:
    message = (
        'PyTorchJob in version "v1" cannot be handled as a PyTorchJob: strict decoding error: unknown field "spec.x"'
    )
    api.refusals["PyTorchJob"] = status(400, message)
    (finding,) = check_gpu_pods("pytorchjob", "", GIVEN)
    assert finding.problem == f"training's PyTorchJob: {message}"


def test_full_quota_is_a_warning(api: KubernetesApi) -> None:
    """It may have room when training starts."""
    api.refusals["Pod"] = status(
        403, 'pods "x" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=2'
    )
    assert {finding.level for finding in check_gpu_pods("pytorchjob", "", GIVEN)} == {"warning"}


def test_account_that_may_create_jobs_but_no_pods_tries_a_job_of_the_pod(api: KubernetesApi) -> None:
    """On plain Kubernetes the run's Role has no right to create pods."""
    rbac = 'pods is forbidden: User "system:serviceaccount:lab:ilab" cannot create resource "pods" in API group ""'
    api.refusals["Pod"] = status(403, rbac)
    assert check_gpu_pods("process", "", GIVEN) == []
    pod, job = api.tried
    assert job["kind"] == "Job" and job["spec"]["template"]["spec"]["tolerations"] == TOLERATIONS
    api.refusals["Job"] = status(422, 'Job "x" is invalid: spec.template.spec.nodeSelector: Invalid value: "a b"')
    (finding,) = check_gpu_pods("process", "", GIVEN)
    assert "evaluation's pod: Job" in finding.problem
    api.refusals["Job"] = status(403, rbac.replace("pods", "jobs"))
    assert check_gpu_pods("process", "", GIVEN) == []


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (400, 'admission webhook "a.example.com" does not support dry run'),
        (404, "the server could not find the requested resource"),
        (507, "etcd is full"),
    ],
)
def test_what_cannot_be_tried_is_said_and_no_finding(
    api: KubernetesApi, capsys: pytest.CaptureFixture[str], code: int, message: str
) -> None:
    api.refusals["Pod"] = status(code, message)
    assert check_gpu_pods("process", "", GIVEN) == []
    assert "Pod: not tried in a dry run: " in capsys.readouterr().out
