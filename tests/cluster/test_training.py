"""A training phase in two real pods: torchrun and gloo, a pod that is killed, and a launcher that is killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.cluster import Cluster
from tests.cluster.node import wait_for
from tests.cluster.processes import kill_processes
from tests.cluster.scenario import ROOT, settle, write_overlay
from tests.cluster.settings import PATIENCE
from utils.cpu import PROGRAMS
from utils.images import INSTRUCTLAB
from utils.names import CPU_PROGRAMS, POD_OVERLAY, QUEUE_LABEL
from utils.stages.train.folder import whole_states

EPOCHS = 4
OPTIONS: dict[str, Any] = {
    "phase": 1, "launcher": "pytorchjob", "image": INSTRUCTLAB, "model": "", "num_epochs": EPOCHS,
    "effective_batch_size": 4, "learning_rate": 1e-2, "num_warmup_steps": 0, "save_samples": 0, "max_batch_len": 1000,
    "max_seq_len": 512, "seed": 42, "keep_checkpoints": 0, "cpu_offload": True, "num_workers": 2, "gpu_per_worker": 0,
    "gpu_identifier": "nvidia.com/gpu", "cpu_per_worker": "900m", "memory_per_worker": "3Gi", "tolerations": [],
    "node_selectors": {}, "queue": "", "queue_timeout": "24h",
    "pending_timeout": "5m", "timeout": "10m", "force": False,
}  # fmt: skip
PROGRAM = """
import json, os, sys
from types import SimpleNamespace
from components.train import train
from utils.stages.volume.claims import VolumeClaim, create_claim
os.umask(0)
options = json.loads(sys.argv[1])
if "size" in options:
    create_claim(VolumeClaim(options["run_id"], options["size"], options["storage_class"], "ReadWriteMany"))
else:
    metrics = SimpleNamespace(log_metric=lambda *_: None)
    train.python_func(manifest=SimpleNamespace(path=sys.argv[2]), metrics=metrics, **options)
"""


@dataclass
class Training:
    """A run's volume, and the stage `train` as a process of this machine that trains in pods."""

    cluster: Cluster
    namespace: str
    run_id: str
    folder: Path
    launcher: "subprocess.Popen[bytes] | None" = None

    @property
    def job(self) -> str:
        return f"train-phase-1-{self.run_id}"

    @property
    def volume(self) -> Path:
        return self.cluster.claim_directory(self.namespace, f"ilab-{self.run_id}")

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def start(self, **options: Any) -> "subprocess.Popen[bytes]":
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "KUBECONFIG": str(self.folder / "kubeconfig"),
            CPU_PROGRAMS: str(PROGRAMS),
            POD_OVERLAY: json.dumps(yaml.safe_load((self.folder / "overlay.yaml").read_text())),
        }
        words = [sys.executable, "-c", PROGRAM, json.dumps({"run_id": self.run_id, **options})]
        with (self.folder / "log").open("ab") as log:
            words.append(str(self.folder / "manifest"))
            self.launcher = subprocess.Popen(words, env=environment, stdout=log, stderr=subprocess.STDOUT)
        return self.launcher

    def train(self, **options: Any) -> "subprocess.Popen[bytes]":
        # Pods mount the claim where this machine has it: the launcher here and the trainers there see the same paths.
        place = {"data_dir": str(self.volume), "volume_claim": f"ilab-{self.run_id}"}
        return self.start(**place, **{**OPTIONS, **options})

    def suspend(self, value: bool) -> None:
        """Do as Kueue does, which this cluster lacks: it suspends a job with its label, and lets it go in its turn."""
        patch = json.dumps({"spec": {"runPolicy": {"suspend": value}}})
        self.cluster.kubectl("patch", "pytorchjob", self.job, "-n", self.namespace, "--type=merge", "-p", patch)

    def uid(self, kind: str, name: str) -> str:
        path = "jsonpath={.metadata.uid}"
        return self.cluster.kubectl("get", kind, name, "-n", self.namespace, "--ignore-not-found", "-o", path)

    def wait_for_epoch(self) -> list[str]:
        """The first whole training states."""
        output = str(self.volume / "phase_1")
        deadline = time.monotonic() + PATIENCE
        while not whole_states(output):
            assert time.monotonic() < deadline, self.log
            assert "is started again" not in self.log, self.log
            time.sleep(0.2)
        return whole_states(output)

    def check_result(self) -> None:
        marker = json.loads((self.volume / "done" / "train_phase_1.json").read_text())
        assert marker["result"]["steps"] == 2 * EPOCHS, self.log
        assert (self.volume / marker["result"]["checkpoint"] / "model.safetensors").exists()


@pytest.fixture
def training(
    cluster: Cluster, namespace: str, processed: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Training]:
    settle(cluster, namespace)
    write_overlay(cluster, tmp_path / "overlay.yaml")
    view = json.loads(cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    view["contexts"][0]["context"]["namespace"] = namespace
    (tmp_path / "kubeconfig").write_text(json.dumps(view))
    made = Training(cluster, namespace, request.node.name.replace("_", "-")[:20].strip("-"), tmp_path)
    assert made.start(size="1Gi", storage_class=cluster.storage_class).wait(PATIENCE) == 0, made.log
    wait_for("the volume", lambda: made.volume.exists())
    shutil.copytree(processed, made.volume, dirs_exist_ok=True)
    subprocess.run(["chmod", "-R", "a+rwX", str(made.volume)], check=True)  # pods run as another user
    yield made
    if made.launcher:
        made.launcher.kill()
        made.launcher.wait()


def test_training_resumes_after_a_killed_pod_and_a_killed_launcher(training: Training) -> None:
    """The pod: from the last whole epoch, in a new job. The launcher: attached to the pods that train."""
    launcher = training.train()
    states = training.wait_for_epoch()
    first = training.uid("pytorchjob", training.job)
    kill_processes(f"{training.job}-worker-0")
    wait_for("the second job", lambda: training.uid("pytorchjob", training.job) not in ("", first))
    second = training.uid("pytorchjob", training.job)
    assert training.log.count("training is started again, from its last whole epoch") == 1
    launcher.send_signal(signal.SIGKILL)
    launcher.wait()

    assert training.train().wait(2 * PATIENCE) == 0, training.log
    assert "already exists" in training.log
    assert training.uid("pytorchjob", training.job) == second
    assert f"resuming after {Path(states[0]).name.rpartition('_')[0]}_" in training.log
    assert training.log.count("training is started again") == 1
    training.check_result()


def test_training_preempted_by_its_queue_waits_and_succeeds(training: Training) -> None:
    launcher = training.train(queue="gpus", pending_timeout="1m")
    wait_for("the job", lambda: bool(training.uid("pytorchjob", training.job)))
    job = training.cluster.get("pytorchjob", training.job, "-n", training.namespace)
    assert job["metadata"]["labels"][QUEUE_LABEL] == "gpus"
    training.suspend(True)
    wait_for("news of the queue", lambda: "waiting in the queue gpus" in training.log)
    # A pod that is still ending would count as failed in the resumed job.
    pods = [f"{training.job}-{role}-0" for role in ("master", "worker")]
    wait_for("the end of its pods", lambda: not any(training.uid("pod", pod) for pod in pods))
    training.suspend(False)
    assert launcher.wait(2 * PATIENCE) == 0, training.log
    assert "all training pods have started" in training.log.partition("waiting in the queue gpus")[2]
    assert "is started again" not in training.log, training.log
    training.check_result()


def test_terminated_launcher_leaves_no_job_and_no_pod(training: Training) -> None:
    launcher = training.train()
    wait_for("the job", lambda: bool(training.uid("pytorchjob", training.job)))
    wait_for("its pods", lambda: bool(training.uid("pod", f"{training.job}-master-0")))
    launcher.send_signal(signal.SIGTERM)
    assert launcher.wait(PATIENCE) != 0
    wait_for("the end of the job", lambda: not training.uid("pytorchjob", training.job))
    assert not training.uid("pod", f"{training.job}-master-0")
    assert not training.uid("pod", f"{training.job}-worker-0")
