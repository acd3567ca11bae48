"""PyTorchJobs for the tests of their launcher."""

from collections.abc import Callable
from typing import Any

from tests.fakes.kubernetes_api import KubernetesApi
from tests.stages.train.phase_folders import PHASE
from utils.stages.train.job import Limits, launch_job
from utils.stages.train.pytorchjob import PyTorchJob
from utils.stages.train.training import TrainingPhase

NAME = "train-phase-1-run-1"


def manifest(overlay: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    job = PyTorchJob(TrainingPhase(**PHASE | changes), overlay or {})
    (made,) = job.manifests(["--nnodes=2", "--node_rank=$(RANK)", "-m", "main"])
    return made


def add_pod(api: KubernetesApi, role: str, phase: str, **status: object) -> None:
    labels = {"training.kubeflow.org/job-name": NAME}
    api.add("pods", f"{NAME}-{role}-0", metadata={"labels": labels}, status={"phase": phase, **status})


def launch(
    pending: float = 30, timeout: float = 30, tick: Callable = lambda: None, queued: float = 30, **changes: object
) -> None:
    made = manifest(None, **changes)
    error = launch_job([made], Limits(queued, pending, timeout), tick, poll=0.01)
    if error:
        raise error


def drop(api: KubernetesApi) -> None:
    api.objects["pytorchjobs"].clear()


def there(api: KubernetesApi, state: str, **changes: object) -> None:
    found = manifest(None, **changes)
    found["status"] = {"conditions": [{"type": state, "status": "True"}]} if state else {}
    api.objects["pytorchjobs"] = {NAME: found}
