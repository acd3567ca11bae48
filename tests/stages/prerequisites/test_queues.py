"""The queue of a run is looked up before anything waits in it."""

from pathlib import Path

import pytest
from kubernetes.config import kube_config

from tests.fakes.kubernetes_api import KubernetesApi
from utils.stages.prerequisites.queues import check_queue


@pytest.mark.parametrize(
    ("groups", "queues", "forbidden", "level", "problem"),
    [
        ({}, [], False, "error", "the cluster has no queues (kueue.x-k8s.io)"),
        ({"kueue.x-k8s.io": "v1beta1"}, ["others"], False, "error", "there is no LocalQueue 'gpus' in lab"),
        (
            {"kueue.x-k8s.io": "v1beta1"},
            [],
            True,
            "warning",
            "can't get localqueues.kueue.x-k8s.io gpus in lab (403)",
        ),
        ({"kueue.x-k8s.io": "v1beta2"}, ["gpus"], False, "", ""),
    ],
)
def test_missing_queue_is_found_before_the_run_waits_for_it(
    groups: dict[str, str], queues: list[str], forbidden: bool, level: str, problem: str,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    api = KubernetesApi()
    api.write_kubeconfig(tmp_path / "kubeconfig")
    api.groups |= groups
    api.forbidden |= {"localqueues"} if forbidden else set()
    for name in queues:
        api.add("localqueues", name)
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "cluster")
    try:
        found = check_queue("gpus", "")
        assert check_queue("", "") == []
        assert [(one.level, problem in one.problem) for one in found] == [(level, True)] * bool(level)
        monkeypatch.setenv("KFP_POD_NAME", "ilab-1")
        (warning,) = check_queue("gpus", "")[len(found) :]
        assert warning.level == "warning" and "carry no label of a queue" in warning.problem
        assert "ilab-pipeline compile --queue gpus" in warning.remedy
        assert check_queue("gpus", "gpus") == found
    finally:
        api.stop()
