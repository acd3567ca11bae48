"""The pods that Kubeflow Pipelines builds, checked as far as possible without a cluster."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from kfp import compiler, dsl, kubernetes

from tests.cluster.driver_pods import ACCOUNT, MADE, RUN, SERVERS, Server, as_on_openshift, driver_pods
from utils.files import ROOT
from utils.ir.load import load
from utils.ir.model import Pipeline

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
NEWEST = SERVERS[-1]


@dsl.component(base_image="registry.example/a:1", install_kfp_package=False)
def make(run: str) -> str:
    return run


@dsl.component(base_image="registry.example/a:1", install_kfp_package=False)
def work(text: str = "x") -> None:
    print(text)


@dsl.pipeline(name="small")
def small(
    secret: str = "one-secret",
    gpu: str = "nvidia.com/gpu",
    tolerations: list = [],  # noqa: B006
    nodes: dict = {},  # noqa: B006
) -> None:
    made = make(run=dsl.PIPELINE_JOB_ID_PLACEHOLDER)
    with dsl.ExitHandler(work()):
        task = work(text=gpu)
        task.set_env_variable("HOME", "/tmp").set_accelerator_type(gpu).set_accelerator_limit(2)
        task.set_memory_limit("2Gi").set_cpu_request("500m")
        kubernetes.use_secret_as_volume(task, secret_name=secret, mount_path="/mnt/teacher", optional=True)
        kubernetes.use_secret_as_volume(task, secret_name=secret, mount_path="/mnt/judge", optional=True)
        kubernetes.use_config_map_as_volume(task, config_map_name="a-map", mount_path="/mnt/map")
        kubernetes.use_secret_as_env(task, secret_name="s", secret_key_to_env={"key": "TOKEN"})
        kubernetes.add_toleration_json(task, tolerations)
        kubernetes.add_toleration(task, key="k", operator="Exists", effect="NoSchedule")
        kubernetes.add_node_selector_json(task, nodes)
        kubernetes.add_pod_label(task, "a", "b")
        kubernetes.set_timeout(task, 60)
        kubernetes.set_image_pull_policy(task, "Always")
        kubernetes.set_image_pull_secrets(task, ["pull"])
    after = work()
    kubernetes.mount_pvc(after, pvc_name=made.output, mount_path="/data")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    file = tmp_path_factory.mktemp("pods") / "small.yaml"
    compiler.Compiler().compile(small, str(file))
    return load(file)


def main_of(pod: Mapping[str, Any]) -> dict[str, Any]:
    (main,) = [one for one in pod["spec"]["containers"] if one["name"] == "main"]
    return main


def test_settings_of_a_task_reach_its_pod(package: Pipeline) -> None:
    toleration = {"key": "gpu", "operator": "Exists"}
    given = {"tolerations": [toleration], "nodes": {"zone": "a"}, "gpu": "amd.com/gpu"}
    pods = dict(driver_pods(package, NEWEST, given))
    pod = pods["exit-handler-1/work-2"]
    spec, main = pod["spec"], main_of(pod)
    assert main["resources"] == {"limits": {"amd.com/gpu": "2", "memory": "2Gi"}, "requests": {"cpu": "500m"}}
    assert spec["tolerations"] == [toleration, {"key": "k", "operator": "Exists", "effect": "NoSchedule"}]
    assert spec["nodeSelector"] == {"zone": "a"}
    assert spec["activeDeadlineSeconds"] == 60
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    assert spec["serviceAccountName"] == ACCOUNT
    assert main["imagePullPolicy"] == "Always"
    assert pod["metadata"]["labels"]["a"] == "b"
    assert pod["metadata"]["labels"]["pipeline/runid"] == RUN.id
    assert {"name": "HOME", "value": "/tmp"} in main["env"]
    assert {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "key"}}} in main["env"]
    assert main["command"][:2] == ["/var/run/argo/argoexec", "emissary"]
    assert "/kfp-launcher/launch" in main["command"]
    assert main["args"][0] == "sh"


def test_volume_is_named_after_its_object_and_shared_by_its_mounts(package: Pipeline) -> None:
    pod = dict(driver_pods(package, NEWEST))["exit-handler-1/work-2"]
    volumes = [one for one in pod["spec"]["volumes"] if "emptyDir" not in one]
    assert volumes == [
        {"name": "one-secret", "secret": {"secretName": "one-secret", "optional": True}},
        {"name": "a-map", "configMap": {"name": "a-map", "optional": False}},
    ]
    paths = {one["mountPath"]: one["name"] for one in main_of(pod)["volumeMounts"]}
    assert (paths["/mnt/teacher"], paths["/mnt/judge"], paths["/kfp-launcher"]) == ("one-secret",) * 2 + (
        "kfp-launcher",
    )


def test_claim_created_by_a_task_is_mounted(package: Pipeline) -> None:
    pod = dict(driver_pods(package, NEWEST))["work-3"]
    assert {"name": MADE, "persistentVolumeClaim": {"claimName": MADE}} in pod["spec"]["volumes"]


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.version)
def test_scc_sets_the_user_and_drops_all_capabilities(package: Pipeline, server: Server) -> None:
    for _, pod in driver_pods(package, server):
        spec = as_on_openshift(pod)["spec"]
        assert [one["name"] for one in spec["initContainers"]] == ["init", "kfp-launcher"]
        assert [one["name"] for one in spec["containers"]] == ["wait", "main"]
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for one in (*spec["initContainers"], *spec["containers"]):
            context = one["securityContext"]
            assert (context["allowPrivilegeEscalation"], context["runAsNonRoot"]) == (False, True)
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context["runAsUser"] >= 1000000000


def faults(pod: Mapping[str, Any]) -> Iterator[str]:
    """What an API server would refuse, as far as it shows without one."""
    volumes = [one["name"] for one in pod["spec"]["volumes"]]
    yield from (f"the volume's name {name!r} is not a DNS label" for name in volumes if not LABEL.fullmatch(name))
    yield from (f"two volumes {name}" for name in set(volumes) if volumes.count(name) > 1)
    yield from (f"the volume {one['name']} is of two kinds" for one in pod["spec"]["volumes"] if len(one) != 2)
    for container in (*pod["spec"]["initContainers"], *pod["spec"]["containers"]):
        mounts = container["volumeMounts"]
        paths = [one["mountPath"] for one in mounts]
        yield from (f"{container['name']}: two mounts at {path}" for path in set(paths) if paths.count(path) > 1)
        yield from (f"{container['name']}: no volume {one['name']}" for one in mounts if one["name"] not in volumes)
        yield from (f"{container['name']}: {one} is not a variable" for one in container["env"] if "=" in one["name"])


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.version)
def test_pods_of_our_pipeline_are_valid_as_far_as_can_be_checked_without_a_cluster(server: Server) -> None:
    """Trap 46. tests/cluster/test_driver_pods.py asks a real API server."""
    pods = dict(driver_pods(load(ROOT / "pipeline.yaml"), server))
    assert len(pods) >= 10
    assert {path: found for path, pod in pods.items() if (found := list(faults(pod)))} == {}


@pytest.mark.parametrize("name", ["kube-root-ca.crt", "a" * 64, "", "s3-scratch"])
def test_name_that_makes_a_pod_invalid_is_found(package: Pipeline, name: str) -> None:
    pods = dict(driver_pods(package, NEWEST, {"secret": name}))
    assert list(faults(pods["exit-handler-1/work-2"]))
    assert not list(faults(pods["work"]))
