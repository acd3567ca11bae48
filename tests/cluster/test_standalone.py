"""The real API server accepts the objects of standalone.py in a namespace that enforces `restricted`."""

import os
import subprocess
import sys

import pytest
import yaml

from tests.cluster.cluster import Cluster
from tests.cluster.errors import ClusterError
from tests.cluster.node import wait_for
from tests.cluster.runs import KINDS, names
from tests.cluster.scenario import ROOT

CANARY = "canary-77b0de"
STORE = ["--sdg-object-store-bucket=b", "--sdg-object-store-data-key=k"]
JUDGE = ["--judge-serving-model-endpoint=https://judge/v1", "--judge-serving-model-name=m"]
TEACHER = ["--sdg-serving-model-endpoint=https://teacher/v1", "--sdg-serving-model-name=m"]
GPU_NODES = ["--toleration=nvidia.com/gpu:NoSchedule", "--node-selector=gpu=h100"]
KEYS = ("SDG_OBJECT_STORE_ACCESS_KEY", "SDG_OBJECT_STORE_SECRET_KEY", "JUDGE_SERVING_MODEL_API_KEY",
        "SDG_SERVING_MODEL_API_KEY")  # fmt: skip
BY_SECRET = ["--judge-serving-model-secret=judge", "--sdg-object-store-secret=store"]

COMMANDS = {
    "by secrets": ["run", *BY_SECRET],
    "by flags": [
        *("run", *STORE, *JUDGE, *TEACHER, *GPU_NODES, "--sdg-in-cluster", "--storage-class=fast", "--run-id=r1"),
        *("--judge-serving-model-ca-cert=one", "--sdg-serving-model-ca-cert=two"),
    ],
    "a part": ["run", "--training-nodes=4", "train", "--training-phase=2", "--model-to-train=/data/model"],
    "as a Job": [
        *("show", "--rbac", "--image=i", "--script-configmap=c", "--script-name=standalone.py"),
        *("--args=--judge-serving-model-secret=judge", "--args=--sdg-object-store-bucket=b"),
    ],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_api_server_accepts_the_printed_manifests(name: str, cluster: Cluster, namespace: str) -> None:
    """Traps 7 and 8: real YAML, no credentials in it, and no cluster asked for it."""
    command, *args = COMMANDS[name]
    flags = [f"--namespace={namespace}", *(["--dry-run"] if command == "run" else [])]
    env = {**os.environ, "KUBECONFIG": "/nonexistent", **dict.fromkeys(KEYS, CANARY)}
    words = [sys.executable, "standalone.py", command, *flags, *args]
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert CANARY not in done.stdout + done.stderr
    printed = list(yaml.safe_load_all(done.stdout))
    # Kubeflow Trainer takes a TrainJob, also in a dry run, only once it has seen its runtime.
    if runtimes := [one for one in printed if one["kind"] == "TrainingRuntime"]:
        cluster.kubectl("apply", "-f", "-", text_in=yaml.safe_dump_all(runtimes))
    said: list[str] = []

    def accepted() -> bool:
        try:
            said[:] = cluster.kubectl("apply", "--dry-run=server", "-f", "-", text_in=done.stdout).splitlines()
        except ClusterError as error:
            if "specified trainingRuntime must be created before" not in str(error):
                raise
        return bool(said)

    wait_for("the TrainJobs' runtimes are known", accepted, 60)
    assert len(said) == len(printed)
    assert all(line.endswith("(server dry run)") for line in said)


def test_secret_without_a_key_is_named_before_anything_is_made(cluster: Cluster, namespace: str) -> None:
    for name, keys in {
        "store": ("bucket", "access_key", "data_key"),
        "judge": ("JUDGE_NAME", "JUDGE_API_KEY"),
    }.items():
        values = [f"--from-literal={key}=https://x" for key in keys]
        cluster.kubectl("create", "secret", "generic", name, "-n", namespace, *values)
    words = [sys.executable, "standalone.py", "run", *BY_SECRET, f"--namespace={namespace}", "--run-id=keyless"]
    words.append(f"--kubeconfig={cluster.kubeconfig}")
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 3
    assert "secret_key" in done.stderr
    assert "JUDGE_ENDPOINT" in done.stderr
    assert names(cluster, namespace, KINDS, "keyless") == []
