"""Up, down and status of the test cluster."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import yaml

from tests.cluster import mounts, trainer, training_operator
from tests.cluster.certificates import write_certificates
from tests.cluster.cluster import EXTERNAL, EXTERNAL_OVERLAY, Cluster, the_cluster
from tests.cluster.components import write_configuration
from tests.cluster.errors import ClusterError
from tests.cluster.image import image_archive, import_image
from tests.cluster.node import request, start_node, stop_node, wait_for
from tests.cluster.packages import install_packages
from tests.cluster.programs import TRAINER, build_tools
from tests.cluster.settings import CACHE, CONFIG, LOGS, NODE, PROVISIONER, STORAGE_CLASS

FIRST = ("etcd", "containerd", "apiserver")
REST = ("controller-manager", "scheduler", "kubelet", "proxy", "dns", "provisioner")
_DEPLOYMENTS = {
    training_operator.NAMESPACE: [training_operator.DEPLOYMENT],
    trainer.NAMESPACE: list(trainer.DEPLOYMENTS),
}
NOT_RUNNING = ["it does not run: make cluster"]


def up() -> Cluster:
    """Start the cluster unless it runs; the first time this installs packages and builds for about 10 minutes.

    Raises:
        ClusterError: a part of it can't be had or does not come up.
    """
    cluster = the_cluster()
    CACHE.mkdir(parents=True, exist_ok=True)
    if not cluster.owned:
        _check_external(cluster)
        if EXTERNAL_OVERLAY not in os.environ:
            # Images are pulled there, and hold what they need.
            cluster.overlay.write_text("{}\n")
        return cluster
    if os.geteuid():
        raise ClusterError(
            "the cluster can't be started",
            "it needs root for namespaces, mounts and cgroups",
            f"start it as root, or name a cluster in {EXTERNAL}",
        )
    with _lock():
        found = problems(cluster)
        if not found:
            _write_overlay(cluster)
            return cluster
        if found != NOT_RUNNING:
            print("the cluster is started anew: " + "; ".join(found), flush=True)
        stop_node()
        install_packages()
        build_tools()
        archive = image_archive()
        began = time.monotonic()
        write_certificates(CONFIG)
        write_configuration()
        start_node()
        for component in FIRST:
            request("start", component)
        wait_for("containerd", lambda: _imported(archive))
        cluster.wait_until_ready()
        for component in REST:
            request("start", component)
        _set_up(cluster)
        _write_overlay(cluster)
        if found := problems(cluster):
            raise ClusterError("the cluster did not come up whole", "; ".join(found), "make cluster-down cluster")
        print(f"the cluster is up after {time.monotonic() - began:.0f} s", flush=True)
    return cluster


def down() -> None:
    """End the cluster that runs on this machine, and remove all but the cached programs."""
    with _lock():
        stop_node()


def is_up() -> bool:
    """Whether the cluster runs, well or not; one that is not ours always does."""
    return not the_cluster().owned or bool(request("list"))


def problems(cluster: Cluster) -> list[str]:
    """What keeps the cluster from being healthy; empty when it is."""
    if not cluster.owned:
        _check_external(cluster)
        return []
    state = request("list")
    if not state:
        return NOT_RUNNING
    found = [f"{name} does not run, see {LOGS / name}.log" for name in FIRST + REST if name not in state["running"]]
    if not trainer.FOLDER.exists():
        found.append(f"its Kubeflow Trainer is not {TRAINER}")
    if "apiserver" in state["running"]:
        try:
            wait = ("wait", "--timeout=10s")
            cluster.kubectl(*wait, "--for=condition=Ready", f"node/{NODE}")
            for namespace, names in _DEPLOYMENTS.items():
                words = [f"deployment/{name}" for name in names]
                cluster.kubectl(*wait, "--for=condition=Available", *words, "-n", namespace)
        except ClusterError as error:
            found.append(str(error))
    return found


def _set_up(cluster: Cluster) -> None:
    """Everything in the API of a cluster whose parts were just started."""
    training_operator.write_manifests()
    cluster.apply(_storage_class(), *mounts.policy())
    cluster.kubectl("apply", "--server-side", "-k", str(training_operator.FOLDER))
    cluster.wait("create", f"node/{NODE}")
    cluster.wait("condition=Ready", f"node/{NODE}")
    cluster.advertise_gpus()
    deployment = f"deployment/{training_operator.DEPLOYMENT}"
    cluster.wait("condition=Available", deployment, "-n", training_operator.NAMESPACE)
    trainer.install(cluster)


def _write_overlay(cluster: Cluster) -> None:
    """Anew each time: the environments, and how pods get them, may be others than at the first `up`."""
    cluster.apply(*mounts.policy())
    cluster.overlay.write_text(yaml.safe_dump(mounts.overlay(), sort_keys=False))


def _storage_class() -> dict[str, object]:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": STORAGE_CLASS},
        "provisioner": PROVISIONER,
        "volumeBindingMode": "Immediate",
        "reclaimPolicy": "Delete",
    }


def _imported(archive: Path) -> bool:
    """Whether containerd took the image; it refuses while it starts."""
    with suppress(ClusterError):
        import_image(archive)
        return True
    return False


def _check_external(cluster: Cluster) -> None:
    """What tests need of a cluster that is not ours."""
    cluster.kubectl("get", "--raw", "/readyz", timeout=15)
    remedy = f"install it there, or unset {EXTERNAL}"
    for kind, name in (("crd", "pytorchjobs.kubeflow.org"), ("storageclass", cluster.storage_class)):
        try:
            cluster.kubectl("get", kind, name)
        except ClusterError as error:
            raise ClusterError(f"the cluster of {EXTERNAL} has no {kind} {name}", error.cause, remedy) from error


@contextmanager
def _lock() -> Iterator[None]:
    """One `up` or `down` at a time on this machine."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "cluster.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
