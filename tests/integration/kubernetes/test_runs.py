"""Runs on a cluster: results, failures, deadlines, interrupts, and starts of a run that is there."""

import os
import signal
import threading
from typing import Any

import pytest
from kfp import dsl, kubernetes

from tests.integration.cluster_api.api_server import Fault
from tests.integration.kubernetes.conftest import Lab, values
from tests.integration.kubernetes.node import Act
from tests.unit.ir.memory_runner import component
from utils.cluster import ConflictError, ForbiddenError
from utils.errors import IlabError, PipelineError, UsageError
from utils.ir.model import Event, TaskState


@component
def make(n: int) -> int:
    return n


@component
def take(n: int):
    pass


@component
def after(status: dsl.PipelineTaskFinalStatus):
    pass


@dsl.pipeline(name="two")
def two(n: int = 1):
    take(n=make(n=n).output)


@dsl.pipeline(name="beside")
def beside():
    with dsl.ExitHandler(after()):
        make(n=1)
        take(n=2)


@dsl.pipeline(name="tried")
def tried():
    take(n=1).set_retry(2, backoff_duration="0s")


@dsl.pipeline(name="mounted")
def mounted():
    claim = kubernetes.CreatePVC(pvc_name="c", access_modes=["ReadWriteMany"], size="1Gi", storage_class_name="")
    task = take(n=1)
    kubernetes.mount_pvc(task, claim.outputs["name"], "/data")
    take(n=2).after(task)


@dsl.pipeline(name="limited")
def limited():
    kubernetes.set_timeout(take(n=1), 1)


def command(lab: Lab, task: str) -> str:
    return " ".join(lab.node.manifest(task)["spec"]["template"]["spec"]["containers"][0]["command"])


def test_values_reach_the_next_task_and_nothing_but_the_record_is_left(lab: Lab) -> None:
    lab.node.play("make", Act(values(Output=7), ("progress: 1/2 things", "at work")))
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


def test_a_failure_tells_the_containers_last_lines_and_stops_what_runs_beside(lab: Lab) -> None:
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
    ],
)
def test_why_a_container_ended_comes_first(lab: Lab, act: Act, expected: list[str]) -> None:
    lab.node.play("take", act)
    lab.node.play("make", Act(values(Output=1)))
    lab.run(two)
    lines = lab.message("take").splitlines()
    assert expected[0] in lines[0]
    assert [line for line in lines if line in expected] == expected[1:]


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
    assert lab.run(two, settings={"resume": True}).state is TaskState.SUCCEEDED
    assert lab.node.created() == ["make", "take", "take"]
    assert lab.message("make") == "finished earlier"


def test_after_a_kill_a_job_that_has_ended_is_not_run_again(lab: Lab) -> None:
    lab.node.play("make", Act(values(Output=7)))
    lab.run(two, settings={"keep_jobs": True})
    lab.change_record(state="RUNNING", forget=("task.make.json", "task.take.json"))
    result = lab.run(two)
    assert (result.state, result.earlier) == (TaskState.SUCCEEDED, False)
    assert lab.node.plays["make"].made == lab.node.plays["take"].made == 1
    assert lab.left() == []


def test_a_result_that_went_with_its_pod_is_made_again(lab: Lab) -> None:
    play = lab.node.play("make", Act(values(Output=7), lost=True), Act(values(Output=8)))
    assert lab.run(two).tasks["make"].parameters == {"Output": 8}
    assert play.made == 2


def test_a_job_that_goes_on_with_another_configuration_is_refused(lab: Lab) -> None:
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
    other = {"name": "other", "labels": {"ilab-pipeline/run": "r1", "ilab-pipeline/task": "make"}}
    lab.node.put("jobs", "other", metadata=other, kind="Job", spec={"template": {"spec": {"containers": []}}})
    result = lab.run(two, settings={"overlay": overlay})
    assert result.state is TaskState.FAILED
    assert "runs make already, and not as it is wanted now" in result.error
    assert "priorityClassName" in result.error


def test_attempts_are_jobs_of_their_own_and_share_a_log(lab: Lab) -> None:
    play = lab.node.play("take", Act(exit_code=1, lines=("first",)), Act(lines=("second",)))
    result = lab.run(tried)
    assert result.state is TaskState.SUCCEEDED
    assert play.made == 2
    assert lab.node.manifest("take")["metadata"]["labels"]["ilab-pipeline/attempt"] == "1"
    log = result.folder.log("take").read_text()
    assert "first" in log or "second" in log


def test_a_pod_that_was_evicted_is_followed_in_its_replacement(lab: Lab) -> None:
    lab.node.play("make", Act(evicted=True), Act(values(Output=3), lines=("again",)))
    result = lab.run(two)
    assert result.state is TaskState.SUCCEEDED
    assert "again" in result.folder.log("make").read_text()


def test_a_pod_that_can_not_start_ends_by_its_deadline_with_the_schedulers_words(lab: Lab) -> None:
    lab.node.play("make", Act(waits="0/3 nodes are available: 3 Insufficient nvidia.com/gpu"))
    result = lab.run(two, settings={"pending_seconds": 1.0})
    assert result.state is TaskState.FAILED
    waiting = [event.message for event in lab.events if event.state is TaskState.PENDING and event.message]
    assert waiting == ["unschedulable: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu"]
    assert lab.message("make").startswith("make did not start in 1 s: unschedulable: 0/3 nodes")
    assert lab.message("make").endswith("\n  next: mend that, or raise --pending-timeout")
    assert lab.left() == []


def test_a_pod_that_is_taken_away_and_not_replaced_ends_by_the_deadline_for_pending(lab: Lab) -> None:
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


def test_the_deadline_for_running_is_another_one(lab: Lab) -> None:
    lab.node.play("take", Act(holds=True))
    result = lab.run(limited)
    assert "take ran longer than the 1 s it has" in result.error
    assert lab.left() == []


def test_an_interrupt_deletes_jobs_runs_no_exit_task_and_the_run_goes_on_later(lab: Lab) -> None:
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


@dsl.pipeline(name="tried-once")
def tried_once():
    take(n=1)


def test_a_run_whose_object_is_deleted_ends(lab: Lab) -> None:
    lab.node.play("take", Act(holds=True))

    def delete(event: Event) -> None:
        if lab.node.objects["pods"] and "ilab-r1" in lab.node.objects["configmaps"]:
            lab.node.remove("configmaps", "ilab-r1")

    lab.on_event = delete
    with pytest.raises(IlabError, match="the run r1 is gone"):
        lab.run(tried_once)
    assert lab.left() == []


def test_another_run_of_the_same_id_is_refused_with_what_differs(lab: Lab) -> None:
    lab.node.play("make", Act(values(Output=1)))
    lab.run(two)
    with pytest.raises(UsageError, match="is another one") as refused:
        lab.run(two, arguments={"n": 2})
    assert refused.value.cause == "n: 'not given', now 2"
    with pytest.raises(UsageError, match="is another one") as refused:
        lab.run(tried)
    assert "another pipeline file" in refused.value.cause


def test_objects_of_others_are_left_alone(lab: Lab) -> None:
    lab.node.put("configmaps", "ilab-r1", data={"a": "b"})
    with pytest.raises(UsageError, match="not a run's"):
        lab.run(two)
    assert lab.node.objects["configmaps"]["ilab-r1"]["data"] == {"a": "b"}


def secret(owner: Any, value: str = "hidden") -> list[dict[str, Any]]:
    metadata = {"name": "ilab-r1-teacher"}
    return [{"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"api_token": value}}]


def test_secrets_made_from_flags_belong_to_the_run_and_go_with_its_end(lab: Lab) -> None:
    seen: list[Any] = []
    lab.node.play("make", Act(values(Output=1)))
    lab.on_event = lambda event: seen.extend(lab.node.objects["secrets"].values())
    lab.run(two, make=secret)
    made = seen[0]["metadata"]
    assert made["labels"]["ilab-pipeline/run"] == "r1"
    uid = lab.node.objects["configmaps"]["ilab-r1"]["metadata"]["uid"]
    assert made["ownerReferences"] == [{"apiVersion": "v1", "kind": "ConfigMap", "name": "ilab-r1", "uid": uid}]
    assert lab.left() == []
    assert "hidden" not in str(lab.record())


def test_a_secret_with_other_values_is_not_taken_for_the_same(lab: Lab) -> None:
    lab.node.play("make", Act(values(Output=1)))
    lab.node.put("secrets", "ilab-r1-teacher", metadata={"labels": {}}, data={"api_token": "b3RoZXI="})
    with pytest.raises(ConflictError, match="is not the one wanted") as refused:
        lab.run(two, make=secret)
    assert "data.api_token: another value" in refused.value.cause
    assert "hidden" not in str(refused.value.render())
    assert lab.node.created() == []


def test_a_part_of_a_run_starts_anew_on_the_same_volume_however_an_earlier_part_ended(lab: Lab) -> None:
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


def test_jobs_that_were_kept_are_no_results_of_the_next_start(lab: Lab) -> None:
    kept = {"keep_jobs": True}
    made = lab.node.play("make", Act(values(Output=1)))
    for _ in range(2):
        lab.run(beside, skip=frozenset({"exit-handler-1/take"}), settings=kept)
    assert made.made == 2
    lab.node.play("take", Act(exit_code=1))
    cleaned = lab.node.play("after", Act())
    for resume in (False, True):
        lab.run(beside, "r2", settings={**kept, "resume": resume})
    assert cleaned.made == 2  # the clean-up of the first end is none of the second


def test_a_start_that_fails_before_its_first_task_can_be_repeated_otherwise(lab: Lab) -> None:
    lab.node.play("take", Act())
    part = frozenset({"make"})
    assert lab.run(alone, skip=part).state is TaskState.SUCCEEDED
    with pytest.raises(UsageError, match="don't fit"):
        lab.run(alone, arguments={"n": "many"}, skip=part)
    assert lab.record()["run.json"]["state"] == "CANCELED"
    assert lab.run(alone, arguments={"n": 3}, skip=part).state is TaskState.SUCCEEDED
    assert lab.node.created() == ["take", "take"]


@dsl.pipeline(name="alone")
def alone(n: int = 1):
    take(n=n)


def test_a_secret_that_was_in_the_way_is_left_alone(lab: Lab) -> None:
    part = frozenset({"make"})
    lab.run(alone, skip=part)
    lab.node.put("secrets", "ilab-r1-teacher", metadata={"labels": {}}, data={"api_token": "b3RoZXI="})
    with pytest.raises(ConflictError, match="is not the one wanted"):
        lab.run(alone, skip=part, make=secret)
    assert lab.left() == ["secrets/ilab-r1-teacher"]


def test_the_folder_keeps_the_pipeline_of_the_last_start(lab: Lab) -> None:
    lab.run(tried_once)
    lab.node.remove("configmaps", "ilab-r1")
    result = lab.run(alone)
    assert "name: alone" in result.folder.package.read_text()


def test_a_long_error_is_cut_to_fit_the_record(lab: Lab) -> None:
    lab.node.play("take", Act(exit_code=1, lines=("\u00e9" * 60000,)))
    result = lab.run(tried_once)
    assert len(result.error) > 50000
    assert len(lab.record()["run.json"]["error"]) == 2000


def test_a_resume_without_the_volume_is_refused(lab: Lab) -> None:
    lab.node.play("take-2", Act(exit_code=1))
    assert lab.run(mounted).state is TaskState.FAILED
    assert lab.left() == ["persistentvolumeclaims/c"]
    lab.node.remove("persistentvolumeclaims", "c")
    with pytest.raises(UsageError, match="its volume c is gone"):
        lab.run(mounted, settings={"resume": True})


def test_a_claim_that_is_there_is_used_when_it_fits_and_refused_with_the_difference_when_not(lab: Lab) -> None:
    lab.run(mounted, "r1")
    claim = lab.node.objects["persistentvolumeclaims"]["c"]
    claim["spec"]["resources"]["requests"]["storage"] = "5Gi"
    result = lab.run(mounted, "r2")
    assert "is not the one wanted" in result.error
    assert "spec.resources.requests.storage: 5Gi, wanted 1Gi" in result.error


def test_a_claim_that_is_being_deleted_is_waited_for_and_made_anew(lab: Lab) -> None:
    going = {"labels": {"ilab-pipeline/run": "r1"}, "deletionTimestamp": "2026-01-01T00:00:00Z"}
    spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    lab.node.put("persistentvolumeclaims", "c", metadata=going, spec=spec)
    timer = threading.Timer(0.5, lab.node.remove, ("persistentvolumeclaims", "c"))
    timer.start()
    assert lab.run(mounted).state is TaskState.SUCCEEDED
    timer.join()
    assert "deletionTimestamp" not in lab.node.objects["persistentvolumeclaims"]["c"]["metadata"]


def test_a_right_that_is_missing_leaves_no_run_behind(lab: Lab) -> None:
    message = "configmaps is forbidden: User x cannot create resource configmaps"
    body = {"reason": "Forbidden"}
    lab.node.faults.append(Fault("create", "configmaps", 403, message=message, body=body))
    with pytest.raises(ForbiddenError, match="create"):
        lab.run(two)
    assert lab.node.objects["configmaps"] == {}


@component
def to_file(n: int, text: dsl.OutputPath(str)):
    pass


@dsl.container_component
def copies(a: dsl.OutputPath(str), b: dsl.OutputPath(str)):
    return dsl.ContainerSpec("image", ["cp"], [a, b])


@dsl.pipeline(name="files")
def files():
    to_file(n=1)
    copies()


def test_values_that_travel_as_files_are_refused_by_name_before_anything_starts(lab: Lab) -> None:
    with pytest.raises(PipelineError, match="hands over values") as refused:
        lab.run(files)
    assert "comp-to-file: its output parameter text is a file" in refused.value.cause
    assert "comp-copies: its container writes 2 output parameters, a, b" in refused.value.cause
    assert lab.node.objects["configmaps"] == {}
