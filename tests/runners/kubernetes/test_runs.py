"""Runs on a cluster: results, failures, deadlines, interrupts."""

import os
import signal

import pytest

from tests.fakes.node import Act, values
from tests.runners.kubernetes.conftest import Lab
from tests.runners.kubernetes.pipelines import beside, files, limited, tried, tried_once, two
from utils.errors import PipelineError
from utils.ir.model import Event, TaskState
from utils.names import ATTEMPT_LABEL


def command(lab: Lab, task: str) -> str:
    return " ".join(lab.node.manifest(task)["spec"]["template"]["spec"]["containers"][0]["command"])


def test_values_reach_the_next_task_and_only_the_record_is_left(lab: Lab) -> None:
    lab.node.play("make", Act(values(Output=7), ("begins", "progress: 1/2 things", "at work")))
    result = lab.run(two, arguments={"n": 5})
    assert (result.state, result.error, result.earlier) == (TaskState.SUCCEEDED, "", False)
    assert '"n": 7' in command(lab, "take")
    record = lab.record()
    assert record["run.json"]["state"] == "SUCCEEDED"
    assert record["run.json"]["arguments"] == {"n": 5}
    assert record["task.make.json"]["outputs"]["parameters"] == {"Output": 7}
    assert lab.left() == []
    assert "at work" in result.folder.log("make").read_text()
    assert any(event.progress == (1, 2, "things") for event in lab.events)
    assert [event.message for event in lab.events if event.message] == ["begins", "at work"]


def test_failure_reports_the_containers_last_lines_and_stops_parallel_tasks(lab: Lab) -> None:
    lab.node.play("make", Act(lines=("starting", "error: no water", "  cause: the tide"), exit_code=1))
    lab.node.play("take", Act(holds=True))
    result = lab.run(beside)
    assert result.state is TaskState.FAILED
    assert "no water" in result.error
    assert lab.message("exit-handler-1/make") == "no water\n  cause: the tide"
    assert lab.message("exit-handler-1/take") == "stopped"
    assert '"state": "FAILED"' in command(lab, "after")
    assert lab.left() == []
    assert lab.record()["run.json"]["state"] == "FAILED"


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (Act(exit_code=137, reason="OOMKilled", lines=("loading",)), ["more memory than its limit", "    loading"]),
        (Act(exit_code=3, lines=("one", "two")), ["ended with exit code 3", "    one", "    two"]),
        (Act(message="last words", exit_code=2), ["ended with exit code 2", "    last words"]),
        (
            Act(sidecar="proxy", exit_code=4, lines=("no port",)),
            ["proxy ended with exit code 4", "    no port"],
        ),
    ],
)
def test_reason_why_a_container_ended_comes_first(lab: Lab, act: Act, expected: list[str]) -> None:
    lab.node.play("take", act)
    lab.node.play("make", Act(values(Output=1)))
    lab.run(two)
    lines = lab.message("take").splitlines()
    assert expected[0] in lines[0]
    assert [line for line in lines if line in expected] == expected[1:]


def test_failed_job_whose_pod_is_gone_tells_its_own_reason(lab: Lab) -> None:
    lab.node.play("take", Act(exit_code=1, lost=True))
    assert lab.run(tried_once).error.endswith("failed: as played")


def test_each_attempt_is_a_job_and_all_share_a_log(lab: Lab) -> None:
    play = lab.node.play("take", Act(exit_code=1, lines=("first",)), Act(lines=("second",)))
    result = lab.run(tried)
    assert result.state is TaskState.SUCCEEDED
    assert play.made == 2
    assert lab.node.manifest("take")["metadata"]["labels"][ATTEMPT_LABEL] == "1"
    log = result.folder.log("take").read_text()
    assert "first" in log or "second" in log


def test_failure_whose_cause_the_stage_knows_is_not_repeated(lab: Lab) -> None:
    told = Act(exit_code=1, lines=("error: no teacher", "  cause: HTTP 401", "  next: correct its Secret"))
    play = lab.node.play("take", told, Act())
    assert lab.run(tried).state is TaskState.FAILED
    assert play.made == 1


def test_container_that_ran_out_of_memory_is_tried_again_whatever_it_said(lab: Lab) -> None:
    lines = ("error: a checkpoint is missing", "  cause: c", "  next: n", "more")
    play = lab.node.play("take", Act(exit_code=137, reason="OOMKilled", lines=lines), Act())
    assert lab.run(tried).state is TaskState.SUCCEEDED
    assert play.made == 2


def test_a_pod_that_was_evicted_is_followed_in_its_replacement(lab: Lab) -> None:
    lab.node.play("make", Act(evicted=True), Act(values(Output=3), lines=("again",)))
    result = lab.run(two)
    assert result.state is TaskState.SUCCEEDED
    assert "again" in result.folder.log("make").read_text()


def test_pod_that_cannot_start_fails_at_its_deadline_with_the_schedulers_message(lab: Lab) -> None:
    lab.node.play("make", Act(waits="0/3 nodes are available: 3 Insufficient nvidia.com/gpu"))
    result = lab.run(two, settings={"pending_seconds": 1.0})
    assert result.state is TaskState.FAILED
    waiting = [event.message for event in lab.events if event.state is TaskState.PENDING and event.message]
    assert waiting == ["unschedulable: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu"]
    assert lab.message("make").startswith("make did not start in 1 s: unschedulable: 0/3 nodes")
    assert lab.message("make").endswith("\n  next: correct that, or raise --pending-timeout")
    assert lab.left() == []


def test_evicted_pod_that_is_not_replaced_fails_at_the_pending_deadline(lab: Lab) -> None:
    lab.node.play("take", Act(holds=True))

    def take_away(event: Event) -> None:
        if event.state is TaskState.RUNNING and lab.node.objects["pods"]:
            pod = next(iter(lab.node.objects["pods"]))
            lab.node.remove("pods", pod)

    lab.on_event = take_away
    result = lab.run(limited, settings={"pending_seconds": 0.5})
    assert "take did not start in 0.5 s" in result.error
    assert "its pod is gone; another one is waited for" in [event.message for event in lab.events]
    assert lab.left() == []


def test_running_deadline_is_separate_from_the_pending_deadline(lab: Lab) -> None:
    lab.node.play("take", Act(holds=True))
    result = lab.run(limited)
    assert "take ran longer than the 1 s it has" in result.error
    assert lab.left() == []


def test_interrupt_deletes_jobs_without_an_exit_task_and_the_run_can_be_resumed(lab: Lab) -> None:
    lab.node.play("make", Act(values(Output=1)))
    lab.node.play("take", Act(holds=True), Act())

    def interrupt(event: Event) -> None:
        if TaskState.SUCCEEDED in lab.states("exit-handler-1/make") and "take" in lab.node.created():
            lab.on_event = lambda event: None
            os.kill(os.getpid(), signal.SIGTERM)

    lab.on_event = interrupt
    result = lab.run(beside)
    assert (result.state, result.error) == (TaskState.CANCELED, "interrupted")
    assert "after" not in lab.node.created()
    assert lab.left() == []
    assert lab.record()["run.json"]["state"] == "CANCELED"
    assert lab.run(beside).state is TaskState.SUCCEEDED
    assert lab.node.created().count("make") == 1


def test_a_job_that_someone_deletes_fails_its_task(lab: Lab) -> None:
    lab.node.play("take", Act(holds=True))

    def delete(event: Event) -> None:
        if event.message == "" and lab.node.objects["pods"]:
            for name in list(lab.node.objects["jobs"]):
                lab.node.remove("jobs", name)

    lab.on_event = delete
    result = lab.run(tried_once)
    assert "someone else deleted it" in result.error


def test_a_long_error_is_cut_to_fit_the_record(lab: Lab) -> None:
    lab.node.play("take", Act(exit_code=1, lines=("\u00e9" * 60000,)))
    result = lab.run(tried_once)
    assert len(result.error) > 50000
    assert len(lab.record()["run.json"]["error"]) == 2000


def test_values_that_travel_as_files_are_refused_by_name_before_anything_starts(lab: Lab) -> None:
    with pytest.raises(PipelineError, match="hands over values") as refused:
        lab.run(files)
    assert "comp-to-file: its output parameter text is a file" in refused.value.cause
    assert "comp-copies: its container writes 2 output parameters, a, b" in refused.value.cause
    assert lab.node.objects["configmaps"] == {}
