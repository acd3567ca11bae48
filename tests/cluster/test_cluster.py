"""The test cluster behaves as its tests assume."""

import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster import lifecycle, mounts
from tests.cluster.cluster import Cluster, forward
from tests.cluster.errors import ClusterError
from tests.cluster.node import wait_for
from tests.cluster.pods import claim, pod, pod_spec, service, wait_until_ended
from tests.cluster.settings import GPU, GPUS, NODE, PATIENCE
from tests.images.environments import packages_of
from utils import images

pytestmark = pytest.mark.alone

# A new service takes a moment to be known everywhere.
FETCH = """
import sys, time, urllib.error, urllib.request
deadline = time.monotonic() + float(sys.argv[2])
while True:
    try:
        sys.exit(print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode().strip()))
    except urllib.error.URLError as error:
        if time.monotonic() > deadline:
            sys.exit(f"no answer: {error}")
        time.sleep(0.2)
"""
ASK_API = """
import kubernetes
kubernetes.config.load_incluster_config()
print(kubernetes.client.VersionApi().get_code().git_version)
"""
ALL_REDUCE = """
import torch
torch.distributed.init_process_group("gloo")
total = torch.ones(1)
torch.distributed.all_reduce(total)
print("sum", total.item(), "of", torch.distributed.get_world_size())
torch.distributed.destroy_process_group()
"""


@pytest.fixture(autouse=True)
def ours(cluster: Cluster) -> None:
    """What is tested here is the cluster that this machine makes."""
    if not cluster.owned:
        pytest.skip("ILAB_TEST_KUBECONFIG names another cluster")


def test_node_is_ready_and_every_part_runs(cluster: Cluster) -> None:
    # Tests before this one restart the API server; controllers that lost sight of it start again.
    wait_for("every part of the cluster", lambda: not lifecycle.problems(cluster))


def test_node_advertises_gpus(cluster: Cluster) -> None:
    assert cluster.get("node", NODE)["status"]["allocatable"][GPU] == str(GPUS)


def test_pods_run_python_as_any_user_without_an_image_of_their_own(cluster: Cluster, namespace: str) -> None:
    script = "import os, sys; print(os.getuid(), sys.executable)"
    cluster.apply(pod(namespace, "any-uid", pod_spec("python3", "-c", script)))
    assert wait_until_ended(cluster, namespace, "any-uid") == ("Succeeded", f"{mounts.ANY_UID} {mounts.python()}\n")


def test_container_gets_the_python_of_its_image(cluster: Cluster, namespace: str) -> None:
    """Trap 49: a light task finds the packages of its image, and no torch."""
    assert mounts.of_images(), "run `make notebook`"
    script = "import importlib.util as u, kfp, sys; print(kfp.__version__, u.find_spec('torch'), sys.executable)"
    spec = pod_spec("python3", "-c", script)
    spec["containers"][0]["image"] = images.NOTEBOOK
    cluster.apply(pod(namespace, "light", spec))
    version = packages_of(images.NOTEBOOK)["kfp"]
    said = f"{version} None {mounts.python(images.NOTEBOOK)}\n"
    assert wait_until_ended(cluster, namespace, "light") == ("Succeeded", said)


def test_overlay_gives_pods_the_same_as_admission(cluster: Cluster) -> None:
    patch = yaml.safe_load(cluster.overlay.read_text())
    spec = pod_spec("python3", "-c", "import kubernetes, boto3, yaml, click")
    spec["containers"][0] |= {key: value for key, value in patch["spec"]["containers"][0].items() if key != "name"}
    spec["securityContext"] |= patch["spec"]["securityContext"]
    spec["volumes"] = patch["spec"]["volumes"]
    with cluster.namespace("test-overlay", mounted=False) as name:
        cluster.apply(pod(name, "patched", spec))
        assert wait_until_ended(cluster, name, "patched") == ("Succeeded", "")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"securityContext": {"privileged": True}}, "privileged"),
        ({"securityContext": {}}, "allowPrivilegeEscalation"),
    ],
    ids=["privileged", "no security context"],
)
def test_pods_that_are_not_restricted_are_refused(
    cluster: Cluster, namespace: str, change: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ClusterError, match=f"(?s)violates PodSecurity.*{complaint}"):
        cluster.apply(pod(namespace, "refused", pod_spec("true", **change)))


def test_host_paths_are_refused(cluster: Cluster, namespace: str) -> None:
    spec = pod_spec("true") | {"volumes": [{"name": "host", "hostPath": {"path": "/etc"}}]}
    with pytest.raises(ClusterError, match="violates PodSecurity"):
        cluster.apply(pod(namespace, "refused", spec))


def test_two_pods_share_a_claim_that_is_deleted_with_its_files(cluster: Cluster, namespace: str) -> None:
    cluster.apply(claim(namespace, "shared", cluster.storage_class))
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "shared"}}]
    mount = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    reader = "until test -f /data/word; do sleep 0.2; done; cat /data/word"
    cluster.apply(pod(namespace, "reader", pod_spec("sh", "-c", reader, **mount) | {"volumes": volumes}))
    writer = "echo hello > /data/part && mv /data/part /data/word"
    cluster.apply(pod(namespace, "writer", pod_spec("sh", "-c", writer, **mount) | {"volumes": volumes}))
    assert wait_until_ended(cluster, namespace, "reader") == ("Succeeded", "hello\n")

    directory = cluster.claim_directory(namespace, "shared")
    assert (directory / "word").read_text() == "hello\n"
    cluster.kubectl("delete", "pod/reader", "pod/writer", "pvc/shared", "-n", namespace)
    wait_for("the removal of the claim's files", lambda: not directory.exists())


def test_pods_reach_the_api_server_with_their_service_account(cluster: Cluster, namespace: str) -> None:
    cluster.apply(pod(namespace, "asks-api", pod_spec("python3", "-c", ASK_API)))
    phase, log = wait_until_ended(cluster, namespace, "asks-api")
    assert phase == "Succeeded", log
    assert log.startswith("v1.36.")


@pytest.mark.parametrize("headless", [False, True], ids=["service", "headless service"])
def test_pods_reach_pods_by_a_services_name(cluster: Cluster, namespace: str, headless: bool) -> None:
    name = "server-headless" if headless else "server"
    script = "cd /tmp && echo hello > word && exec python3 -m http.server 8000"
    probe = {"httpGet": {"path": "/word", "port": 8000}, "periodSeconds": 1}
    cluster.apply(pod(namespace, "server", pod_spec("sh", "-c", script, readinessProbe=probe)))
    cluster.apply(service(namespace, "server", 8000, headless))
    cluster.wait("condition=Ready", "pod/server", "-n", namespace)
    fetch = pod_spec("python3", "-c", FETCH, f"http://{name}:8000/word", str(PATIENCE / 2))
    cluster.apply(pod(namespace, f"client-of-{name}", fetch))
    phase, log = wait_until_ended(cluster, namespace, f"client-of-{name}")
    assert phase == "Succeeded", log
    assert log.endswith("hello\n")


@pytest.fixture
def host_server(tmp_path: Path) -> Iterator[int]:
    """The port of an HTTP server on this machine's loopback."""
    (tmp_path / "word").write_text("hello")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_pods_reach_servers_on_this_machine(cluster: Cluster, namespace: str, host_server: int) -> None:
    with forward(host_server) as address:
        cluster.apply(pod(namespace, "asks-host", pod_spec("python3", "-c", FETCH, f"http://{address}/word", "30")))
        assert wait_until_ended(cluster, namespace, "asks-host") == ("Succeeded", "hello\n")


def test_gpu_requests_are_scheduled(cluster: Cluster, namespace: str) -> None:
    limits = {"limits": {GPU: str(GPUS)}}
    cluster.apply(pod(namespace, "with-gpus", pod_spec("true", resources=limits)))
    assert wait_until_ended(cluster, namespace, "with-gpus")[0] == "Succeeded"


def test_requests_beyond_capacity_stay_pending(cluster: Cluster, namespace: str) -> None:
    limits = {"limits": {GPU: str(GPUS + 1)}}
    cluster.apply(pod(namespace, "too-many", pod_spec("true", resources=limits)))
    cluster.wait("condition=PodScheduled=false", "pod/too-many", "-n", namespace)
    status = cluster.get("pod", "too-many", "-n", namespace)["status"]
    assert status["phase"] == "Pending"
    assert f"Insufficient {GPU}" in status["conditions"][0]["message"]


def pytorch_job(namespace: str, name: str, *command: str) -> dict[str, Any]:
    spec = pod_spec(*command)
    # The operator knows the container by this name.
    spec["containers"][0]["name"] = "pytorch"
    replica = {"replicas": 1, "restartPolicy": "Never", "template": {"spec": spec}}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"nprocPerNode": "1", "pytorchReplicaSpecs": {"Master": replica, "Worker": replica}},
    }


def test_pytorch_job_of_two_pods_reduces_with_gloo(cluster: Cluster, namespace: str) -> None:
    if "ilab-stages" not in mounts.directories():
        pytest.skip("needs torch: run `make stages`")
    command = ("python3", "-m", "torch.distributed.run", "--no-python", "python3", "-c", ALL_REDUCE)
    cluster.apply(pytorch_job(namespace, "reduce", *command))
    for role in ("master", "worker"):
        wait_for(f"the {role}", partial(exists, cluster, namespace, f"reduce-{role}-0"))
        phase, log = wait_until_ended(cluster, namespace, f"reduce-{role}-0")
        assert phase == "Succeeded", log
        assert "sum 2.0 of 2" in log
    cluster.wait("condition=Succeeded", "pytorchjob/reduce", "-n", namespace)


def exists(cluster: Cluster, namespace: str, name: str) -> bool:
    return bool(cluster.get("pods", "-n", namespace, "--field-selector", f"metadata.name={name}")["items"])


def test_operator_refuses_an_invalid_pytorchjob(cluster: Cluster, namespace: str) -> None:
    job = pytorch_job(namespace, "nonsense", "true")
    job["spec"]["pytorchReplicaSpecs"]["Master"] = job["spec"]["pytorchReplicaSpecs"]["Master"] | {"replicas": 2}
    with pytest.raises(ClusterError, match="admission webhook"):
        cluster.apply(job)


def test_cluster_survives_a_restart_of_its_api_server(cluster: Cluster, namespace: str) -> None:
    cluster.restart_apiserver()
    cluster.apply(pod(namespace, "after-restart", pod_spec("true")))
    assert wait_until_ended(cluster, namespace, "after-restart")[0] == "Succeeded"
    assert lifecycle.problems(cluster) == []


def test_image_that_cannot_be_pulled_is_reported_soon(cluster: Cluster, namespace: str) -> None:
    spec = pod_spec("true", image="registry.invalid/no-such:1")
    cluster.apply(pod(namespace, "no-image", spec))

    def reason() -> str:
        for status in cluster.get("pod", "no-image", "-n", namespace)["status"].get("containerStatuses", []):
            return str(status["state"].get("waiting", {}).get("reason", ""))
        return ""

    wait_for("the reason", lambda: reason() in ("ErrImagePull", "ImagePullBackOff"))


def test_pods_stay_pending_while_the_kubelet_is_stopped(cluster: Cluster, namespace: str) -> None:
    cluster.stop_kubelet()
    try:
        cluster.apply(pod(namespace, "waits", pod_spec("true")))
        cluster.wait("condition=PodScheduled", "pod/waits", "-n", namespace)
        assert cluster.get("pod", "waits", "-n", namespace)["status"]["phase"] == "Pending"
    finally:
        cluster.start_kubelet()
    assert wait_until_ended(cluster, namespace, "waits")[0] == "Succeeded"
    assert cluster.get("node", NODE)["status"]["allocatable"][GPU] == str(GPUS)
