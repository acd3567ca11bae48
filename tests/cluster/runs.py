"""Runs of `ilab-pipeline run --on kubernetes`, started on this machine, and what they leave in the cluster."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.cluster import Cluster
from tests.cluster.processes import processes
from tests.cluster.settings import CLAIMS, PATIENCE
from utils.names import RUN_LABEL

KINDS = "jobs,pods,pytorchjobs,trainjobs,trainingruntimes,persistentvolumeclaims,secrets,configmaps,services"


@dataclass
class Run:
    """A run whose walker is a process on this machine."""

    cluster: Cluster
    namespace: str
    run_id: str
    words: list[str]
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def output(self) -> str:
        """What the command has written so far, on both streams."""
        return self.log.read_text(errors="replace")

    def task_log(self, task: str) -> str:
        """The log that the walker saves of a task; empty while there is none."""
        logs = self.folder / "home" / "runs" / self.run_id / "logs"
        found = [log for log in logs.glob("*.log") if log.stem.rpartition(".")[2] == task]
        return "".join(log.read_text(errors="replace") for log in found)

    @property
    def folder(self) -> Path:
        return self.log.parent

    @property
    def claim(self) -> Path:
        """Where this machine sees the run's volume."""
        return self.cluster.claim_directory(self.namespace, f"ilab-{self.run_id}")

    def wait(self, seconds: float = PATIENCE) -> int:
        """The command's exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.run_id} did not end within {seconds} s\n{self.output[-4000:]}") from None

    def until(self, what: str, ready: Callable[[], Any], seconds: float = PATIENCE) -> Any:
        """What `ready` says once it says something, while the command runs."""
        deadline = time.monotonic() + seconds
        while not (found := ready()):
            assert self.process.poll() is None, f"{self.run_id} ended before {what}\n{self.output[-4000:]}"
            assert time.monotonic() < deadline, f"no {what} in {seconds} s\n{self.output[-4000:]}"
            time.sleep(0.2)
        return found

    def until_held(self) -> Path:
        """Wait until the task that waits has started; returns the volume's folder. The file `go` lets it end."""
        claims = f"ilab-{self.run_id}"
        self.until("claim", lambda: names(self.cluster, self.namespace, "persistentvolumeclaims", claims))
        folder = self.claim
        self.until("held task", (folder / "held").exists)
        return folder

    def kill(self) -> None:
        """End the walker as the kernel does when memory runs out."""
        self.process.kill()
        self.process.wait()

    def interrupt(self) -> None:
        """SIGTERM, as a pod that is deleted gets it."""
        self.process.send_signal(signal.SIGTERM)

    def again(self) -> "Run":
        """The same command once more."""
        log = self.log.with_name(f"{self.log.stem}+.log")
        return Run(self.cluster, self.namespace, self.run_id, self.words, log, _started(self.words, log))

    def record(self) -> dict[str, Any]:
        """The run's object: each key's JSON."""
        found = self.cluster.get("configmap", f"ilab-{self.run_id}", "-n", self.namespace)
        return {key: json.loads(value) for key, value in found["data"].items()}


def start(cluster: Cluster, namespace: str, run_id: str, package: Path, folder: Path, *more: str) -> Run:
    """Start a run; its words may say more, such as `--kubeconfig FILE` in place of the administrator's."""
    words = [str(Path(sys.executable).with_name("ilab-pipeline")), "run", "--on", "kubernetes"]
    words += ["--package", str(package), "--run-id", run_id, "--namespace", namespace, "--home", str(folder / "home")]
    words += [] if "--kubeconfig" in more else ["--kubeconfig", str(cluster.kubeconfig)]
    words += more
    log = folder / f"{run_id}.log"
    return Run(cluster, namespace, run_id, words, log, _started(words, log))


def _started(words: list[str], log: Path) -> subprocess.Popen[bytes]:
    # Without this machine's settings of clusters: only the arguments count.
    env = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    with log.open("wb") as output:
        return subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT, env=env, start_new_session=True)


def names(cluster: Cluster, namespace: str, kinds: str, part: str, labels: str = "") -> list[str]:
    """`kind/name` of the objects whose name contains `part`."""
    selector = ["-l", labels] if labels else []
    found = cluster.kubectl("get", kinds, "-n", namespace, *selector, "-o", "name", "--ignore-not-found").split()
    return [name for name in found if part in name]


def leftovers(cluster: Cluster, namespace: str, run_id: str) -> list[str]:
    """Objects, volumes, directories and processes of a run, but for its record."""
    found = set(names(cluster, namespace, KINDS, run_id))
    found |= set(names(cluster, namespace, KINDS, "", f"{RUN_LABEL}={run_id}"))
    found.discard(f"configmap/ilab-{run_id}")
    volumes = cluster.get("persistentvolumes")["items"]
    found |= {f"volume of {v['spec']['claimRef']['name']}" for v in volumes if _claims(v, namespace, run_id)}
    if cluster.owned:
        claims = {one["metadata"]["uid"] for one in cluster.get("persistentvolumeclaims", "-A")["items"]}
        found |= {f"directory {folder}" for folder in CLAIMS.iterdir() if folder.name not in claims}
        found |= {f"process {one.name}" for one in processes(run_id)}
    return sorted(found)


def _claims(volume: dict[str, Any], namespace: str, run_id: str) -> bool:
    claim = volume["spec"].get("claimRef", {})
    return claim.get("namespace") == namespace and run_id in claim.get("name", "")


def assert_nothing_left(cluster: Cluster, namespace: str, run_id: str) -> None:
    """Nothing of the run is there but its record; what is being deleted gets some time to go."""
    deadline = time.monotonic() + PATIENCE
    while found := leftovers(cluster, namespace, run_id):
        assert time.monotonic() < deadline, found
        time.sleep(0.5)
