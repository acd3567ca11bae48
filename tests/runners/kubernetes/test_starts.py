"""Starts on a cluster of a run that already exists: what is repeated, what is kept, what is refused."""

import pytest

from tests.fakes.api_server import Fault
from tests.fakes.node import Act, values
from tests.runners.kubernetes.conftest import Lab
from tests.runners.kubernetes.pipelines import alone, beside, mounted, tried, tried_once, two
from utils.errors import UsageError
from utils.ir.model import Event, TaskState
from utils.names import RUN_LABEL, TASK_LABEL


def test_a_run_that_succeeded_is_not_repeated(lab: Lab) -> None:
    lab.node.play("make", Act(values(Output=7)))
    lab.run(two)
    asked = len(lab.node.created())
    result = lab.run(two)
    assert (result.state, result.earlier) == (TaskState.SUCCEEDED, True)
    assert result.tasks["make"].parameters == {"Output": 7}
    assert len(lab.node.created()) == asked


def test_a_run_that_failed_is_repeated_only_by_resume_and_only_what_failed(lab: Lab) -> None:
    lab.node.play("make", Act(values(Output=7)))
    lab.node.play("take", Act(exit_code=1, lines=("ValueError",)), Act())
    assert lab.run(two).state is TaskState.FAILED
    again = lab.run(two)
    assert (again.state, again.earlier) == (TaskState.FAILED, True)
    assert lab.message("take").startswith("container main ended")
    assert lab.node.created() == ["make", "take"]
    assert lab.run(two, resume=True).state is TaskState.SUCCEEDED
    assert lab.node.created() == ["make", "take", "take"]
    assert lab.message("make") == "finished earlier"


def test_after_a_kill_a_job_that_has_ended_is_not_run_again(lab: Lab) -> None:
    lab.node.play("make", Act(values(Output=7)))
    lab.run(two, keep_jobs=True)
    lab.change_record(state="RUNNING", forget=("task.make.json", "task.take.json"))
    result = lab.run(two)
    assert (result.state, result.earlier) == (TaskState.SUCCEEDED, False)
    assert lab.node.plays["make"].made == lab.node.plays["take"].made == 1
    assert lab.left() == []


def test_result_lost_with_its_pod_is_made_again(lab: Lab) -> None:
    play = lab.node.play("make", Act(values(Output=7), lost=True), Act(values(Output=8)))
    assert lab.run(two).tasks["make"].parameters == {"Output": 8}
    assert play.made == 2


def test_job_running_with_another_configuration_is_refused(lab: Lab) -> None:
    lab.node.play("make", Act(holds=True))
    overlay = {"spec": {"priorityClassName": "high"}}

    def interrupt(event: Event) -> None:
        """The process ends, its Job stays: the state a kill leaves."""
        if event.state is TaskState.RUNNING:
            raise SystemExit("killed")

    lab.on_event = interrupt
    with pytest.raises(SystemExit):
        lab.run(two)
    lab.on_event = lambda event: None
    job = lab.node.created()
    assert job == []  # killed before the Job was made
    other = {"name": "other", "labels": {RUN_LABEL: "r1", TASK_LABEL: "make"}}
    lab.node.put("jobs", "other", metadata=other, kind="Job", spec={"template": {"spec": {"containers": []}}})
    result = lab.run(two, settings={"overlay": overlay})
    assert result.state is TaskState.FAILED
    assert "the Job other runs make already, and not as it is wanted now" in result.error
    assert lab.message("make").endswith("delete job other")
    assert "priorityClassName" in result.error


def test_run_that_another_process_makes_at_the_same_time_is_continued(lab: Lab) -> None:
    lab.run(tried_once)
    absent = {"reason": "NotFound", "details": {"name": "ilab-r1"}}  # before the other one has made it
    lab.node.faults.append(Fault("get", "configmaps", 404, body=absent))
    assert lab.run(tried_once).earlier


def test_another_run_of_the_same_id_is_refused_with_what_differs(lab: Lab) -> None:
    lab.node.play("make", Act(values(Output=1)))
    lab.run(two)
    with pytest.raises(UsageError, match="is another one") as refused:
        lab.run(two, arguments={"n": 2})
    assert refused.value.cause == "n: 'not given', now 2"
    lab.run(two, "r2", arguments={"n": 2})
    with pytest.raises(UsageError, match="is another one") as refused:
        lab.run(two, "r2")
    assert refused.value.cause == "n: 2, now 'not given'"
    with pytest.raises(UsageError, match="is another one") as refused:
        lab.run(tried)
    assert "another pipeline file" in refused.value.cause


def interrupt(event: Event) -> None:
    """The process ends when it is about to make its first Job: the state a kill leaves."""
    raise SystemExit("killed")


def test_part_of_a_run_starts_on_the_same_volume_however_an_earlier_part_ended(lab: Lab) -> None:
    lab.node.play("make", Act(values(Output=1)))
    skip = frozenset({"exit-handler-1/take"})
    for _ in range(2):
        result = lab.run(beside, skip=skip)
        assert (result.state, result.earlier) == (TaskState.SUCCEEDED, False)
    assert lab.node.created() == ["make", "after"] * 2
    lab.run(beside)
    assert lab.node.created()[4:] in (["make", "take", "after"], ["take", "make", "after"])
    record = lab.record()
    assert record["run.json"]["skip"] == []
    assert record["task.exit-handler-1.take.json"]["state"] == "SUCCEEDED"
    assert lab.run(tried_once, "r2").state is TaskState.SUCCEEDED
    lab.node.play("take", Act(holds=True))
    lab.on_event = interrupt
    with pytest.raises(SystemExit):
        lab.run(tried_once, "r2", skip=frozenset({"other"}))
    assert "task.take.json" not in lab.record("r2")  # it runs again from the start


def test_kept_jobs_are_not_results_of_the_next_start(lab: Lab) -> None:
    made = lab.node.play("make", Act(values(Output=1)))
    for _ in range(2):
        lab.run(beside, skip=frozenset({"exit-handler-1/take"}), keep_jobs=True)
    assert made.made == 2
    lab.node.play("take", Act(exit_code=1))
    cleaned = lab.node.play("after", Act())
    for resume in (False, True):
        lab.run(beside, "r2", keep_jobs=True, resume=resume)
    assert cleaned.made == 2  # the clean-up of the first end is none of the second


def test_start_that_fails_before_its_first_task_can_be_repeated_with_other_settings(lab: Lab) -> None:
    lab.node.play("take", Act())
    part = frozenset({"make"})
    assert lab.run(alone, skip=part).state is TaskState.SUCCEEDED
    with pytest.raises(UsageError, match="don't fit"):
        lab.run(alone, arguments={"n": "many"}, skip=part)
    assert lab.record()["run.json"]["state"] == "CANCELED"
    assert lab.run(alone, arguments={"n": 3}, skip=part).state is TaskState.SUCCEEDED
    assert lab.node.created() == ["take", "take"]


def test_the_folder_keeps_the_pipeline_of_the_last_start(lab: Lab) -> None:
    lab.run(tried_once)
    lab.node.remove("configmaps", "ilab-r1")
    result = lab.run(alone)
    assert "name: alone" in result.folder.package.read_text()


def test_a_resume_without_the_volume_is_refused(lab: Lab) -> None:
    lab.node.play("take-2", Act(exit_code=1))
    assert lab.run(mounted).state is TaskState.FAILED
    assert lab.left() == ["persistentvolumeclaims/c"]
    lab.node.remove("persistentvolumeclaims", "c")
    with pytest.raises(UsageError, match="its volume c is gone"):
        lab.run(mounted, resume=True)
