"""A watch reports every change once, whatever interrupts it."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.fakes.api_server import ApiServer, Fault, Time
from utils.cluster.cluster import Cluster
from utils.cluster.errors import ClusterError, ForbiddenError, MissingKindError
from utils.cluster.kinds import POD, PYTORCH_JOB
from utils.cluster.watch import watch

Told = tuple[str, str, str]


def told(changes: Iterator[tuple[str, dict]], syncs: int = 1) -> list[Told]:
    """What comes until so many SYNCs: change, name and phase."""
    found = []
    for change, item in changes:
        if change == "SYNC":
            syncs -= 1
            if not syncs:
                break
        else:
            found.append((change, item["metadata"]["name"], item.get("phase", "")))
    return found


def test_watch_lists_then_reports_changes(api: ApiServer, cluster: Cluster) -> None:
    api.put("pods", "a", phase="Pending")
    api.put("pods", "other", metadata={"labels": {"run": "no"}})
    api.put("pods", "a", metadata={"labels": {"run": "r"}})
    changes = watch(cluster, POD, "run=r")
    assert told(changes) == [("ADDED", "a", "Pending")]
    api.put("pods", "a", phase="Running")
    api.put("pods", "b", metadata={"labels": {"run": "r"}})
    api.remove("pods", "a")
    assert told(changes) == [("MODIFIED", "a", "Running"), ("ADDED", "b", ""), ("DELETED", "a", "Running")]
    assert told(changes) == []


def test_watch_stops_on_request(api: ApiServer, cluster: Cluster) -> None:
    api.put("pods", "a")
    seen: list[str] = []
    for change, _ in watch(cluster, POD, stop=lambda: len(seen) >= 3):
        seen.append(change)
    assert seen == ["ADDED", "SYNC", "SYNC"]


def test_watch_stops_between_two_changes(api: ApiServer, cluster: Cluster) -> None:
    stopped: list[bool] = []
    changes = watch(cluster, POD, stop=lambda: bool(stopped))
    told(changes)
    api.put("pods", "a")
    api.put("pods", "b")
    assert next(changes)[1]["metadata"]["name"] == "a"
    stopped.append(True)
    assert list(changes) == []


@pytest.mark.parametrize("lines", [0, 1, 2])
def test_dropped_watch_resumes_without_gap_or_repeat(api: ApiServer, cluster: Cluster, lines: int) -> None:
    changes = watch(cluster, POD)
    told(changes)
    for number in range(3):
        api.put("pods", f"p{number}")
    api.faults.append(Fault("watch", lines=lines))
    assert told(changes) == [("ADDED", f"p{number}", "") for number in range(3)]
    assert api.asked().count("list pods") == 1


@pytest.mark.parametrize(
    "fault",
    [Fault("watch"), Fault("watch", status=429, headers={"Retry-After": "7"}), Fault("watch", status=500)],
    ids=["refused", "429", "500"],
)
def test_temporarily_refused_watch_is_retried(api: ApiServer, cluster: Cluster, time: Time, fault: Fault) -> None:
    changes = watch(cluster, POD)
    told(changes)
    api.put("pods", "a")
    api.faults.append(fault)
    assert told(changes) == [("ADDED", "a", "")]
    assert time.pauses == [7.0 if fault.status == 429 else 0.5]


def test_sync_is_not_reported_while_changes_may_be_missing(api: ApiServer, cluster: Cluster) -> None:
    changes = watch(cluster, POD)
    told(changes)
    api.put("pods", "a")
    api.faults += [Fault("watch", status=503)] * 2
    assert next(changes)[0] == "ADDED"


@pytest.mark.parametrize("as_status", [True, False], ids=["refused", "in the stream"])
def test_expired_watch_lists_again_and_reports_what_it_missed(
    api: ApiServer, cluster: Cluster, as_status: bool
) -> None:
    for name in ("gone", "same", "changed"):
        api.put("pods", name, phase="Pending")
    changes = watch(cluster, POD)
    told(changes)
    api.remove("pods", "gone")
    api.put("pods", "changed", phase="Running")
    api.put("pods", "new")
    if as_status:
        api.faults.append(Fault("watch", status=410))
    else:
        api.forget()
    assert told(changes) == [("DELETED", "gone", "Pending"), ("MODIFIED", "changed", "Running"), ("ADDED", "new", "")]
    assert api.asked().count("list pods") == 2


def test_pod_recreated_under_the_same_name_in_a_gap_is_a_new_pod(api: ApiServer, cluster: Cluster) -> None:
    api.put("pods", "a", phase="Failed")
    changes = watch(cluster, POD)
    told(changes)
    api.remove("pods", "a")
    api.put("pods", "a", phase="Pending")
    api.forget()
    assert told(changes) == [("DELETED", "a", "Failed"), ("ADDED", "a", "Pending")]


def test_api_server_restart_loses_no_change(api: ApiServer, cluster: Cluster) -> None:
    api.put("pods", "a", phase="Pending")
    changes = watch(cluster, POD)
    told(changes)
    api.put("pods", "a", phase="Running")
    # The stream drops, nothing listens, the server starts and has not loaded its roles, then its history is gone.
    api.faults += [Fault("watch", lines=0), *[Fault()] * 4, Fault(status=403), Fault(status=503)]
    api.forget()
    assert told(changes) == [("MODIFIED", "a", "Running")]


def test_watch_that_never_gets_through_a_proxy_falls_back_to_lists(api: ApiServer, cluster: Cluster) -> None:
    changes = watch(cluster, POD)
    told(changes)
    api.put("pods", "a")
    api.faults += [Fault("watch", lines=0)] * 3
    assert told(changes) == [("ADDED", "a", "")]
    assert api.asked().count("list pods") == 2


def test_watch_gives_up_when_patience_ends(api: ApiServer, cluster: Cluster, time: Time) -> None:
    changes = watch(replace(cluster, patience=100.0), POD)
    told(changes)
    api.faults += [Fault()] * 100
    with pytest.raises(ClusterError, match="within 100 s"):
        told(changes)
    assert sum(time.pauses) <= 200


@pytest.mark.parametrize("verb", ["list", "watch"])
def test_missing_right_ends_the_watch_with_its_verb(api: ApiServer, cluster: Cluster, verb: str) -> None:
    api.faults.append(Fault(verb, status=403))
    with pytest.raises(ForbiddenError, match=f"no right to {verb} pods in the namespace lab"):
        told(watch(cluster, POD), 9)


def test_unknown_kind_ends_the_watch(cluster: Cluster) -> None:
    with pytest.raises(MissingKindError):
        told(watch(cluster, PYTORCH_JOB))


def test_watch_that_always_ends_at_once_falls_back_to_occasional_lists(
    api: ApiServer, cluster: Cluster, time: Time
) -> None:
    changes = watch(replace(cluster, watch_seconds=5), POD)
    told(changes)
    api.put("pods", "a")
    api.faults += [Fault("watch", lines=0, clean=True)] * 3
    assert told(changes, syncs=4) == [("ADDED", "a", "")]
    assert api.asked().count("watch pods") == 3
    assert sum(time.pauses) == 3
