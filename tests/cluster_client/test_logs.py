"""A log is followed to its end, every line once."""

import socket
import threading
from dataclasses import replace

import pytest
from kubernetes import client

from tests.fakes.api_server import ApiServer, Fault, Time
from utils.cluster.cluster import Cluster, Patience
from utils.cluster.errors import ClusterError, ForbiddenError
from utils.cluster.logs import follow_log, tail_log
from utils.cluster.streams import TryAgain, stream

RUNNING = {"phase": "Running", "containerStatuses": [{"name": "main", "state": {"running": {}}}]}
ENDED = {"phase": "Succeeded", "containerStatuses": [{"name": "main", "state": {"terminated": {"exitCode": 0}}}]}


def stamped(*lines: str, second: int = 0) -> list[str]:
    return [f"2026-01-01T00:00:{second:02}.{number:09}Z {line}" for number, line in enumerate(lines)]


@pytest.fixture
def pod(api: ApiServer) -> str:
    api.put("pods", "p", spec={"containers": [{"name": "main"}, {"name": "sidecar"}]}, status=ENDED)
    api.logs["p"] = [*stamped("one", "two", "two", second=1), *stamped("", "  indented", "é", second=2)]
    return "p"


LINES = ["one", "two", "two", "", "  indented", "é"]


def test_lines_of_an_ended_container_come_once_and_the_log_ends(api: ApiServer, cluster: Cluster, pod: str) -> None:
    assert list(follow_log(cluster, pod)) == LINES
    assert {r.query["container"] for r in api.requests if r.resource == "pods/log"} == {"main"}


@pytest.mark.parametrize("cut", range(6))
def test_lost_connection_neither_repeats_nor_drops_lines(api: ApiServer, cluster: Cluster, pod: str, cut: int) -> None:
    api.faults.append(Fault(resource="pods/log", lines=cut))
    assert list(follow_log(cluster, pod)) == LINES


def test_every_line_arrives_though_the_connection_drops_after_each(api: ApiServer, cluster: Cluster, pod: str) -> None:
    api.faults += [Fault(resource="pods/log", lines=cut) for cut in (1, 2, 2, 3, 1, 2, 1)]
    assert list(follow_log(cluster, pod)) == LINES


def test_log_is_requested_from_times_in_the_zone_of_its_node(api: ApiServer, cluster: Cluster, pod: str) -> None:
    api.logs["p"] = [line.replace("Z ", "+02:00 ") for line in api.logs["p"]]
    api.faults.append(Fault(resource="pods/log", lines=4))
    assert list(follow_log(cluster, pod)) == LINES
    assert api.requests[-1].query["sinceTime"] == "2026-01-01T00:00:02+02:00"


def test_log_is_followed_until_the_container_has_ended(api: ApiServer, cluster: Cluster, time: Time, pod: str) -> None:
    """A stream that ends while the container runs (rotated log, server shutting down) is not the end of the log."""
    api.put("pods", "p", status=RUNNING)

    def more() -> None:
        api.logs["p"] += stamped(f"after {len(time.pauses)}", second=10 + len(time.pauses))
        if len(time.pauses) == 2:
            api.put("pods", "p", status=ENDED)

    time.at_sleep = more
    assert list(follow_log(cluster, pod)) == [*LINES, "after 1", "after 2"]


def test_partial_line_is_not_reported_while_the_container_runs(
    api: ApiServer, cluster: Cluster, time: Time, pod: str
) -> None:
    """A server that shuts down may end the stream in the middle of a line as if that were all."""
    api.put("pods", "p", status=RUNNING)
    api.faults.append(Fault(resource="pods/log", lines=1, clean=True))
    time.at_sleep = lambda: api.put("pods", "p", status=ENDED)
    assert list(follow_log(cluster, pod)) == LINES


def test_container_that_has_not_started_is_waited_for(api: ApiServer, cluster: Cluster, time: Time, pod: str) -> None:
    api.put("pods", "p", status={"phase": "Pending", "containerStatuses": None})
    api.faults += [Fault(resource="pods/log", status=400, message="waiting to start: ContainerCreating")] * 3
    time.at_sleep = lambda: len(time.pauses) == 3 and api.put("pods", "p", status=ENDED)
    assert list(follow_log(cluster, pod)) == LINES


def test_log_of_a_deleted_pod_ends(api: ApiServer, cluster: Cluster, time: Time, pod: str) -> None:
    api.put("pods", "p", status=RUNNING)
    time.at_sleep = lambda: api.remove("pods", "p")
    assert list(follow_log(cluster, pod)) == LINES
    assert list(follow_log(cluster, "never there")) == []


def test_following_a_log_stops_on_request(api: ApiServer, cluster: Cluster, pod: str) -> None:
    seen: list[str] = []
    for line in follow_log(cluster, pod, stop=lambda: len(seen) == 2):
        seen.append(line)
    assert seen == LINES[:2]


def test_node_failure_is_not_taken_for_an_api_server_failure(
    api: ApiServer, cluster: Cluster, pod: str, told: list[str]
) -> None:
    api.faults += [Fault(resource="pods/log", status=502, message="dial tcp: connection refused")] * 2
    assert list(follow_log(cluster, pod)) == LINES
    assert told == []


def test_log_on_a_lost_node_is_abandoned_soon(api: ApiServer, cluster: Cluster, time: Time, pod: str) -> None:
    api.faults += [Fault(resource="pods/log", status=500, message="no route to host")] * 100
    with pytest.raises(ClusterError, match="no route to host"):
        list(follow_log(cluster, pod))
    assert sum(time.pauses) <= 30


def test_missing_right_to_logs_is_named(api: ApiServer, cluster: Cluster, pod: str) -> None:
    api.faults.append(Fault(resource="pods/log", status=403))
    with pytest.raises(ForbiddenError, match="no right to get pods/log in the namespace lab"):
        list(follow_log(cluster, pod))


def test_silent_connection_is_reopened(cluster: Cluster) -> None:
    """A connection that a load balancer has forgotten never ends by itself."""
    silent = socket.create_server(("127.0.0.1", 0))
    opened = []
    thread = threading.Thread(target=lambda: opened.append(silent.accept()))
    thread.start()
    configuration = client.Configuration()
    configuration.host = f"http://127.0.0.1:{silent.getsockname()[1]}"
    deaf = replace(cluster, api=client.ApiClient(configuration))
    with pytest.raises(TryAgain):
        list(stream(Patience(deaf, "get", "pods/log"), "/x", {}, read_seconds=0.1))
    thread.join()
    opened[0][0].close()
    silent.close()


def test_last_lines_explain_a_failure_and_never_hide_it(api: ApiServer, cluster: Cluster, pod: str) -> None:
    assert tail_log(cluster, pod, "main", 3)[-1].endswith("é")
    assert api.requests[-1].query == {"tailLines": "3", "container": "main"}
    assert tail_log(cluster, "gone") == []
    api.faults.append(Fault(resource="pods/log", status=400))
    assert tail_log(cluster, pod) == []
    api.faults += [Fault(resource="pods/log", status=500, message="no route to host")] * 100
    assert "no route to host" in tail_log(cluster, pod)[0]
