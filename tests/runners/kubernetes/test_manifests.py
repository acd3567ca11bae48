"""The Job of a task."""

import re
from dataclasses import replace
from typing import Any

import pytest

from utils.errors import TaskFailed
from utils.ir.model import Artifact, EnvFrom, Mount, RunIds, Task
from utils.names import (
    API_LABEL,
    HASH_LABEL,
    POD_OVERLAY,
    QUEUE_LABEL,
    RUN_LABEL,
    RUN_OWNER,
    SHM_LABEL,
    SIDECAR_LABEL,
    TASK_LABEL,
)
from utils.runners.kubernetes.affinity import affinity
from utils.runners.kubernetes.follow import outputs_of
from utils.runners.kubernetes.manifests import (
    PodSettings,
    claim_manifest,
    job_manifest,
    job_name,
    task_command,
    task_root,
    task_slug,
)

OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "ilab-r1", "uid": "u1"}
SETTINGS = PodSettings("r1", "lab", OWNER, "runner")
TASK = Task(
    id="exit-handler-1/train",
    name="train",
    component="comp-train",
    image="quay.io/x@sha256:1",
    command=("sh", "-ec", "python3 -m kfp.dsl.executor_main"),
    args=("--executor_input", "{{$}}"),
)
DNS = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def job(settings: PodSettings = SETTINGS, **changes: Any) -> dict[str, Any]:
    return job_manifest(replace(TASK, **changes), ["run", "it"], settings)


def pod(settings: PodSettings = SETTINGS, **changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = job(settings, **changes)["spec"]["template"]["spec"]
    return found


def container(settings: PodSettings = SETTINGS, **changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = pod(settings, **changes)["containers"][0]
    return found


def env(settings: PodSettings = SETTINGS, **changes: Any) -> dict[str, Any]:
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container(settings, **changes)["env"]}


def test_a_pod_meets_the_restricted_pod_security_standard() -> None:
    spec = pod()
    assert spec["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    security = spec["containers"][0]["securityContext"]
    assert security == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert "runAsUser" not in str(spec)


def test_executor_is_asked_to_stop_before_its_pod_is_killed() -> None:
    """A shell, the first process of its container, hands no SIGTERM on."""
    assert container()["lifecycle"]["preStop"]["exec"]["command"]
    assert "lifecycle" not in container(command=("cp",), args=())


def test_pod_runs_once_and_is_replaced_only_after_a_disruption() -> None:
    spec = job()["spec"]
    assert (spec["backoffLimit"], spec["template"]["spec"]["restartPolicy"]) == (0, "Never")
    assert spec["podReplacementPolicy"] == "Failed"
    rule = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    assert spec["podFailurePolicy"] == {"rules": [rule]}


def test_all_objects_belong_to_the_run() -> None:
    made = job()
    assert made["metadata"]["ownerReferences"] == [OWNER]
    assert made["metadata"]["namespace"] == "lab"
    run = {RUN_LABEL: "r1", TASK_LABEL: "exit-handler-1.train"}
    assert run.items() <= made["metadata"]["labels"].items()
    assert run.items() <= made["spec"]["template"]["metadata"]["labels"].items()
    claim = claim_manifest("c", "1Gi", ["ReadWriteMany"], "", SETTINGS)
    assert claim["metadata"]["ownerReferences"] == [OWNER]
    assert "storageClassName" not in claim["spec"]


def test_service_account_token_is_mounted_only_in_pods_that_use_the_api() -> None:
    asking = {"labels": {API_LABEL: "true"}}
    assert pod()["automountServiceAccountToken"] is False
    assert pod(kubernetes=asking)["automountServiceAccountToken"] is True
    assert pod()["serviceAccountName"] == "runner"
    assert "serviceAccountName" not in pod(replace(SETTINGS, service_account=""))
    assert not any(name.startswith("ILAB_") for name in env())
    overlaid = replace(SETTINGS, overlay={"spec": {"priorityClassName": "low"}})
    given = env(overlaid, kubernetes=asking)
    assert given[RUN_OWNER] == '[{"apiVersion": "v1", "kind": "ConfigMap", "name": "ilab-r1", "uid": "u1"}]'
    assert given[POD_OVERLAY] == '{"spec": {"priorityClassName": "low"}}'


def test_environment_variables_with_values_keys_and_fields() -> None:
    sources = (EnvFrom("secret", "s", "token", "TOKEN", optional=True), EnvFrom("config_map", "c", "url", "URL"))
    found = env(env={"HOME": "/elsewhere", "A": "$(B)"}, env_from=sources, kubernetes={"field_env": {"IP": "podIP"}})
    assert found["HOME"] == "/elsewhere"
    assert found["HF_HOME"].startswith("/tmp")
    assert found["A"] == "$$(B)"
    assert found["TOKEN"] == {"secretKeyRef": {"name": "s", "key": "token", "optional": True}}
    assert found["URL"] == {"configMapKeyRef": {"name": "c", "key": "url"}}
    assert found["IP"] == {"fieldRef": {"fieldPath": "podIP"}}


@pytest.mark.parametrize(
    ("mount", "volume", "where"),
    [
        (
            Mount("claim", "c", "/data", sub_path="x"),
            {"persistentVolumeClaim": {"claimName": "c"}},
            {"mountPath": "/data", "subPath": "x"},
        ),
        (
            Mount("secret", "s", "/s", optional=True),
            {"secret": {"secretName": "s", "optional": True}},
            {"mountPath": "/s", "readOnly": True},
        ),
        (Mount("config_map", "m", "/m"), {"configMap": {"name": "m"}}, {"mountPath": "/m", "readOnly": True}),
        (
            Mount("empty_dir", "e", "/e", options={"medium": "Memory", "size_limit": "1Gi"}),
            {"emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
            {"mountPath": "/e"},
        ),
        (
            Mount("ephemeral", "p", "/p", options={"size": "2Gi", "access_modes": ["RWO"], "labels": {"a": "b"}}),
            {
                "ephemeral": {
                    "volumeClaimTemplate": {
                        "metadata": {"labels": {"a": "b"}},
                        "spec": {"accessModes": ["RWO"], "resources": {"requests": {"storage": "2Gi"}}},
                    }
                }
            },
            {"mountPath": "/p"},
        ),
        (
            Mount("ephemeral", "p", "/p", options={"size": "2Gi", "access_modes": ["RWO"], "storage_class": "fast"}),
            {
                "ephemeral": {
                    "volumeClaimTemplate": {
                        "spec": {
                            "accessModes": ["RWO"],
                            "resources": {"requests": {"storage": "2Gi"}},
                            "storageClassName": "fast",
                        }
                    }
                }
            },
            {"mountPath": "/p"},
        ),
    ],
)
def test_each_mount_gets_its_volume(mount: Mount, volume: dict[str, Any], where: dict[str, Any]) -> None:
    spec = pod(mounts=(mount,))
    (made,), (mounted,) = spec["volumes"], spec["containers"][0]["volumeMounts"]
    assert {key: value for key, value in made.items() if key != "name"} == volume
    assert {key: value for key, value in mounted.items() if key != "name"} == where
    assert made["name"] == mounted["name"] and DNS.fullmatch(made["name"])


def test_volume_names_are_valid_whatever_the_names_of_their_objects() -> None:
    """Trap 46: Kubeflow Pipelines names a volume after its object, and no volume's name may hold a dot."""
    names = ("kube-root-ca.crt", "a." * 120 + "a", "a" * 70)
    spec = pod(mounts=tuple(Mount("config_map", name, f"/m{n}") for n, name in enumerate(names)))
    assert [volume["configMap"]["name"] for volume in spec["volumes"]] == [*names]
    assert all(re.fullmatch("[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", volume["name"]) for volume in spec["volumes"])


def test_a_claim_mounted_twice_is_one_volume() -> None:
    spec = pod(mounts=(Mount("claim", "c", "/a"), Mount("claim", "c", "/b"), Mount("secret", "c", "/c")))
    assert [len(spec["volumes"]), len(spec["containers"][0]["volumeMounts"])] == [2, 3]


def test_resources_accelerator_and_shared_memory() -> None:
    wanted = {"cpu_request": "1", "memory_limit": "2Gi", "accelerator_type": "nvidia.com/gpu", "accelerator_count": "2"}
    spec = pod(kubernetes={"resources": wanted})
    made = spec["containers"][0]["resources"]
    assert made == {
        "requests": {"cpu": "1", "nvidia.com/gpu": "2"},
        "limits": {"memory": "2Gi", "nvidia.com/gpu": "2"},
    }
    assert spec["volumes"] == [{"name": "empty-dir-0", "emptyDir": {"medium": "Memory"}}]
    assert spec["containers"][0]["volumeMounts"][0]["mountPath"] == "/dev/shm"
    own = (Mount("empty_dir", "mine", "/dev/shm", options={"medium": "Memory", "size_limit": "8Gi"}),)
    assert len(pod(kubernetes={"resources": wanted}, mounts=own)["volumes"]) == 1
    assert "volumes" not in pod()
    assert "resources" not in container()
    assert pod(kubernetes={"labels": {SHM_LABEL: "true"}})["volumes"]


def test_remaining_platform_settings_reach_the_pod() -> None:
    given = {
        "node_selector": {"gpu": "a100"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "image_pull_secrets": ["pull"],
        "image_pull_policy": "Always",
        "labels": {"team": "x"},
        "annotations": {"note": "y"},
        "security_context": {"runAsUser": 1000},
        "node_affinity": [{"matchExpressions": [{"key": "z", "operator": "Exists"}]}],
    }
    template = job(kubernetes=given)["spec"]["template"]
    spec, metadata = template["spec"], template["metadata"]
    assert spec["nodeSelector"] == {"gpu": "a100"}
    assert spec["tolerations"] == given["tolerations"]
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    assert spec["containers"][0]["imagePullPolicy"] == "Always"
    assert spec["containers"][0]["securityContext"]["runAsUser"] == 1000
    assert metadata["labels"]["team"] == "x" and metadata["annotations"]["note"] == "y"
    assert metadata["labels"][SIDECAR_LABEL] == "false"
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    assert spec["affinity"]["nodeAffinity"] == {required: {"nodeSelectorTerms": given["node_affinity"]}}


def test_affinity_in_the_form_of_kubernetes_is_taken_as_it_is() -> None:
    terms = {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": [1]}]},
        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": {}}],
    }
    assert affinity([terms], []) == {"nodeAffinity": terms}


def test_affinity_terms_with_a_weight_are_preferences() -> None:
    labels = {"matchPodLabels": {"app": "x"}, "topologyKey": "zone"}
    found = affinity([{"weight": 3, "matchExpressions": [1]}], [labels, {**labels, "anti": True, "weight": 5}])
    term = {"labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": "zone"}
    preferred = "preferredDuringSchedulingIgnoredDuringExecution"
    assert found == {
        "nodeAffinity": {preferred: [{"weight": 3, "preference": {"matchExpressions": [1]}}]},
        "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]},
        "podAntiAffinity": {preferred: [{"weight": 5, "podAffinityTerm": term}]},
    }
    assert affinity([], []) == {}


def test_overlay_reaches_every_pod_and_its_labels_also_the_job() -> None:
    overlay = {
        "metadata": {"labels": {QUEUE_LABEL: "q", RUN_LABEL: "forged"}},
        "spec": {"containers": [{"name": "*", "env": [{"name": "HTTPS_PROXY", "value": "p"}]}], "hostNetwork": False},
    }
    made = job(replace(SETTINGS, overlay=overlay))
    template = made["spec"]["template"]
    assert {"name": "HTTPS_PROXY", "value": "p"} in template["spec"]["containers"][0]["env"]
    for labels in (made["metadata"]["labels"], template["metadata"]["labels"]):
        assert labels[QUEUE_LABEL] == "q"
        assert labels[RUN_LABEL] == "r1"


@pytest.mark.parametrize(
    ("run_id", "task_id"),
    [
        ("r1", "train"),
        ("x" * 57, "exit-handler-1/a-very-long-name-of-a-task-that-goes-on-and-on"),
        ("ilab-20261122-175906-abcd", "for-loop-2/13/print-op"),
        ("a-" * 20 + "b", "task-" * 30),
    ],
)
def test_names_are_dns_labels_even_with_a_pods_suffix(run_id: str, task_id: str) -> None:
    name = job_name(run_id, task_id, "0123456789abcdef")
    assert DNS.fullmatch(name) and len(name) <= 57 and name.endswith("-01234567")
    assert len(task_slug(task_id)) <= 63


def test_task_ids_that_look_alike_do_not_collide() -> None:
    ids = ["a/b", "a-b", "b", "for-1/0/b", "for-1/1/b", "x" * 70 + "1", "x" * 70 + "2"]
    assert len({task_slug(one) for one in ids}) == len(ids)
    made = {job(id=one)["metadata"]["name"] for one in ids}
    assert len(made) == len(ids)


@pytest.mark.parametrize(
    "change",
    [
        {"image": "other"},
        {"env": {"A": "1"}},
        {"mounts": (Mount("claim", "c", "/data"),)},
        {"kubernetes": {"node_selector": {"a": "b"}}},
        {"id": "exit-handler-1/other"},
    ],
)
def test_different_configuration_has_a_different_hash_and_name(change: dict[str, Any]) -> None:
    one, other = job()["metadata"], job(**change)["metadata"]
    assert one == job()["metadata"]
    assert one["labels"][HASH_LABEL] != other["labels"][HASH_LABEL]
    assert one["name"] != other["name"]


@pytest.mark.parametrize("change", [{"attempt": 2}, {"timeout_seconds": 60.0}])
def test_attempt_and_deadline_are_not_part_of_the_hash(change: dict[str, Any]) -> None:
    assert job()["metadata"]["name"] == job(**change)["metadata"]["name"]


def test_job_whose_runner_is_gone_ends_after_all_deadlines() -> None:
    assert job(timeout_seconds=100.0)["spec"]["activeDeadlineSeconds"] == 100 + 3600 + 600
    assert "activeDeadlineSeconds" not in job()["spec"]
    gpus = {"labels": {QUEUE_LABEL: "q"}, "resources": {"accelerator_type": "nvidia.com/gpu", "accelerator_count": "1"}}
    queued = job(timeout_seconds=100.0, kubernetes=gpus)
    assert queued["spec"]["activeDeadlineSeconds"] == 100 + 86400 + 3600 + 600, "a gated pod counts from its creation"


@pytest.mark.parametrize("text", ["$(HOME)", "$$", "$$(A)", "a$", "$0 $@", "$$$(", "100$ $(x) $$$$"])
def test_kubelet_passes_the_command_unchanged(text: str) -> None:
    made = job_manifest(TASK, ["echo", text], SETTINGS)["spec"]["template"]["spec"]["containers"][0]["command"][1]
    assert _expanded(made) == text


def _expanded(text: str) -> str:
    """What the kubelet makes of an element of a command: $(NAME) is a variable's value, $$ one $."""
    return re.sub(r"\$(\$|\(\w*\))", lambda match: "$" if match[1] == "$" else "a variable's value", text)


def test_outputs_go_to_the_termination_message_and_artifacts_to_the_volume() -> None:
    task = replace(TASK, output_artifacts={"m": "system.Model"}, mounts=(Mount("claim", "c", "/data/"),))
    assert task_root(task) == "/data/.artifacts/exit-handler-1.train"
    assert task_root(TASK) == "/tmp/artifacts/exit-handler-1.train"
    command = task_command(task, RunIds("r1", "r1"))
    assert command[:3] == list(TASK.command)
    assert '"outputFile": "/dev/termination-log"' in command[-1]
    assert '"uri": "/data/.artifacts/exit-handler-1.train/m"' in command[-1]


def test_the_one_output_of_a_container_component_is_the_termination_message() -> None:
    task = replace(
        TASK,
        command=("cp", "a", "{{$.outputs.parameters['x'].output_file}}"),
        args=(),
        output_parameters={"x": "NUMBER_INTEGER"},
    )
    assert task_command(task, RunIds("r1", "r1"))[-1] == "/dev/termination-log"
    assert outputs_of(task, "42").parameters == {"x": 42}


def test_packages_are_installed_as_the_pipeline_says() -> None:
    task = replace(TASK, preamble=("sh", "-c", "pip install x"))
    assert task_command(task, RunIds("r1", "r1"))[:3] == ["sh", "-c", "pip install x"]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ('{"parameterValues": {"n": 3.0, "other": 1}}', {"n": 3}),
        ("{}", {}),
        ("", {}),
    ],
)
def test_outputs_are_read_from_the_termination_message(message: str, expected: dict[str, Any]) -> None:
    task = replace(TASK, output_parameters={"n": "NUMBER_INTEGER"}, output_artifacts={"m": "system.Metrics"})
    outputs = outputs_of(task, message)
    assert outputs.parameters == expected
    uri = "/tmp/artifacts/exit-handler-1.train/m"
    assert outputs.artifacts == {"m": [Artifact("m", "system.Metrics", uri)]}


@pytest.mark.parametrize(
    ("message", "text"), [("{" + "x" * 4095, "longer than the 4096"), ("{torn", "no valid executor_output")]
)
def test_truncated_or_damaged_message_is_an_error(message: str, text: str) -> None:
    with pytest.raises(TaskFailed, match=text):
        outputs_of(TASK, message)
