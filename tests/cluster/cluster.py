"""The cluster as tests use it."""

import json
import os
import shutil
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.cluster import mounts
from tests.cluster.commands import run
from tests.cluster.errors import ClusterError, NotOursError
from tests.cluster.node import request, wait_for
from tests.cluster.programs import KUBERNETES, program
from tests.cluster.settings import (
    CACHE,
    CLAIMS,
    GPU,
    GPUS,
    HOST_ADDRESS,
    KUBECONFIG,
    NODE,
    OVERLAY,
    PATIENCE,
    STORAGE_CLASS,
)

EXTERNAL = "ILAB_TEST_KUBECONFIG"
EXTERNAL_CLASS = "ILAB_TEST_STORAGE_CLASS"
EXTERNAL_OVERLAY = "ILAB_TEST_POD_OVERLAY"
EXTERNAL_HOST = "ILAB_TEST_HOST_ADDRESS"
WAITING = f"--timeout={PATIENCE:.0f}s"
RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}


@dataclass(frozen=True)
class Cluster:
    """A cluster for tests.

    Attributes:
        kubeconfig: of a cluster administrator.
        kubectl_path: a kubectl of the cluster's version.
        overlay: YAML file, a patch for each pod that brings in Python and its libraries (`--pod-overlay`).
        storage_class: name of a ReadWriteMany class.
        owned: it was started here, so its parts can be stopped; False for the one named in ILAB_TEST_KUBECONFIG.
    """

    kubeconfig: Path
    kubectl_path: Path
    overlay: Path
    storage_class: str
    owned: bool

    def kubectl(self, *words: str, text_in: str | None = None, timeout: float = PATIENCE + 60) -> str:
        """Standard output of kubectl; raises ClusterError with what it said when it fails."""
        return run([self.kubectl_path, "--kubeconfig", self.kubeconfig, *words], text_in=text_in, timeout=timeout)

    def get(self, *words: str) -> dict[str, Any]:
        """What `kubectl get … -o json` says."""
        found: dict[str, Any] = json.loads(self.kubectl("get", *words, "-o", "json"))
        return found

    def wait(self, condition: str, *words: str) -> None:
        """What `kubectl wait --for=CONDITION …` waits for."""
        self.kubectl("wait", f"--for={condition}", *words, WAITING)

    def apply(self, *objects: dict[str, Any]) -> None:
        """Apply objects on the server's side."""
        text = yaml.safe_dump_all(objects)
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", text_in=text)

    def make_namespace(self, name: str, mounted: bool = True) -> None:
        """Make a namespace where `restricted` is enforced; `mounted`: its pods get Python by admission as well."""
        labels = dict(RESTRICTED)
        if self.owned and mounted:
            labels[mounts.MOUNTS_LABEL] = "true"
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        self.apply(namespace, *(mounts.namespace_objects(name) if self.owned else []))
        for what in ("serviceaccount/default", "configmap/kube-root-ca.crt"):
            self.wait("create", what, "-n", name)

    def delete_namespace(self, name: str) -> None:
        """Delete a namespace with all that is in it, and wait until it is gone."""
        self.kubectl("delete", "namespace", name, "--ignore-not-found", WAITING)
        if self.owned:
            self.kubectl("delete", "persistentvolume", "-l", f"{mounts.MOUNTS_LABEL}={name}", WAITING)

    @contextmanager
    def namespace(self, name: str, mounted: bool = True) -> Iterator[str]:
        """A namespace for a while, see make_namespace."""
        self.make_namespace(name, mounted)
        try:
            yield name
        finally:
            self.delete_namespace(name)

    def claim_directory(self, namespace: str, claim: str) -> Path:
        """Where this machine sees the files of a bound claim of the ReadWriteMany class."""
        self.must_be_owned("the files of a claim")
        return CLAIMS / self.get("pvc", claim, "-n", namespace)["metadata"]["uid"]

    def stop(self, component: str) -> None:
        """Stop a part of the cluster, by the name it has in `python -m tests.cluster status`."""
        self.must_be_owned(f"stopping {component}")
        request("stop", component)

    def kill(self, component: str) -> None:
        """End a part of the cluster by SIGKILL."""
        self.must_be_owned(f"killing {component}")
        request("kill", component)

    def start(self, component: str) -> None:
        """Start a part of the cluster that was stopped or killed."""
        self.must_be_owned(f"starting {component}")
        request("start", component)

    def restart_apiserver(self) -> None:
        """Stop the API server and start it again; back when it is ready."""
        self.stop("apiserver")
        self.start("apiserver")
        self.wait_until_ready()

    def stop_kubelet(self) -> None:
        """Stop the kubelet; containers continue, pods are no longer managed."""
        self.stop("kubelet")

    def start_kubelet(self) -> None:
        """Start the kubelet again; back when the node is ready and advertises its GPUs."""
        self.start("kubelet")
        self.wait("condition=Ready", f"node/{NODE}")
        self.advertise_gpus()

    def wait_until_ready(self) -> None:
        """Wait for the API server to call itself ready."""

        def ready() -> bool:
            with suppress(ClusterError):
                return self.kubectl("get", "--raw", "/readyz", timeout=5) == "ok"
            return False

        wait_for("the API server", ready)

    def advertise_gpus(self) -> None:
        """Have the node say that it has GPUs; a kubelet that starts may forget them."""
        gpus = {GPU: str(GPUS)}
        patch = json.dumps({"status": {"capacity": gpus, "allocatable": gpus}})
        self.kubectl("patch", "node", NODE, "--subresource=status", "--type=merge", "-p", patch)

    def must_be_owned(self, what: str) -> None:
        """Raise NotOursError where the cluster is not ours, which skips the test."""
        if not self.owned:
            raise NotOursError(f"not possible: {what}", f"the cluster of {EXTERNAL} is not ours", f"unset {EXTERNAL}")


def the_cluster() -> Cluster:
    """The cluster named in ILAB_TEST_KUBECONFIG, else the one on this machine; whether it runs is not looked at."""
    if given := os.environ.get(EXTERNAL):
        storage_class = os.environ.get(EXTERNAL_CLASS, STORAGE_CLASS)
        kubectl = Path(shutil.which("kubectl") or "kubectl")
        overlay = Path(os.environ.get(EXTERNAL_OVERLAY, CACHE / "empty-overlay.yaml"))
        return Cluster(Path(given), kubectl, overlay, storage_class, owned=False)
    return Cluster(KUBECONFIG, program(KUBERNETES, "kubectl"), OVERLAY, STORAGE_CLASS, owned=True)


def host_address() -> str:
    """The address of this machine as pods see it. Of our own cluster only its pods and this machine reach it.

    Raises:
        NotOursError: the cluster is another, and ILAB_TEST_HOST_ADDRESS does not give the address.
    """
    if EXTERNAL not in os.environ:
        return HOST_ADDRESS
    if address := os.environ.get(EXTERNAL_HOST):
        return address
    raise NotOursError(
        "pods do not reach the servers of this machine",
        f"{EXTERNAL_HOST} does not say under which address",
        f"set {EXTERNAL_HOST} to this machine's address as pods see it, such as the gateway of kind's network",
    )


@contextmanager
def forward(port: int) -> Iterator[str]:
    """Let pods reach a server that listens on this machine's loopback; yields host:port for them."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)) as server:
                threading.Thread(target=_pump, args=(server, self.request), daemon=True).start()
                _pump(self.request, server)

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    address = host_address()
    with Server((address, port), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"{address}:{port}"
        finally:
            server.shutdown()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
