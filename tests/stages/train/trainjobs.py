"""TrainJobs for the tests of their launcher."""

from collections.abc import Callable
from typing import Any

from tests.fakes.kubernetes_api import KubernetesApi
from tests.stages.train.phase_folders import PHASE
from utils.stages.train.job import Limits, launch_job
from utils.stages.train.training import TrainingPhase
from utils.stages.train.trainjob import TrainJob

NAME = "train-1-run-1"
ARGUMENTS = ["--nnodes=2", "--node_rank=$(RANK)", "--rdzv_endpoint=$(MASTER_ADDR):$(MASTER_PORT)", "main"]


def manifests(overlay: dict[str, Any] | None = None, **changes: Any) -> list[dict[str, Any]]:
    return TrainJob(TrainingPhase(**PHASE | changes), overlay or {}).manifests(ARGUMENTS)


def pod_template(runtime: dict[str, Any]) -> Any:
    return runtime["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]


def add_pod(api: KubernetesApi, rank: int, phase: str, **status: object) -> None:
    labels = {"jobset.sigs.k8s.io/jobset-name": NAME}
    api.add("pods", f"{NAME}-node-0-{rank}-x7k2p", metadata={"labels": labels}, status={"phase": phase, **status})


def launch(
    pending: float = 30, timeout: float = 30, tick: Callable = lambda: None, queued: float = 30, **changes: object
) -> None:
    error = launch_job(manifests(None, **changes), Limits(queued, pending, timeout), tick, poll=0.01)
    if error:
        raise error
