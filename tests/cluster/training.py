"""A training phase in two real pods, as tests drive and see it: the stage `train` is a process of this machine."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.cluster import Cluster
from tests.cluster.node import wait_for
from tests.cluster.scenario import ROOT, settle, write_overlay
from tests.cluster.settings import PATIENCE
from utils.cpu import PROGRAMS
from utils.images import INSTRUCTLAB
from utils.names import CPU_PROGRAMS, POD_OVERLAY
from utils.stages.train.trainer import whole_states

EPOCHS = 4
OPTIONS: dict[str, Any] = {
    "phase": 1, "launcher": "pytorchjob", "image": INSTRUCTLAB, "model": "", "num_epochs": EPOCHS,
    "effective_batch_size": 4, "learning_rate": 1e-2, "num_warmup_steps": 0, "save_samples": 0, "max_batch_len": 1000,
    "max_seq_len": 512, "seed": 42, "keep_checkpoints": 0, "cpu_offload": True, "num_workers": 2, "gpu_per_worker": 0,
    "gpu_identifier": "nvidia.com/gpu", "cpu_per_worker": "900m", "memory_per_worker": "3Gi", "tolerations": [],
    "node_selectors": {}, "queue": "", "queue_timeout": "24h",
    "pending_timeout": "5m", "timeout": "10m", "force": False, "progress": True, "grace_period": "30s",
    "flash_attention": True, "strategy": "phased",
    "checkpoint_dtype": "auto", "algorithm": "sft", "algorithm_options": {}, "store_secret_dir": "",
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
    """A run's volume, and the stage `train` as a process of this machine that trains in pods.

    Attributes:
        python: the interpreter of that process.
    """

    cluster: Cluster
    namespace: str
    run_id: str
    folder: Path
    kind: str = "pytorchjob"
    launcher: "subprocess.Popen[bytes] | None" = None
    python: str = sys.executable

    @property
    def job(self) -> str:
        return f"train-1-{self.run_id}" if self.kind == "trainjob" else f"train-phase-1-{self.run_id}"

    @property
    def pods(self) -> list[str]:
        """The names of its two pods, of those that are there; the one of rank 0 first."""
        label = "jobset.sigs.k8s.io/jobset-name" if self.kind == "trainjob" else "training.kubeflow.org/job-name"
        words = ("get", "pods", "-n", self.namespace, "-l", f"{label}={self.job}", "-o", "name")
        return sorted(name.removeprefix("pod/") for name in self.cluster.kubectl(*words).split())

    @property
    def last_host(self) -> str:
        """What the host of rank 1 is called."""
        return f"{self.job}-{'node-0-1' if self.kind == 'trainjob' else 'worker-0'}"

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
        words = [self.python, "-c", PROGRAM, json.dumps({"run_id": self.run_id, **options})]
        with (self.folder / "log").open("ab") as log:
            words.append(str(self.folder / "manifest"))
            self.launcher = subprocess.Popen(words, env=environment, stdout=log, stderr=subprocess.STDOUT)
        return self.launcher

    def train(self, **options: Any) -> "subprocess.Popen[bytes]":
        # Pods mount the claim where this machine has it: the launcher here and the trainers there see the same paths.
        place = {} if "data_dir" in options else {"data_dir": str(self.volume), "volume_claim": f"ilab-{self.run_id}"}
        return self.start(**{**OPTIONS, "launcher": self.kind, **place, **options})

    def suspend(self, value: bool) -> None:
        """Do as Kueue does, see test_kueue.py: it suspends a job with its label, and lets it go in its turn."""
        suspend = {"suspend": value}
        patch = json.dumps({"spec": suspend if self.kind == "trainjob" else {"runPolicy": suspend}})
        self.cluster.kubectl("patch", self.kind, self.job, "-n", self.namespace, "--type=merge", "-p", patch)

    def uid(self, kind: str, name: str) -> str:
        path = "jsonpath={.metadata.uid}"
        return self.cluster.kubectl("get", kind, name, "-n", self.namespace, "--ignore-not-found", "-o", path)

    def wait_for_epoch(self) -> list[str]:
        """The first whole training states."""
        output = str(self.volume / "phase_1")
        # Two processes that import torch and train: a busy machine takes minutes.
        deadline = time.monotonic() + 2 * PATIENCE
        while not whole_states(output):
            assert time.monotonic() < deadline, self.log
            assert "is started again" not in self.log, self.log
            time.sleep(0.2)
        return whole_states(output)

    def check_nothing_left(self) -> None:
        """The job is gone, with its pods and what it needed."""
        wait_for("the end of the job", lambda: not self.uid(self.kind, self.job))
        wait_for("the end of its pods", lambda: not self.pods)
        if self.kind == "trainjob":
            wait_for("the end of the runtime", lambda: not self.uid("trainingruntime", self.job))

    def check_result(self, epochs: int = EPOCHS) -> None:
        marker = json.loads((self.volume / "done" / "train_phase_1.json").read_text())
        assert marker["result"]["steps"] == 2 * epochs, self.log
        assert (self.volume / marker["result"]["checkpoint"] / "model.safetensors").exists()


@contextmanager
def prepared(
    cluster: Cluster, namespace: str, processed: Path, folder: Path, name: str, kind: str
) -> Iterator[Training]:
    """A run's volume after data processing, on which a phase can be trained by this kind of job."""
    settle(cluster, namespace)
    write_overlay(cluster, folder / "overlay.yaml")
    view = json.loads(cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    view["contexts"][0]["context"]["namespace"] = namespace
    (folder / "kubeconfig").write_text(json.dumps(view))
    made = Training(cluster, namespace, name, folder, kind)
    assert made.start(size="1Gi", storage_class=cluster.storage_class).wait(PATIENCE) == 0, made.log
    wait_for("the volume", lambda: made.volume.exists())
    shutil.copytree(processed, made.volume, dirs_exist_ok=True)
    subprocess.run(["chmod", "-R", "a+rwX", str(made.volume)], check=True)  # pods run as another user
    try:
        yield made
    finally:
        if made.launcher:
            made.launcher.kill()
            made.launcher.wait()
