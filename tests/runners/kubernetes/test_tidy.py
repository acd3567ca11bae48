"""Runs that may not delete all their objects."""

from typing import Any

import pytest
from kfp import dsl

from tests.fakes.api_server import Fault
from tests.fakes.node import Act
from tests.ir.memory_runner import component
from tests.runners.kubernetes.conftest import Lab
from utils.cluster.errors import ForbiddenError
from utils.ir.model import TaskState
from utils.runners.kubernetes.session import ClusterResult


@component
def break_down(n: int) -> None:
    pass


@component
def work(n: int) -> None:
    pass


@dsl.pipeline(name="two")
def pipeline() -> None:
    break_down(n=1)
    work(n=2)


def run_without(lab: Lab, verb: str, resource: str, **options: Any) -> ClusterResult:
    """Run while this is refused; afterwards it is granted again."""
    message = f'{resource} is forbidden: User "x" cannot {verb} resource'
    lab.node.faults += [Fault(verb, resource, 403, message=message)] * 100
    try:
        return lab.run(pipeline, **options)
    finally:
        lab.node.faults.clear()


def secret(owner: Any) -> list[dict[str, Any]]:
    return [{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "ilab-r1-teacher"}, "stringData": {"a": "b"}}]


def test_jobs_that_may_not_be_deleted_are_named_with_a_command_and_the_run_still_ends(lab: Lab) -> None:
    lab.node.play("break-down", Act(exit_code=1))
    lab.node.play("work", Act(holds=True))
    result = run_without(lab, "delete", "jobs", extras=secret)
    assert result.state is TaskState.FAILED
    assert lab.record()["run.json"]["state"] == "FAILED"
    assert result.left is not None
    jobs = sorted(lab.node.objects["jobs"])
    assert len(jobs) == 2
    assert all(f"job/{name}" in result.left.cause for name in jobs)
    assert "no right to delete jobs.batch in the namespace lab: the Role ilab-pipeline" in result.left.cause
    command = "kubectl -n lab delete jobs.batch -l 'ilab-pipeline/run=r1,ilab-pipeline/object!=run' --wait=false"
    assert result.left.remedy.endswith(command)
    assert lab.node.objects["secrets"] == {}
    with pytest.raises(ForbiddenError, match="not all that the run r1 made"):
        run_without(lab, "delete", "jobs", resume=True)
    lab.node.play("break-down", Act())
    lab.node.play("work", Act())
    result = lab.run(pipeline, resume=True)
    assert (result.state, result.left, lab.left()) == (TaskState.SUCCEEDED, None, [])


def test_unlistable_training_jobs_do_not_prevent_deleting_other_jobs(lab: Lab) -> None:
    result = run_without(lab, "list", "pytorchjobs")
    assert (result.state, lab.left()) == (TaskState.SUCCEEDED, [])
    assert result.left is not None
    assert "no right to list pytorchjobs.kubeflow.org" in result.left.cause
    assert "whether something stays can't be seen" in result.left.cause


def test_secret_that_may_not_be_deleted_is_named(lab: Lab) -> None:
    result = run_without(lab, "delete", "secrets", extras=secret)
    assert lab.left() == ["secrets/ilab-r1-teacher"]
    assert result.left is not None
    assert "these stay: secret/ilab-r1-teacher" in result.left.cause
    assert "delete secrets -l 'ilab-pipeline/run=r1,ilab-pipeline/object!=run'" in result.left.remedy
