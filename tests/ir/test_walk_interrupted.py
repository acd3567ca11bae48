"""The walker when it is stopped, and when it resumes an earlier walk."""

import time
from pathlib import Path

from kfp import dsl

from tests.ir import parts
from tests.ir.memory_runner import MemoryRunner, compiled, component, text_of, walk
from tests.ir.semantics.loops import loop_in_loop
from utils.ir.load import parse
from utils.ir.model import Event, Outputs, Task, TaskState

PENDING, RUNNING, SUCCEEDED, FAILED = TaskState.PENDING, TaskState.RUNNING, TaskState.SUCCEEDED, TaskState.FAILED
SKIPPED, CANCELED, RETRYING = TaskState.SKIPPED, TaskState.CANCELED, TaskState.RETRYING


@component
def cancels_after_failure() -> None:
    from tests.ir.memory_runner import here

    assert here().runner.failed.wait(10)
    here().runner.walker.cancel()
    here().runner.canceled.wait(10)
    raise ValueError("stopped")


@component
def interrupts() -> str:
    import os
    import signal

    from tests.ir.memory_runner import here

    os.kill(os.getpid(), signal.SIGINT)
    here().runner.canceled.wait(10)
    raise ValueError("stopped")


@component
def interrupts_at_exit(status: dsl.PipelineTaskFinalStatus) -> str:
    from tests.ir.memory_runner import here

    here().runner.canceled.clear()
    here().runner.walker.cancel()
    here().runner.canceled.wait(10)
    raise ValueError("stopped")


# --- cancel ----------------------------------------------------------------------------------------------------------


@dsl.pipeline
def canceled_within() -> None:
    with dsl.ExitHandler(parts.at_exit()):
        parts.say(text=parts.cancels_run().output)
        parts.cleanup().after(parts.say(text="x")).ignore_upstream_failure()


def test_cancel_stops_running_tasks_and_exit_tasks_see_it(tmp_path: Path) -> None:
    """dsl.PipelineTaskFinalStatus: the state is COMPLETE, FAILED or CANCELED."""
    walked = walk(canceled_within, tmp_path)
    assert walked.state is CANCELED
    assert walked.states("exit-handler-1/cancels-run")[-1] is CANCELED
    assert walked.states("exit-handler-1/say") == [SKIPPED]
    assert walked.messages("exit-handler-1/say") == ["the run was canceled"]
    assert walked.outputs["at-exit"].parameters["Output"].startswith("CANCELED exit-handler-1 1 ")


def test_waiting_task_does_not_start_after_a_cancel(tmp_path: Path) -> None:
    @dsl.pipeline
    def two() -> None:
        parts.cancels_run()
        parts.cancels_run()

    walked = walk(two, tmp_path, max_parallel=1)
    assert walked.state is CANCELED
    assert len(walked.runner.tasks) == 1


def test_run_canceled_after_a_failure_is_canceled_and_reports_the_failure(tmp_path: Path) -> None:
    @dsl.pipeline
    def both() -> None:
        parts.fail()
        cancels_after_failure()

    runner = MemoryRunner(tmp_path)

    def note(event: Event) -> None:
        if event.state is FAILED:
            runner.failed.set()

    walked = walk(both, tmp_path, runner=runner, watch=note)
    assert walked.state is CANCELED
    assert walked.result.error == "task fail: ValueError: no luck"


def test_canceled_task_is_not_retried(tmp_path: Path) -> None:
    @dsl.pipeline
    def tries() -> None:
        parts.cancels_run().set_retry(3, backoff_duration="3000s")

    walked = walk(tries, tmp_path)
    assert walked.state is CANCELED
    assert len(walked.runner.tasks) == 1


def test_a_second_cancel_stops_the_exit_task(tmp_path: Path) -> None:
    @dsl.pipeline
    def stubborn() -> None:
        with dsl.ExitHandler(interrupts_at_exit()):
            parts.cancels_run()

    walked = walk(stubborn, tmp_path)
    assert walked.state is CANCELED
    assert walked.states("interrupts-at-exit")[-1] is CANCELED


def test_exit_task_waits_before_its_retry_after_a_cancel_too(tmp_path: Path) -> None:
    """A clean-up whose server is away must not use up its attempts at once."""
    at: list[float] = []

    class Notes(MemoryRunner):
        def call(self, task: Task) -> Outputs:
            if task.name == "fails-twice":
                at.append(time.monotonic())
            return super().call(task)

    @dsl.pipeline
    def stubborn() -> None:
        with dsl.ExitHandler(parts.fails_twice().set_retry(3, backoff_duration="7s", backoff_factor=1.0)):
            parts.cancels_run()

    text = text_of(stubborn, tmp_path)
    assert "backoffDuration: 7s" in text
    walked = walk(parse(text.replace("Duration: 7s", "Duration: 0.2s")), tmp_path, runner=Notes(tmp_path / "run"))
    assert walked.states("fails-twice")[-1] is SUCCEEDED
    assert len(at) == 3 and min(at[1] - at[0], at[2] - at[1]) >= 0.2


def test_ctrl_c_cancels(tmp_path: Path) -> None:
    @dsl.pipeline
    def interrupted() -> None:
        with dsl.ExitHandler(parts.at_exit()):
            interrupts()

    walked = walk(interrupted, tmp_path)
    assert walked.state is CANCELED
    assert walked.states("exit-handler-1/interrupts")[-1] is CANCELED
    assert walked.outputs["at-exit"].parameters["Output"].startswith("CANCELED")


def test_run_fails_at_the_deadline_of_the_pipeline(tmp_path: Path) -> None:
    """dsl.PipelineConfig: active_deadline_seconds is the maximum number of seconds a workflow is allowed to run."""

    @component
    def waits() -> None:
        from tests.ir.memory_runner import here

        here().runner.canceled.wait(10)
        raise ValueError("stopped")

    @dsl.pipeline(pipeline_config=dsl.PipelineConfig(active_deadline_seconds=7))
    def short() -> str:
        last = parts.say(text="x")
        with dsl.ExitHandler(last):
            waits()
        return last.output

    text = text_of(short, tmp_path)
    assert "activeDeadlineSeconds: 7" in text
    walked = walk(parse(text.replace("Seconds: 7", "Seconds: 0.1")), tmp_path)
    assert walked.state is FAILED
    assert walked.result.error == "the run was stopped after the 0.1 s that the pipeline gives it"
    assert walked.result.outputs.parameters == {"Output": "x"}
    assert walked.states("say")[-1] is SUCCEEDED


def test_a_loop_stops_when_canceled(tmp_path: Path) -> None:
    @dsl.pipeline
    def loops() -> None:
        with dsl.ParallelFor([1, 2, 3], parallelism=1):
            parts.cancels_run()

    walked = walk(loops, tmp_path)
    assert walked.state is CANCELED
    assert walked.runner.ran == ["for-loop-2/0/cancels-run"]
    assert walked.states("for-loop-2/2") == [SKIPPED]


# --- resume ----------------------------------------------------------------------------------------------------------


def test_walk_resumes_after_every_task_boundary(tmp_path: Path) -> None:
    pipeline = compiled(loop_in_loop, tmp_path)
    whole = walk(pipeline, tmp_path / "whole")
    order = [event.task_id for event in whole.events if event.state is SUCCEEDED]
    for done in range(len(order) + 1):
        finished = {task: whole.outputs[task] for task in order[:done]}
        again = walk(pipeline, tmp_path / str(done), finished=finished)
        assert again.state is SUCCEEDED
        assert set(again.runner.ran) == set(order[done:])
        assert again.outputs["join"].parameters == whole.outputs["join"].parameters


@dsl.pipeline
def with_exit_task() -> None:
    with dsl.ExitHandler(parts.at_exit()):
        first = parts.say(text="a")
        parts.say(text=first.output)


def test_an_exit_task_runs_again_when_something_before_it_does(tmp_path: Path) -> None:
    pipeline = compiled(with_exit_task, tmp_path)
    finished = {"exit-handler-1/say": Outputs({"Output": "a"}), "at-exit": Outputs({"Output": "FAILED …"})}
    walked = walk(pipeline, tmp_path, finished=finished)
    assert walked.runner.ran == ["at-exit", "exit-handler-1/say-2"]
    assert walked.outputs["at-exit"].parameters["Output"].startswith("COMPLETE")


def test_an_exit_task_that_ended_a_run_does_not_run_again(tmp_path: Path) -> None:
    pipeline = compiled(with_exit_task, tmp_path)
    whole = walk(pipeline, tmp_path / "whole")
    again = walk(pipeline, tmp_path / "again", finished=whole.outputs)
    assert again.state is SUCCEEDED
    assert again.runner.ran == []
    assert again.messages("at-exit") == ["finished earlier"]
