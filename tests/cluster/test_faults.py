"""Faults during a run: the right outcome, and no objects of the run left."""

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.commands import run as command
from tests.cluster.lab import Lab
from tests.cluster.pods import claim
from tests.cluster.processes import kill_processes
from tests.cluster.proxy import ApiProxy, Fault
from tests.cluster.runs import Run, assert_nothing_left, names
from tests.cluster.settings import GPU, GPUS, PATIENCE


def ran(folder: Path, name: str) -> int:
    """How often the task that writes this file has started."""
    return len((folder / name).read_text().splitlines())


def let_go(folder: Path) -> None:
    (folder / "go").touch()


def pod_of(lab: Lab, run_id: str, task: str) -> str:
    """The name of a task's pod that is there now."""
    (name,) = names(lab.cluster, lab.namespace, "pods", f"{run_id}-{task}")
    return name.removeprefix("pod/")


def assert_succeeded(lab: Lab, run: Run, seconds: float = PATIENCE) -> None:
    assert run.wait(seconds) == 0, run.output[-4000:]
    record = run.record()
    assert record["run.json"]["state"] == "SUCCEEDED"
    assert_nothing_left(lab.cluster, lab.namespace, run.run_id)


def assert_failed(lab: Lab, run: Run, *told: str, seconds: float = PATIENCE) -> None:
    assert run.wait(seconds) == 1, run.output[-4000:]
    for text in told:
        assert text in run.output, run.output[-4000:]
    assert_nothing_left(lab.cluster, lab.namespace, run.run_id)


FAULTS = {
    "watches are dropped": [Fault("watch", lines=1, times=8)],
    "watches end with 410": [Fault("watch", lines=1, gone=True, times=8)],
    "watches are refused with 410": [Fault("watch", status=410, times=8)],
    "429 says when to come again": [Fault(status=429, retry_after=1, times=6)],
    "the server fails with 500": [Fault(status=500, times=4)],
    # One that has never answered is given 20 s: more likely it is the wrong one.
    "connections are reset": [Fault(times=4)],
    "logs break off": [Fault("get", "pods/log", lines=1, times=4)],
}


@pytest.fixture(scope="module")
def troubled(lab: Lab) -> Iterator[dict[str, tuple[Run, ApiProxy]]]:
    """A run for each fault, all at once, each through a proxy of its own."""
    with ExitStack() as stack:
        found = {}
        for number, (name, faults) in enumerate(FAULTS.items()):
            proxy = stack.enter_context(lab.new_proxy())
            proxy.faults = faults
            found[name] = (lab.start("short", f"trouble-{number}", proxy=proxy), proxy)
        yield found


@pytest.mark.parametrize("fault", FAULTS)
def test_run_survives_a_fault(lab: Lab, troubled: dict[str, tuple[Run, ApiProxy]], fault: str) -> None:
    run, proxy = troubled[fault]
    assert_succeeded(lab, run)
    assert all(one.met == one.times for one in proxy.faults), proxy.faults
    assert "noted first" in run.task_log("note")


@pytest.fixture(scope="module")
def runs(lab: Lab) -> dict[str, Run]:
    """Runs that nothing has to happen before, all at once: most of their time they wait for pods."""
    lab.cluster.kubectl("create", "secret", "generic", "half", "--from-literal=other=x", "-n", lab.namespace)
    lab.cluster.apply(claim(lab.namespace, "ilab-other-size", lab.cluster.storage_class, "2Gi"))
    moon, soon = lab.changed_overlay(nodeSelector={"moon": "full"}), "--pending-timeout=10s"
    return {
        "killed": lab.start("held", "killed"),
        "interrupted": lab.start("held", "interrupted"),
        "evicted": lab.start("held", "evicted"),
        "shot": lab.start("held", "shot"),
        "failing": lab.start("failing", "failing"),
        "keyless": lab.start("secretive", "keyless", secret="half", key="api_token"),
        "unscheduled": lab.start("short", "unscheduled", soon, "--pod-overlay", str(moon)),
        "unbound": lab.start("short", "unbound", storage_class="no-such-class"),
        "other-size": lab.start("short", "other-size"),
    }


def test_restarted_walker_reattaches_to_running_jobs(lab: Lab, runs: dict[str, Run]) -> None:
    run = runs["killed"]
    folder = run.until_held()
    before = pod_of(lab, "killed", "hold")
    run.kill()
    again = run.again()
    again.until("attached", lambda: "RUNNING" in again.output.rpartition("hold")[2])
    assert pod_of(lab, "killed", "hold") == before
    assert (ran(folder, "first"), ran(folder, "held")) == (1, 1)
    let_go(folder)
    assert_succeeded(lab, again)
    log = [line for line in again.task_log("hold").splitlines() if line.startswith("line")]
    assert log and log == [f"line {number}" for number in range(1, len(log) + 1)]


def test_interrupted_walker_deletes_its_jobs_and_resumes_when_restarted(lab: Lab, runs: dict[str, Run]) -> None:
    run = runs["interrupted"]
    folder = run.until_held()
    run.interrupt()
    assert run.wait() == 130, run.output[-4000:]
    assert names(lab.cluster, lab.namespace, "jobs,pods", "interrupted") == []
    assert run.record()["run.json"]["state"] == "CANCELED"
    again = run.again()
    again.until("second try", lambda: ran(folder, "held") == 2)
    let_go(folder)
    assert_succeeded(lab, again)
    assert "noted last after first" in again.task_log("note-2")


def test_evicted_pod_is_replaced(lab: Lab, runs: dict[str, Run]) -> None:
    run = runs["evicted"]
    folder = run.until_held()
    pod = pod_of(lab, "evicted", "hold")
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": lab.namespace}}
    path = f"/api/v1/namespaces/{lab.namespace}/pods/{pod}/eviction"
    lab.cluster.kubectl("create", "--raw", path, "-f", "-", text_in=json.dumps(eviction))
    run.until("second pod", lambda: ran(folder, "held") == 2)
    let_go(folder)
    assert_succeeded(lab, run)


def test_failed_task_stops_the_others_and_shows_its_last_lines(lab: Lab, runs: dict[str, Run]) -> None:
    run = runs["failing"]
    assert_failed(lab, run, "the tide is out", "wait six hours")
    states = {key.rpartition(".")[0].rpartition(".")[2]: one.get("state") for key, one in run.record().items()}
    assert states["fail"] == "FAILED"
    assert states["clean-up"] == "SUCCEEDED"


def test_failed_run_is_not_repeated(lab: Lab, runs: dict[str, Run]) -> None:
    runs["failing"].wait()
    again = runs["failing"].again()
    assert again.wait() == 1
    assert "start a new run" in again.output
    assert names(lab.cluster, lab.namespace, "jobs", "failing") == []
    assert "RUNNING" not in again.output


def test_task_without_a_node_fails_at_the_pending_deadline_with_the_schedulers_message(
    lab: Lab, runs: dict[str, Run]
) -> None:
    assert_failed(lab, runs["unscheduled"], "didn't match Pod's node affinity/selector")


def test_claim_of_a_missing_storage_class_fails_within_a_minute_and_says_so(lab: Lab, runs: dict[str, Run]) -> None:
    assert_failed(lab, runs["unbound"], "was not bound within 60 s", '"no-such-class" not found')


def test_crashed_process_fails_its_task(lab: Lab, runs: dict[str, Run]) -> None:
    run = runs["shot"]
    run.until_held()
    kill_processes(pod_of(lab, "shot", "hold"))
    assert_failed(lab, run, "137")


def start_training(lab: Lab, run_id: str, files: Path, **parameters: Any) -> Run:
    """A run that has come to its training."""
    run = lab.start("training", run_id, **parameters)
    folder = run.until_held()
    # Pods run as another user than this process, and the folder gets the rights of the copied one.
    command(["chmod", "-R", "a+rwX", files])
    shutil.copytree(files, folder, dirs_exist_ok=True)
    command(["chmod", "-R", "a+rwX", folder])
    let_go(folder)
    return run


def test_unschedulable_pytorchjob_fails_at_its_deadline_with_the_schedulers_message(lab: Lab, processed: Path) -> None:
    run = start_training(lab, "too-many-gpus", processed, gpus=GPUS + 1, pending_timeout="10s")
    assert_failed(lab, run, f"Insufficient {GPU}", "did not start in 10 s")


def test_secret_without_a_key_fails_its_task_with_the_keys_name(lab: Lab, runs: dict[str, Run]) -> None:
    assert_failed(lab, runs["keyless"], "the Secret has no key api_token")


def test_claim_of_another_size_is_refused_with_the_difference(lab: Lab, runs: dict[str, Run]) -> None:
    run = runs["other-size"]
    assert run.wait() == 1, run.output[-4000:]
    assert "2Gi" in run.output
    lab.cluster.kubectl("delete", "pvc", "ilab-other-size", "-n", lab.namespace, "--ignore-not-found")


@pytest.mark.alone
def test_run_survives_a_restart_of_the_api_server(lab: Lab) -> None:
    run = lab.start("held", "restarted")
    folder = run.until_held()
    lab.cluster.restart_apiserver()
    assert run.process.poll() is None, run.output[-4000:]
    let_go(folder)
    assert_succeeded(lab, run)
