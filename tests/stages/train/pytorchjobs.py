"""PyTorchJobs for the tests of their launcher."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.fakes.kubernetes_api import KubernetesApi
from utils.stages.train.job import launch_pytorchjob
from utils.stages.train.pytorchjob import Job, pytorchjob_manifest

NAME = "train-phase-1-run-1"


def manifest(overlay: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    job = Job(
        name=NAME, run_id="run-1", image="registry/image@sha256:0", claim="ilab-run-1", data_dir="/data", nodes=2,
        gpus=4, gpu_identifier="nvidia.com/gpu", cpu="2", memory="250Gi",
        tolerations=[{"key": "gpu", "operator": "Exists"}], node_selectors={"zone": "a"}, queue="", queued=86400,
        pending=3600, timeout=7200, overlay=overlay or {},
    )  # fmt: skip
    return pytorchjob_manifest(replace(job, **changes), ["--nnodes=2", "--node_rank=$(RANK)", "-m", "main"])


def add_pod(api: KubernetesApi, role: str, phase: str, **status: object) -> None:
    labels = {"training.kubeflow.org/job-name": NAME}
    api.add("pods", f"{NAME}-{role}-0", metadata={"labels": labels}, status={"phase": phase, **status})


def launch(
    pending: float = 30, timeout: float = 30, tick: Callable = lambda: None, queued: float = 30, **changes: object
) -> None:
    made = manifest(None, **changes)
    error = launch_pytorchjob(made, pending, timeout, tick, poll=0.01, queued=queued)  # type: ignore[arg-type]
    if error:
        raise error


def drop(api: KubernetesApi) -> None:
    api.objects["pytorchjobs"].clear()


def there(api: KubernetesApi, state: str, **changes: object) -> None:
    found = manifest(None, **changes)
    found["status"] = {"conditions": [{"type": state, "status": "True"}]} if state else {}
    api.objects["pytorchjobs"] = {NAME: found}
