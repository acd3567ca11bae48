"""How a run works where it runs. Those of one machine and of a cluster are kept in the run's folder for its resume."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from utils.durations import parse_duration
from utils.queues import LONGEST_WAIT

PENDING_TIMEOUT = "60m"
"""How long a pod may wait before it starts, where nothing else is given."""
PENDING_SECONDS = float(parse_duration(PENDING_TIMEOUT))


@dataclass(frozen=True)
class LocalSettings:
    """How a run works on this machine.

    Attributes:
        python: the interpreter that tasks run in.
        secrets: folder with Secrets; "" for none.
        grace: seconds that a task has to stop in.
    """

    python: str
    max_parallel: int = 2
    secrets: str = ""
    install_packages: bool = False
    grace: float = 10.0


@dataclass(frozen=True)
class ClusterSettings:
    """Where on a cluster a run lives, and what its pods are like.

    Attributes:
        namespace, kubeconfig, context: which cluster and where in it; "" as `utils.cluster.connect` says.
        service_account: of the pods; "" for the namespace's default.
        overlay: a patch for every pod.
        pending_seconds: how long a pod may wait before it starts.
        queue_seconds: how long a queue may hold it back before that.
    """

    namespace: str = ""
    kubeconfig: str = ""
    context: str = ""
    service_account: str = ""
    overlay: Mapping[str, Any] = field(default_factory=dict)
    pending_seconds: float = PENDING_SECONDS
    queue_seconds: float = LONGEST_WAIT

    def __str__(self) -> str:
        where = self.context or self.kubeconfig
        return f"namespace {self.namespace}" + (f" of {where}" if where else "")


@dataclass(frozen=True)
class KfpSettings:
    """Which Kubeflow Pipelines server a run is submitted to, and how it is filed there.

    Attributes:
        host: address of the server; "" for the one of the project.
        token: sent to `host` alone; "" for the user's own.
        ca_cert: PEM file of the server's certificate authority; "" for the system's.
        namespace: project of the server, the user's namespace on a multi-user server; "" for the current one.
        ui_host: what links to runs start with; "" to find it.
        mlflow_experiment: of MLflow, for a server that logs runs there; "" for its default.
    """

    host: str = ""
    token: str = field(default="", repr=False)
    ca_cert: str = ""
    namespace: str = ""
    ui_host: str = ""
    experiment: str = "ilab"
    mlflow_experiment: str = ""
