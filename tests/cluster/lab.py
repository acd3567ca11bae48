"""A namespace in which small pipelines run as the Role of manifests/ lets them, through a proxy that can fail."""

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.cluster import Cluster
from tests.cluster.errors import ClusterError
from tests.cluster.node import wait_for
from tests.cluster.proxy import ApiProxy
from tests.cluster.runs import Run, start
from tests.cluster.scenario import ROOT, settle, workbench, write_overlay

ACCOUNT = "ilab-pipeline"


@dataclass
class Lab:
    """Where small pipelines run, and what they run as.

    Attributes:
        namespace: with the account and the Role of manifests/workbench.
        packages: folder with the compiled pipelines.
        overlay: file for `--pod-overlay`.
        proxy: before the API server; runs go through it, as the account.
        rules: the Role's.
    """

    cluster: Cluster
    namespace: str
    folder: Path
    packages: Path
    overlay: Path
    proxy: ApiProxy
    token: str = field(repr=False)
    rules: list[dict[str, Any]]
    runs: list[Run] = field(default_factory=list)

    def kubeconfig(self, proxy: ApiProxy | None = None) -> Path:
        """A kubeconfig of the account, through a proxy."""
        through = proxy or self.proxy
        return through.write_kubeconfig(self.folder / f"kubeconfig-{through.port}", self.token, self.namespace)

    def start(self, pipeline: str, run_id: str, *more: str, proxy: ApiProxy | None = None, **parameters: Any) -> Run:
        """Start a run of a small pipeline; `more` are words of the command line."""
        values = {"storage_class": self.cluster.storage_class, **parameters}
        words = [word for name, value in values.items() for word in ("-p", f"{name}={value}")]
        words += ["--kubeconfig", str(self.kubeconfig(proxy)), "--service-account", ACCOUNT]
        if "--pod-overlay" not in more:
            words += ["--pod-overlay", str(self.overlay)]
        package = self.packages / f"{pipeline}.yaml"
        self.runs.append(start(self.cluster, self.namespace, run_id, package, self.folder, *words, *more))
        return self.runs[-1]

    def changed_overlay(self, **spec: Any) -> Path:
        """The overlay with more in the pod's spec."""
        overlay = yaml.safe_load(self.overlay.read_text())
        path = self.folder / f"overlay-{'-'.join(spec)}.yaml"
        path.write_text(yaml.safe_dump({**overlay, "spec": {**overlay["spec"], **spec}}))
        return path

    @contextmanager
    def only(self, kept: list[dict[str, Any]]) -> Iterator[None]:
        """Only these rules in the account's Role during the block, from when the API server applies them."""
        lost = sorted(_rights(self.rules) - _rights(kept))[0]
        try:
            self._give(kept, lost, "no")
            yield
        finally:
            self._give(self.rules, lost, "yes")

    def _give(self, rules: list[dict[str, Any]], right: tuple[str, str], answer: str) -> None:
        patch = json.dumps([{"op": "replace", "path": "/rules", "value": rules}])
        self.cluster.kubectl("patch", "role", ACCOUNT, "-n", self.namespace, "--type=json", "-p", patch)
        account = f"system:serviceaccount:{self.namespace}:{ACCOUNT}"
        resource, verb = right

        def known() -> bool:
            words = ("auth", "can-i", verb, resource, "-n", self.namespace, f"--as={account}")
            try:
                return self.cluster.kubectl(*words).strip() == answer
            except ClusterError:  # its exit code says no
                return answer == "no"

        wait_for("the changed Role", known, 20)

    @contextmanager
    def new_proxy(self) -> Iterator[ApiProxy]:
        """A proxy for a single run."""
        with ApiProxy(self.proxy.server, self.proxy.ca).running() as proxy:
            yield proxy


def _rights(rules: list[dict[str, Any]]) -> set[tuple[str, str]]:
    """Resource and verb of each, without subresources."""
    pairs = {(resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}
    return {(resource, verb) for resource, verb in pairs if "/" not in resource}


def compile_packages(folder: Path) -> Path:
    """Compile the small pipelines; in a process of its own, since kfp takes long to import."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-m", "tests.cluster.pipelines", str(folder)], cwd=ROOT, check=True)
    return folder


@contextmanager
def laboratory(cluster: Cluster, namespace: str, folder: Path, packages: Path) -> Iterator[Lab]:
    """Set a namespace up for small pipelines, with a proxy while the block runs."""
    made = workbench(cluster, namespace)
    rules = made["Role"]["rules"]
    cluster.apply(*(made[kind] for kind in ("ServiceAccount", "Role", "RoleBinding")))
    settle(cluster, namespace)
    # Small tasks take no notice of SIGTERM; nobody waits half a minute for them.
    overlay = write_overlay(cluster, folder / "overlay.yaml", terminationGracePeriodSeconds=2)
    token = cluster.kubectl("create", "token", ACCOUNT, "-n", namespace, "--duration=2h").strip()
    with ExitStack() as stack:
        proxy = stack.enter_context(ApiProxy(*_server(cluster, folder)).running())
        lab = Lab(cluster, namespace, folder, packages, overlay, proxy, token, rules)
        yield lab
        for run in lab.runs:
            run.kill()


def _server(cluster: Cluster, folder: Path) -> tuple[str, Path]:
    """URL of the API server, and a file with its certificate authority."""
    view = json.loads(cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    found = view["clusters"][0]["cluster"]
    authority = folder / "ca.crt"
    authority.write_bytes(base64.b64decode(found["certificate-authority-data"]))
    return found["server"], authority
