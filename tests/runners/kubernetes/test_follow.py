"""Following a run's pods: it ends with them, and its errors surface."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from tests.fakes.api_server import ApiServer
from utils.cluster.cluster import Cluster
from utils.cluster.connection import connect
from utils.errors import IlabError
from utils.runners.kubernetes import observed, pod_log
from utils.runners.output import Progress


def test_line_that_arrives_after_the_end_of_its_task_is_not_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, told = threading.Event(), list[tuple[str, Progress | None]]()

    def late(*arguments: Any) -> Iterator[str]:
        ended.wait(10)
        yield "deleting PyTorchJob"

    monkeypatch.setattr(pod_log, "follow_log", late)
    cluster = Cluster("lab", client.ApiClient())
    log = pod_log.PodLog(cluster, "p", "main", tmp_path / "log", lambda *report: told.append(report))
    log.stop()
    ended.set()
    log.finish(10)
    assert "deleting PyTorchJob" in (tmp_path / "log").read_text()
    assert told == []  # it would say that the task runs


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_broken_watch_ends_waiting(node: ApiServer, kubeconfig: Path) -> None:
    node.objects["pods"]["bad"] = {"metadata": {"name": "bad"}}  # no uid: nothing the watch can work with
    with (
        observed.Observed(connect(kubeconfig=str(kubeconfig)), "") as seen,
        pytest.raises(IlabError, match="the watch of Pods has broken down"),
    ):
        for _ in range(10):
            seen.wait(5)
