"""Kubernetes settings of a task: names resolved, in the forms of kfp-kubernetes and of older files."""

from pathlib import Path
from typing import Any, Optional

import pytest
from kfp import dsl, kubernetes
from kfp.kubernetes import kubernetes_executor_config_pb2

from tests.ir import parts
from tests.ir.memory_runner import compiled, walk
from utils.ir.model import Container, EnvFrom, Mount, TaskState
from utils.ir.platform import FIELDS, pod_settings, unknown_fields
from utils.ir.sources import MISSING

# Terms of an affinity: passed on as they are.
SELECTORS = ("matchExpressions", "matchFields", "matchPodExpressions", "matchNamespaceExpressions")


@dsl.pipeline
def everything(
    claim: str = "my-claim",
    secret: str = "my-secret",
    config: str = "my-config",
    tolerations: list = [{"key": "a", "operator": "Exists", "tolerationSeconds": 30}],  # noqa: B006
    selector: dict = {"disk": "fast"},  # noqa: B006
    cpus: str = "2",
    image: str = "registry/image:1",
) -> None:
    made = parts.say(text="made-claim")
    task = parts.cleanup()
    task.set_container_image(image)
    task.set_cpu_request(cpus).set_memory_limit("2Gi").set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(2)
    task.set_env_variable("MODE", "fast")
    kubernetes.mount_pvc(task, pvc_name=claim, mount_path="/data")
    kubernetes.mount_pvc(task, pvc_name="fixed", mount_path="/fixed", sub_path="part")
    kubernetes.mount_pvc(task, pvc_name=made.output, mount_path="/made")
    kubernetes.use_secret_as_volume(task, secret_name=secret, mount_path="/mnt/secret", optional=True)
    kubernetes.use_secret_as_volume(task, secret_name="fixed-secret", mount_path="/mnt/fixed")
    kubernetes.use_secret_as_env(task, secret_name=secret, secret_key_to_env={"key": "KEY", "other": "OTHER"})
    kubernetes.use_config_map_as_volume(task, config_map_name=config, mount_path="/mnt/ca", optional=True)
    kubernetes.use_config_map_as_env(task, config_map_name="fixed-map", config_map_key_to_env={"k": "K"})
    kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit="1Gi")
    kubernetes.add_ephemeral_volume(task, "scratch", "/scratch", ["ReadWriteOnce"], "3Gi", storage_class_name="fast")
    kubernetes.add_toleration_json(task, tolerations)
    kubernetes.add_toleration(task, key="b", operator="Equal", value="v", effect="NoSchedule", toleration_seconds=5)
    kubernetes.add_node_selector_json(task, selector)
    kubernetes.add_pod_label(task, "team", "x")
    kubernetes.add_pod_annotation(task, "note", "y")
    kubernetes.set_image_pull_secrets(task, ["puller"])
    kubernetes.set_image_pull_policy(task, "Always")
    kubernetes.use_field_path_as_env(task, "POD", "metadata.name")
    kubernetes.set_timeout(task, 20)
    kubernetes.set_security_context(task, run_as_user=1000, run_as_non_root=True)


def test_every_setting_is_resolved(tmp_path: Path) -> None:
    task = walk(everything, tmp_path).runner.task("cleanup")
    ephemeral = {
        "size": "3Gi",
        "access_modes": ["ReadWriteOnce"],
        "storage_class": "fast",
        "labels": {},
        "annotations": {},
    }
    assert task.mounts == (
        Mount("claim", "my-claim", "/data"),
        Mount("claim", "fixed", "/fixed", "part"),
        Mount("claim", "made-claim", "/made"),
        Mount("secret", "my-secret", "/mnt/secret", optional=True),
        Mount("secret", "fixed-secret", "/mnt/fixed"),
        Mount("config_map", "my-config", "/mnt/ca", optional=True),
        Mount("empty_dir", "shm", "/dev/shm", options={"medium": "Memory", "size_limit": "1Gi"}),
        Mount("ephemeral", "scratch", "/scratch", options=ephemeral),
    )
    assert task.env_from == (
        EnvFrom("secret", "my-secret", "key", "KEY"),
        EnvFrom("secret", "my-secret", "other", "OTHER"),
        EnvFrom("config_map", "fixed-map", "k", "K"),
    )
    assert task.env == {"MODE": "fast"}
    assert task.image == "registry/image:1"
    assert task.timeout_seconds == 20
    assert task.kubernetes == {
        "node_selector": {"disk": "fast"},
        "tolerations": [
            {"key": "a", "operator": "Exists", "tolerationSeconds": 30},
            {"key": "b", "operator": "Equal", "value": "v", "effect": "NoSchedule", "tolerationSeconds": 5},
        ],
        "labels": {"team": "x"},
        "annotations": {"note": "y"},
        "image_pull_secrets": ["puller"],
        "image_pull_policy": "Always",
        "field_env": {"POD": "metadata.name"},
        "security_context": {"runAsUser": 1000, "runAsNonRoot": True},
        "resources": {
            "cpu_request": "2",
            "memory_limit": "2Gi",
            "accelerator_type": "nvidia.com/gpu",
            "accelerator_count": "2",
        },
    }


def test_parameters_override_names(tmp_path: Path) -> None:
    task = walk(everything, tmp_path, {"claim": "other", "tolerations": [], "selector": {}}).runner.task("cleanup")
    assert task.mounts[0].name == "other"
    assert [one["key"] for one in task.kubernetes["tolerations"]] == ["b"]
    assert "node_selector" not in task.kubernetes


def test_an_empty_name_fails_the_task_and_says_where(tmp_path: Path) -> None:
    walked = walk(everything, tmp_path, {"secret": ""})
    assert walked.state is TaskState.FAILED
    assert walked.result.error.endswith("the name of the secret mounted at /mnt/secret is empty")


def test_an_optional_name_left_out_means_no_mount(tmp_path: Path) -> None:
    """A server skips a mount whose name is an optional parameter without value."""

    @dsl.pipeline
    def maybe(secret: Optional[str] = None) -> None:  # noqa: UP045 - the one form that kfp reads
        task = parts.cleanup()
        kubernetes.use_secret_as_volume(task, secret_name=secret, mount_path="/s")

    assert walk(maybe, tmp_path).runner.task("cleanup").mounts == ()


def test_mounts_in_loops_and_nested_dags_see_their_own_inputs(tmp_path: Path) -> None:
    @dsl.pipeline
    def looped(claim: str = "c") -> None:
        with dsl.ParallelFor([1, 2]), dsl.If(claim == "c"):
            kubernetes.mount_pvc(parts.cleanup(), pvc_name=claim, mount_path="/data")

    walked = walk(looped, tmp_path)
    assert [task.mounts for task in walked.runner.tasks] == [(Mount("claim", "c", "/data"),)] * 2


def ephemeral(**more: Any) -> dict[str, Any]:
    """The options of a mount of this kind."""
    options = {"size": "3Gi", "access_modes": ["ReadWriteOnce"], "storage_class": "", "labels": {}, "annotations": {}}
    return options | more


SCRATCH = {"volumeName": "s", "mountPath": "/s", "accessModes": ["ReadWriteOnce"], "size": "3Gi"}
GIVEN, TERMS, LEFT_OUT = ({"componentInputParameter": name} for name in ("name", "terms", "absent"))
FAST_DISK = {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["fast"]}]}


@pytest.mark.parametrize(
    ("spec", "mount"),
    [
        ({"pvcMount": [{"constant": "c", "mountPath": "/d"}]}, Mount("claim", "c", "/d")),
        ({"pvcMount": [{"componentInputParameter": "name", "mountPath": "/d"}]}, Mount("claim", "given", "/d")),
        ({"secretAsVolume": [{"secretName": "s", "mountPath": "/d"}]}, Mount("secret", "s", "/d")),
        ({"configMapAsVolume": [{"configMapName": "m", "mountPath": "/d"}]}, Mount("config_map", "m", "/d")),
        (
            {"enabledSharedMemory": {"size": "2Gi"}},
            Mount("empty_dir", "shm", "/dev/shm", options={"medium": "Memory", "size_limit": "2Gi"}),
        ),
        (
            {"enabledSharedMemory": {"volumeName": "mine"}},
            Mount("empty_dir", "mine", "/dev/shm", options={"medium": "Memory", "size_limit": ""}),
        ),
        (
            {"genericEphemeralVolume": [SCRATCH | {"metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}}]},
            Mount("ephemeral", "s", "/s", options=ephemeral(labels={"a": "b"}, annotations={"c": "d"})),
        ),
        (
            {"genericEphemeralVolume": [SCRATCH | {"defaultStorageClass": True, "storageClassName": "x"}]},
            Mount("ephemeral", "s", "/s", options=ephemeral(storage_class=None)),
        ),
        (
            {"genericEphemeralVolume": [{"volumeName": "s", "mountPath": "/s"}]},
            Mount("ephemeral", "s", "/s", options=ephemeral(size="", access_modes=[])),
        ),
    ],
)
def test_mounts_of_every_form_are_read(spec: dict, mount: Mount) -> None:
    settings = pod_settings(Container("image", platform=spec), lambda source: {"name": "given"}[source.name], {})
    assert settings.mounts == (mount,)


@pytest.mark.parametrize(
    ("spec", "settings"),
    [
        ({"imagePullSecret": [{"secretNameParameter": GIVEN}]}, {"image_pull_secrets": ["given"]}),
        ({"imagePullSecret": [{"secretNameParameter": LEFT_OUT}, {"secretName": "s"}]}, {"image_pull_secrets": ["s"]}),
        ({"nodeAffinity": [FAST_DISK | {"weight": 5.0}]}, {"node_affinity": [FAST_DISK | {"weight": 5}]}),
        ({"nodeAffinity": [{"nodeAffinityJson": TERMS}]}, {"node_affinity": [FAST_DISK]}),
        ({"nodeAffinity": [{"nodeAffinityJson": LEFT_OUT}]}, {}),
        (
            {"podAffinity": [{"topologyKey": "zone", "weight": 1.0}]},
            {"pod_affinity": [{"topologyKey": "zone", "weight": 1}]},
        ),
        ({"nodeSelector": {"labels": {"disk": "fast"}}}, {"node_selector": {"disk": "fast"}}),
        (
            {"tolerations": [{"key": "a", "tolerationSeconds": "30"}, {}]},
            {"tolerations": [{"key": "a", "tolerationSeconds": 30}]},
        ),
        ({"tolerations": [{"tolerationJson": LEFT_OUT}]}, {}),
        (
            {"securityContext": {"runAsUser": "1000", "runAsGroup": 7.0}},
            {"security_context": {"runAsUser": 1000, "runAsGroup": 7}},
        ),
    ],
)
def test_settings_of_a_pod_are_read_as_constants_and_by_parameter(spec: dict, settings: dict) -> None:
    values = {"name": "given", "terms": FAST_DISK, "absent": MISSING}
    found = pod_settings(Container("image", platform=spec), lambda source: values[source.name], {})
    assert found.kubernetes == settings


def test_tolerations_that_are_not_structs_are_refused() -> None:
    container = Container("image", platform={"tolerations": [{"tolerationJson": TERMS}]})
    with pytest.raises(ValueError, match="tolerations must be a struct or a list of structs, not"):
        pod_settings(container, lambda source: ["a"], {})


def test_resources_of_older_files_are_read() -> None:
    container = Container("i", resources={"cpuLimit": 0.5, "memoryRequest": 2.147483648, "accelerator": {"count": "1"}})
    settings = pod_settings(container, lambda source: MISSING, {})
    assert settings.kubernetes["resources"] == {
        "cpu_limit": "0.5",
        "memory_request": "2.147483648G",
        "accelerator_count": "1",
    }


def test_requirements_are_separated_from_the_command(tmp_path: Path) -> None:
    @dsl.component(
        base_image="python:3.11",
        packages_to_install=["requests==2.0", "x>1"],
        pip_index_urls=["https://index/simple", "https://more/simple"],
        pip_trusted_hosts=["index"],
    )
    def asks() -> None:
        pass

    @dsl.component(base_image="python:3.11")
    def asks_for_nothing() -> None:
        pass

    @dsl.pipeline
    def both() -> None:
        asks()
        asks_for_nothing()

    components = compiled(both, tmp_path).components
    first, second = components["comp-asks"].container, components["comp-asks-for-nothing"].container
    assert first and second
    assert first.packages == ("requests==2.0", "x>1")
    assert second.packages == ()
    for container in (first, second):
        assert container.lightweight
        assert container.preamble[:2] == ("sh", "-c")
        assert container.command[:2] == ("sh", "-ec")
        assert not any("pip install" in part for part in container.command)


def fields_of(message: Any) -> dict[str, Any]:
    """The fields of a message and of those in it, as the compiled file names them; not of KFP's own messages."""
    found: dict[str, Any] = {}
    for field in message.fields:
        inner = field.message_type
        found[field.json_name] = None
        if inner and inner.file.name == message.file.name and not inner.GetOptions().map_entry:
            found[field.json_name] = tuple(part.json_name for part in inner.fields)
            found |= {f"{field.json_name}.{key}": value for key, value in fields_of(inner).items() if value}
    return found


def test_every_field_of_the_newest_protos_is_known() -> None:
    newest = fields_of(kubernetes_executor_config_pb2.KubernetesExecutorConfig.DESCRIPTOR)
    listed = {path: fields for path, fields in newest.items() if not path.endswith(SELECTORS)}
    assert {path: set(fields or ()) for path, fields in FIELDS.items()} == {
        path: set(fields or ()) for path, fields in listed.items()
    }


@pytest.mark.parametrize(
    ("spec", "unknown"),
    [
        ({"pvcMount": [{"constant": "c", "mountPath": "/d"}], "activeDeadlineSeconds": "5"}, []),
        ({"initContainers": [{"name": "x"}]}, ["initContainers"]),
        ({"pvcMount": [{"constant": "c", "mountPath": "/d"}, {"readOnly": True}]}, ["pvcMount.readOnly"]),
        ({"secretAsEnv": [{"keyToEnv": [{"secretKey": "a", "envVar": "A", "x": 1}]}]}, ["secretAsEnv.keyToEnv.x"]),
        ({"securityContext": {"runAsUser": "1", "privileged": True}}, ["securityContext.privileged"]),
        ({"genericEphemeralVolume": [{"metadata": {"name": "x"}}]}, ["genericEphemeralVolume.metadata.name"]),
    ],
)
def test_unknown_fields_are_found_wherever_they_are(spec: dict[str, Any], unknown: list[str]) -> None:
    assert unknown_fields(spec) == unknown
