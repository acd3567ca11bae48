"""Exit handlers, final status, ignored failures."""

from kfp import dsl

from tests.ir import parts
from tests.ir.semantics.case import FAILED, Case, pipeline


@pipeline
def exit_after_success() -> None:
    with dsl.ExitHandler(parts.cleanup()):
        parts.say(text="x")


@pipeline
def exit_after_failure() -> None:
    with dsl.ExitHandler(parts.cleanup()):
        broken = parts.fail()
        parts.say(text=broken.output)


@pipeline
def exit_status(fails: bool) -> None:
    with dsl.ExitHandler(parts.at_exit(note="n"), name="main part"), dsl.If(fails == True):  # noqa: E712
        parts.fail(text="out of luck")


@pipeline
def exit_parameter(note: str) -> None:
    with dsl.ExitHandler(parts.at_exit(note=f"{note}!")):
        parts.nothing()


@pipeline
def exit_pipeline_inner() -> None:
    parts.cleanup()
    parts.say(text="bye")


@pipeline
def exit_pipeline() -> None:
    with dsl.ExitHandler(exit_pipeline_inner()):
        parts.fail()


@pipeline
def ignore_failure() -> None:
    broken = parts.fail()
    parts.after_all(text=broken.output).ignore_upstream_failure()


@pipeline
def ignore_success() -> None:
    fine = parts.say(text="fine")
    parts.after_all(text=fine.output).ignore_upstream_failure()


@pipeline
def ignore_then_more() -> None:
    broken = parts.fail()
    clean = parts.cleanup().after(broken).ignore_upstream_failure()
    parts.nothing().after(clean)


@pipeline
def ignore_with_status() -> None:
    broken = parts.fail(text="this one")
    parts.at_exit(note="x").after(broken).ignore_upstream_failure()


@pipeline
def failure_stops() -> None:
    broken = parts.fail()
    parts.say(text=broken.output)


CASES = [
    Case(
        "exit task after success",
        "control-flow dsl.ExitHandler: the exit task runs after the tasks in scope",
        exit_after_success,
        {"exit-handler-1/say", "cleanup"},
    ),
    Case(
        "exit task after failure",
        "control-flow dsl.ExitHandler: …even if one of them fails; the run has failed",
        exit_after_failure,
        {"exit-handler-1/fail", "cleanup"},
        state=FAILED,
    ),
    Case(
        "final status of a success",
        "dsl.PipelineTaskFinalStatus: state COMPLETE, as a server names it; no error code and message",
        exit_status,
        {"at-exit"},
        {"fails": False},
        made={"at-exit": "COMPLETE main part None None"},
    ),
    Case(
        "final status of a failure",
        "dsl.PipelineTaskFinalStatus: state FAILED, name of the task, code and message of the error",
        exit_status,
        {"exit-handler-1/condition-2/fail", "at-exit"},
        {"fails": True},
        made={"at-exit": "FAILED main part 2 task exit-handler-1/condition-2/fail: ValueError: out of luck"},
        state=FAILED,
    ),
    Case(
        "an exit task with parameters",
        "control-flow dsl.ExitHandler: the exit task takes pipeline parameters",
        exit_parameter,
        {"exit-handler-1/nothing", "at-exit"},
        {"note": "hey"},
        made={"at-exit": "COMPLETE exit-handler-1 None None"},
    ),
    Case(
        "a pipeline as exit task",
        "dsl.ExitHandler: the exit task may be a pipeline",
        exit_pipeline,
        {"exit-handler-1/fail", "exit-pipeline-inner/cleanup", "exit-pipeline-inner/say"},
        state=FAILED,
    ),
    Case(
        "ignore_upstream_failure, upstream fails",
        "control-flow .ignore_upstream_failure(): runs regardless; the default replaces the missing output",
        ignore_failure,
        {"fail", "after-all"},
        given={"after-all": {"text": "no text"}},
        state=FAILED,
    ),
    Case(
        "ignore_upstream_failure, upstream succeeds",
        "control-flow .ignore_upstream_failure(): the upstream output is used where there is one",
        ignore_success,
        {"say", "after-all"},
        given={"after-all": {"text": "fine"}},
    ),
    Case(
        "after a task that ignores failures",
        "control-flow .ignore_upstream_failure(): the caller always succeeds, so what follows it runs",
        ignore_then_more,
        {"fail", "cleanup", "nothing"},
        state=FAILED,
    ),
    Case(
        "ignore_upstream_failure with final status",
        "dsl.PipelineTaskFinalStatus: also in a task that ignores upstream failures",
        ignore_with_status,
        {"fail", "at-exit"},
        made={"at-exit": "FAILED fail 2 task fail: ValueError: this one"},
        state=FAILED,
    ),
    Case(
        "a failure stops what needs it",
        "compose: a task runs only if its upstream tasks succeed",
        failure_stops,
        {"fail"},
        state=FAILED,
    ),
]
