"""Tasks and states of a run, as read from the server's answer."""

from datetime import UTC, datetime
from typing import Any

import kfp_server_api as api
import pytest

from utils.ir.load import parse
from utils.runners.kfp.report import RunReport, pod_templates, read_run

PIPELINE = """\
components:
  comp-work: {executorLabel: exec-work}
  comp-fetch: {executorLabel: exec-fetch}
  comp-for-loop-1:
    dag: {tasks: {work: {componentRef: {name: comp-work}}, condition-2: {componentRef: {name: comp-condition-2}}}}
  comp-condition-2: {dag: {tasks: {fetch: {componentRef: {name: comp-fetch}}}}}
deploymentSpec:
  executors:
    exec-work: {container: {image: python}}
    exec-fetch: {importer: {artifactUri: {constant: 's3://a/b'}, typeSchema: {schemaTitle: system.Model}}}
pipelineInfo: {name: small}
root: {dag: {tasks: {for-loop-1: {componentRef: {name: comp-for-loop-1}}}}}
schemaVersion: 2.1.0
---
platforms:
  kubernetes: {deploymentSpec: {executors: {exec-work: {podMetadata: {labels: {a: b, c: d}, annotations: {e: f}}}}}}
"""


def answer(*details: tuple[str, str], state: str = "RUNNING", history: tuple[str, ...] = ()) -> Any:
    """A run as the generated client hands it over; details are names and states, children are one pod."""
    tasks = [
        api.V2beta1PipelineTaskDetail(
            task_id=f"id-{index}",
            display_name=name,
            state=task_state,
            child_tasks=[api.PipelineTaskDetailChildTask(pod_name=f"small-x7k2p-{index}")],
        )
        for index, (name, task_state) in enumerate(details)
    ]
    return api.V2beta1Run(
        run_id="r",
        state=state,
        run_details=api.V2beta1RunDetails(task_details=tasks),
        state_history=[api.V2beta1RuntimeStatus(state=one) for one in history],
    )


def test_only_nodes_that_run_something_are_tasks_at_any_depth() -> None:
    assert pod_templates(parse(PIPELINE)) == {
        "work": ("system-container-impl", "metadata-1-2-system-container-impl"),
        "fetch": ("system-container-impl",),
    }


def test_each_loop_iteration_is_a_separate_task() -> None:
    rounds = (("work-driver", "SUCCEEDED"), ("work", "SUCCEEDED"), ("work", "RUNNING"), ("for-loop-1", "RUNNING"))
    report = read_run(answer(*rounds), pod_templates(parse(PIPELINE)))
    assert [(task.name, task.state, task.id) for task in report.tasks] == [
        ("work", "SUCCEEDED", "id-1"),
        ("work", "RUNNING", "id-2"),
    ]
    assert report.tasks[1].pods == (
        "small-x7k2p-system-container-impl-2",
        "small-x7k2p-metadata-1-2-system-container-impl-2",
    )


@pytest.mark.parametrize(
    "details",
    [
        [("work-driver", "FAILED"), ("work", "SKIPPED")],
        [("work-driver", "FAILED")],
    ],
)
def test_a_task_that_its_driver_did_not_start_has_failed(details: list[tuple[str, str]]) -> None:
    (task,) = read_run(answer(*details), pod_templates(parse(PIPELINE))).tasks
    assert (task.name, task.state) == ("work", "FAILED")


def test_internal_nodes_are_left_out_even_without_the_pipeline_file() -> None:
    details = [(name, "RUNNING") for name in ("root", "root-driver", "work-driver", "work", "executor", "executor(0)")]
    assert [task.name for task in read_run(answer(*details), {}).tasks] == ["work"]


@pytest.mark.parametrize(
    ("state", "history", "stopped"),
    [
        ("FAILED", ("PENDING", "RUNNING", "CANCELING", "FAILED"), True),
        ("FAILED", ("PENDING", "RUNNING", "FAILED"), False),
        ("FAILED", ("RUNNING", "CANCELING", "FAILED", "RUNNING", "FAILED"), False),
        ("FAILED", (), False),
        ("SUCCEEDED", ("RUNNING", "CANCELING", "SUCCEEDED"), False),
        ("CANCELED", (), True),
        ("CANCELING", ("RUNNING", "CANCELING"), False),
    ],
)
def test_run_that_was_canceling_when_it_ended_was_stopped(state: str, history: tuple[str, ...], stopped: bool) -> None:
    assert read_run(answer(state=state, history=history), {}).stopped is stopped


@pytest.mark.parametrize(
    ("earlier", "stopped"),
    [("CANCELING", True), ("RUNNING", False), ("FAILED", False)],
)
def test_observed_states_complete_the_history(earlier: str, stopped: bool) -> None:
    last = read_run(answer(state="FAILED", history=("RUNNING", "FAILED")), {})
    assert last.after(RunReport("r", "", earlier)).stopped is stopped
    assert last.after(None).stopped is False


def test_tasks_are_reported_in_the_order_they_ended() -> None:
    """A real server lists them in no order: clean up, which failed last, hid why the run failed."""
    run = answer(("clean-up", "FAILED"), ("prerequisites", "FAILED"), state="FAILED")
    for task, minute in zip(run.run_details.task_details, (2, 1), strict=True):
        task.end_time = datetime(2026, 11, 26, 5, minute, tzinfo=UTC)
    assert [task.name for task in read_run(run, {}).tasks] == ["prerequisites", "clean-up"]
