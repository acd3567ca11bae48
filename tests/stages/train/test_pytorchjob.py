"""The manifest of a training's PyTorchJob."""

import json

import pytest

from tests.stages.train.pytorchjobs import manifest
from utils.names import INPUTS_LABEL, QUEUE_LABEL, RUN_LABEL, SIDECAR_LABEL
from utils.stages.train.pods import job_name

COMMAND = ["python3", "/data/phase_1/grace.py", "torchrun"]


def test_manifest_has_roles_resources_and_deadlines() -> None:
    made = manifest()
    assert made["metadata"]["labels"][RUN_LABEL] == "run-1"
    assert made["spec"]["nprocPerNode"] == "4"
    assert made["spec"]["runPolicy"] == {
        "cleanPodPolicy": "Running",
        "activeDeadlineSeconds": 10800,
        "ttlSecondsAfterFinished": 86400,
    }
    replicas = made["spec"]["pytorchReplicaSpecs"]
    assert {role: r["replicas"] for role, r in replicas.items()} == {"Master": 1, "Worker": 1}
    assert replicas["Master"]["template"] == replicas["Worker"]["template"]
    assert replicas["Master"]["restartPolicy"] == "Never"
    template = replicas["Master"]["template"]
    assert template["metadata"]["annotations"] == {SIDECAR_LABEL: "false"}
    assert template["metadata"]["labels"][RUN_LABEL] == "run-1"
    pod, (container,) = template["spec"], template["spec"]["containers"]
    assert container["name"] == "pytorch"  # the operator looks for this name
    assert container["command"] == [*COMMAND, "--nnodes=2", "--node_rank=$(RANK)", "-m", "main"]
    assert pod["terminationGracePeriodSeconds"] == 300 and pod["shareProcessNamespace"] is True
    amounts = {"cpu": "2", "memory": "250Gi", "nvidia.com/gpu": "4"}
    assert container["resources"] == {"requests": amounts, "limits": amounts}
    assert pod["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    assert pod["nodeSelector"] == {"zone": "a"}
    json.dumps(made)


def test_pods_are_admitted_under_the_restricted_standard_and_have_shared_memory() -> None:  # trap 23
    pod = manifest()["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]
    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert pod["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"name": "shm", "mountPath": "/dev/shm"} in pod["containers"][0]["volumeMounts"]
    assert {"name": "shm", "emptyDir": {"medium": "Memory"}} in pod["volumes"]
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "ilab-run-1"}} in pod["volumes"]
    assert pod["automountServiceAccountToken"] is False


def test_overlay_reaches_every_training_pod_and_changes_the_hash() -> None:
    overlay = {
        "metadata": {"labels": {QUEUE_LABEL: "gpus"}},
        "spec": {
            "imagePullSecrets": [{"name": "pull"}],
            "containers": [{"name": "*", "env": [{"name": "A", "value": "1"}]}],
        },
    }
    made = manifest(overlay)
    for replica in made["spec"]["pytorchReplicaSpecs"].values():
        template, (container,) = replica["template"], replica["template"]["spec"]["containers"]
        assert template["metadata"]["labels"][QUEUE_LABEL] == "gpus"
        assert template["metadata"]["labels"][RUN_LABEL] == "run-1"
        assert template["spec"]["imagePullSecrets"] == [{"name": "pull"}]
        assert {"name": "A", "value": "1"} in container["env"]
        assert container["name"] == "pytorch"
    key = INPUTS_LABEL
    assert made["metadata"]["labels"][key] != manifest()["metadata"]["labels"][key]
    assert made["metadata"]["labels"][QUEUE_LABEL] == "gpus", "a queue admits the job by its own label"


def test_queue_label_is_set_only_for_a_named_queue() -> None:
    label = QUEUE_LABEL
    assert manifest(queue="gpus")["metadata"]["labels"][label] == "gpus"
    assert label not in str(manifest())
    both = manifest({"metadata": {"labels": {label: "of-the-overlay"}}}, queue="gpus")
    assert both["metadata"]["labels"][label] == "gpus"


def test_one_cpu_pod_needs_no_worker_and_no_gpu() -> None:
    made = manifest(num_workers=1, gpu_per_worker=0)
    assert list(made["spec"]["pytorchReplicaSpecs"]) == ["Master"]
    assert made["spec"]["nprocPerNode"] == "1"
    container = made["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"][0]
    assert set(container["resources"]["limits"]) == {"cpu", "memory"}


@pytest.mark.parametrize(
    "change", [{"image": "other"}, {"gpu_per_worker": 2}, {"timeout": "1s"}, {"algorithm": "lora"}]
)
def test_hash_label_distinguishes_jobs(change: dict) -> None:
    key = INPUTS_LABEL
    assert manifest(**change)["metadata"]["labels"][key] != manifest()["metadata"]["labels"][key]
    assert manifest()["metadata"]["labels"][key] == manifest()["metadata"]["labels"][key]


@pytest.mark.parametrize("run_id", ["7f1c2d3e-0000-4000-8000-00000000000d", "ilab-sdg", "a-g-s-d"])
def test_job_name_holds_the_whole_run_id(run_id: str) -> None:  # trap 26
    assert job_name("train-phase-2-", run_id) == f"train-phase-2-{run_id}"


def test_names_of_long_run_ids_stay_short_and_different() -> None:
    names = {
        job_name("train-phase-1-", "ilab-with-a-very-long-name-20250101-120000-" + end) for end in ("aaaa", "bbbb")
    }
    assert len(names) == 2
    assert all(len(name + "-worker-10") <= 63 for name in names)
