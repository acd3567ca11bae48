"""The walker: what runs in parallel, what stops, what is retried."""

import json
import threading
from pathlib import Path

import pytest
from kfp import dsl, kubernetes

from tests.ir import parts
from tests.ir.memory_runner import IDS, MemoryRunner, compiled, component, walk
from tests.ir.semantics.compose import chain, types
from utils.errors import PrerequisiteError, UsageError
from utils.ir.model import Event, Outputs, Pipeline, Task, TaskState
from utils.ir.walk import Walker

PENDING, RUNNING, SUCCEEDED, FAILED = TaskState.PENDING, TaskState.RUNNING, TaskState.SUCCEEDED, TaskState.FAILED
SKIPPED, CANCELED, RETRYING = TaskState.SKIPPED, TaskState.CANCELED, TaskState.RETRYING


@component
def meet() -> int:
    """Returns only when as many tasks as the barrier wants are here at once."""
    from tests.ir.memory_runner import here

    return here().runner.barrier.wait(10)


@component
def held() -> None:
    from tests.ir.memory_runner import here

    assert here().runner.gate.wait(10)


@component
def waits_for_failure() -> str:
    from tests.ir.memory_runner import here

    assert here().runner.failed.wait(10)
    return "ended well"


@component
def fails_now() -> str:
    from tests.ir.memory_runner import here

    here().runner.failed.set()
    raise ValueError("broken")


# --- side by side ----------------------------------------------------------------------------------------------------


def test_independent_tasks_run_at_the_same_time(tmp_path: Path) -> None:
    @dsl.pipeline
    def together() -> None:
        for _ in range(3):
            meet()

    runner = MemoryRunner(tmp_path)
    runner.barrier = threading.Barrier(3)
    assert walk(together, tmp_path, runner=runner).state is SUCCEEDED


def test_parallel_tasks_are_limited_by_the_runner(tmp_path: Path) -> None:
    @dsl.pipeline
    def many() -> None:
        with dsl.ParallelFor(list(range(12))):
            held()

    runner = MemoryRunner(tmp_path, max_parallel=2)
    waiting = []

    def open_gate_when_all_wait(event: Event) -> None:
        waiting.extend([event] if event.state is PENDING else [])
        if len(waiting) == 12:
            runner.gate.set()

    assert walk(many, tmp_path, runner=runner, watch=open_gate_when_all_wait).state is SUCCEEDED
    assert runner.most == 2


def test_loop_parallelism_limits_its_iterations(tmp_path: Path) -> None:
    @dsl.pipeline
    def limited() -> None:
        with dsl.ParallelFor([1, 2, 3, 4], parallelism=2):
            meet()

    runner = MemoryRunner(tmp_path, max_parallel=8)
    runner.barrier = threading.Barrier(2)
    walked = walk(limited, tmp_path, runner=runner)
    assert walked.state is SUCCEEDED
    assert runner.most == 2


# --- failure ---------------------------------------------------------------------------------------------------------


def test_running_tasks_finish_and_no_new_task_starts_after_a_failure(tmp_path: Path) -> None:
    @dsl.pipeline
    def siblings() -> None:
        slow = waits_for_failure()
        parts.say(text=slow.output)
        fails_now()

    runner = MemoryRunner(tmp_path)
    walked = walk(siblings, tmp_path, runner=runner)
    assert walked.state is FAILED
    assert walked.result.error == "task fails-now: ValueError: broken"
    assert walked.states("waits-for-failure")[-1] is SUCCEEDED
    assert walked.states("say") == [SKIPPED]
    assert walked.messages("say") == ["fails-now failed"]


def test_a_task_downstream_of_a_failure_is_skipped_and_says_why(tmp_path: Path) -> None:
    @dsl.pipeline
    def two() -> None:
        parts.say(text=parts.fail().output)

    walked = walk(two, tmp_path)
    assert walked.states("fail") == [PENDING, RUNNING, FAILED]
    assert walked.messages("fail") == ["ValueError: no luck"]
    assert walked.messages("say") == ["fail failed"]


def test_successful_walk_emits_pending_running_succeeded(tmp_path: Path) -> None:
    walked = walk(chain, tmp_path, {"text": "t"})
    assert [(event.task_id, event.state) for event in walked.events] == [
        (task, state) for task in ("say", "say-2") for state in (PENDING, RUNNING, SUCCEEDED)
    ]
    assert walked.outputs["say"] == Outputs({"Output": "t"}, {})


def test_missing_output_fails_the_task_that_should_have_written_it(tmp_path: Path) -> None:
    @component
    def makes_none() -> str:
        return None  # type: ignore[return-value]

    @dsl.pipeline
    def needs() -> None:
        parts.say(text=makes_none().output)

    walked = walk(needs, tmp_path)
    assert walked.result.error == (
        "task makes-none: task makes-none wrote nothing for its output Output: "
        "every output parameter needs a value, on a server too"
    )


def test_every_wrong_input_is_named(tmp_path: Path) -> None:
    pipeline = compiled(types, tmp_path)
    wrong = {"text": "5", "whole": "8", "part": "x", "flag": 1}
    with pytest.raises(UsageError) as caught:
        walk(pipeline, tmp_path, {**wrong, "other": 1})
    for finding in ("other: not a parameter of the pipeline", "whole: expected an integer, got '8'", "part", "flag"):
        assert finding in caught.value.cause


def test_required_parameters_must_be_given(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="text: it has no default, and no value is given"):
        walk(chain, tmp_path)


def test_missing_prerequisite_of_a_task_is_not_retried(tmp_path: Path) -> None:
    class NoSecret(MemoryRunner):
        def call(self, task: Task) -> Outputs:
            raise PrerequisiteError("no Secret judge-secret", "it is not there")

    @dsl.pipeline
    def tries() -> None:
        parts.cleanup().set_retry(3)

    walked = walk(tries, tmp_path, runner=NoSecret(tmp_path / "run"))
    assert len(walked.runner.tasks) == 1
    assert walked.result.error == "task cleanup: no Secret judge-secret: it is not there"


# --- retries ---------------------------------------------------------------------------------------------------------


def test_task_is_retried_with_growing_pauses(tmp_path: Path) -> None:
    """set_retry: the first retry comes after backoff_duration, the next after that times backoff_factor, and so on."""

    @dsl.pipeline
    def tries() -> None:
        task = parts.fails_twice().set_retry(5, backoff_duration="10s", backoff_factor=3.0)
        parts.say(text=task.output)

    pauses: list[float] = []
    walked = walk(tries, tmp_path, sleep=pauses.append)
    assert walked.state is SUCCEEDED
    assert pauses == [10, 30]
    assert [task.attempt for task in walked.runner.tasks] == [0, 1, 2, 0]
    assert walked.states("fails-twice") == [
        PENDING,
        RUNNING,
        RETRYING,
        PENDING,
        RUNNING,
        RETRYING,
        PENDING,
        RUNNING,
        SUCCEEDED,
    ]
    assert walked.messages("fails-twice")[0] == "attempt 1 of 6 failed: ValueError: attempt 0; retrying in 10 s"


def test_two_retries_make_three_attempts(tmp_path: Path) -> None:
    """Trap 27, here for tasks: so many retries after the first attempt, no fewer."""

    @dsl.pipeline
    def tries() -> None:
        parts.fail().set_retry(2)

    walked = walk(tries, tmp_path)
    assert len(walked.runner.tasks) == 3
    assert walked.result.error == "task fail: ValueError: no luck"


def test_no_retry_starts_after_the_maximum_retry_duration(tmp_path: Path) -> None:
    """set_retry: backoff_max_duration is the maximum duration during which the task will be retried."""

    @dsl.pipeline
    def tries() -> None:
        parts.fail().set_retry(9, backoff_duration="60s", backoff_factor=2.0, backoff_max_duration="200s")

    now = [0.0]
    walked = walk(tries, tmp_path, clock=lambda: now[0], sleep=lambda seconds: now.__setitem__(0, now[0] + seconds))
    assert now[0] == 180
    assert len(walked.runner.tasks) == 3
    assert "not tried again: that would be later than 200 s" in walked.result.error


# --- claims ----------------------------------------------------------------------------------------------------------


def test_claims_are_made_mounted_and_deleted(tmp_path: Path) -> None:
    """platform: CreatePVC's name takes the form <run>-<suffix>; its output is what is mounted and deleted."""

    @dsl.pipeline
    def with_claim(size: str = "5Gi") -> None:
        claim = kubernetes.CreatePVC(
            pvc_name_suffix="-data", access_modes=["ReadWriteMany"], size=size, storage_class_name="fast"
        )
        task = parts.cleanup()
        kubernetes.mount_pvc(task, pvc_name=claim.outputs["name"], mount_path="/data")
        kubernetes.DeletePVC(pvc_name=claim.outputs["name"]).after(task)

    walked = walk(with_claim, tmp_path)
    assert walked.runner.claims == [
        ("create", "my-run-id-data", "5Gi", ("ReadWriteMany",), "fast"),
        ("delete", "my-run-id-data"),
    ]
    assert walked.runner.task("cleanup").mounts[0].name == "my-run-id-data"
    assert walked.states("createpvc") == [RUNNING, SUCCEEDED]


def test_every_task_that_creates_a_claim_gets_its_own(tmp_path: Path) -> None:
    """platform: a server puts a random id before the suffix, also in a loop."""

    @dsl.pipeline
    def with_claims() -> None:
        for _ in range(2):
            kubernetes.CreatePVC(pvc_name_suffix="-x", access_modes=["ReadWriteOnce"], size="1Gi")
        with dsl.ParallelFor(["a", "b"]):
            kubernetes.CreatePVC(pvc_name_suffix="-x", access_modes=["ReadWriteOnce"], size="1Gi")

    pipeline = compiled(with_claims, tmp_path)
    first = walk(pipeline, tmp_path / "1")
    names = {task_id: one.parameters["name"] for task_id, one in first.outputs.items()}
    assert len(set(names.values())) == 4
    assert all(name.startswith("my-run-id-x") for name in names.values())
    lost = sorted(names)[-1]
    finished = {task_id: one for task_id, one in first.outputs.items() if task_id != lost}
    again = walk(pipeline, tmp_path / "2", finished=finished)
    assert [name for _, name, *_ in again.runner.claims if name in [names[key] for key in finished]] == []


def test_name_that_two_tasks_give_their_claims_fails_the_second(tmp_path: Path) -> None:
    @dsl.pipeline
    def twice() -> None:
        first = kubernetes.CreatePVC(pvc_name="mine", access_modes=["ReadWriteOnce"], size="1Gi")
        kubernetes.CreatePVC(pvc_name="mine", access_modes=["ReadWriteOnce"], size="1Gi").after(first)

    walked = walk(twice, tmp_path)
    assert walked.state is FAILED
    assert "createpvc-2: there is a volume claim mine already" in walked.result.error


@pytest.mark.parametrize(
    ("names", "made"),
    [({"pvc_name": "mine"}, "mine"), ({}, "my-run-id-createpvc"), ({"pvc_name": "a", "pvc_name_suffix": "b"}, None)],
)
def test_claims_are_named_as_requested(tmp_path: Path, names: dict[str, str], made: str | None) -> None:
    @dsl.pipeline
    def with_claim() -> None:
        kubernetes.CreatePVC(access_modes=["ReadWriteOnce"], size="1Gi", **names)

    walked = walk(with_claim, tmp_path)
    assert [claim[1] for claim in walked.runner.claims] == ([made] if made else [])
    if made is None:
        assert "both pvc_name and pvc_name_suffix" in walked.result.error


def test_placeholders_of_the_job_reach_the_task(tmp_path: Path) -> None:
    """Traps, backends: a placeholder resolves only when it is the entire constant."""

    @dsl.pipeline
    def names() -> None:
        parts.say(text=dsl.PIPELINE_JOB_ID_PLACEHOLDER)
        parts.say(text=f"ilab-{dsl.PIPELINE_JOB_ID_PLACEHOLDER}")

    walked = walk(names, tmp_path)
    assert walked.inputs("say") == {"text": "my-run-id"}
    assert walked.inputs("say-2") == {"text": "ilab-{{$.pipeline_job_uuid}}"}


def test_values_with_equals_signs_and_types_pass_unchanged(tmp_path: Path) -> None:
    """Trap 42."""
    walked = walk(types, tmp_path, {"text": "a=b=c", "whole": 8, "part": 0.5, "flag": True})
    assert walked.inputs("say") == {"text": "a=b=c"}
    assert walked.inputs("number") == {"value": 8}


def test_nothing_starts_when_the_runner_refuses(tmp_path: Path) -> None:
    class Refuses(MemoryRunner):
        def check(self, pipeline: Pipeline) -> None:
            raise PrerequisiteError("no interpreter")

    runner = Refuses(tmp_path)
    with pytest.raises(PrerequisiteError):
        Walker(compiled(chain, tmp_path), {}, runner, IDS).run()
    assert runner.tasks == []


def test_tasks_that_read_the_workflow_elsewhere_are_given_all_parameters(tmp_path: Path) -> None:
    """No runner of ours has a Workflow, where tasks find code and parameters on Kubeflow Pipelines."""

    @dsl.pipeline
    def reads(text: str = "a", names: list = ["b"], share: float = 0.5) -> None:  # noqa: B006 - KFP reads it
        parts.say(text="plain")
        parts.say(text=text).set_env_variable("ILAB_CODE", "Workflow")

    walked = walk(reads, tmp_path, {"share": 2e-05})
    (told,) = [task.env["ILAB_PARAMETERS"] for task in walked.runner.tasks if "ILAB_PARAMETERS" in task.env]
    assert json.loads(told) == {"text": "a", "names": ["b"], "share": 2e-05}
    assert "ILAB_CODE" in walked.runner.task("say-2").env
