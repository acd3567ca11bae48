"""Tasks whose pods are evicted."""

import pytest
from kfp import dsl

from tests.fakes.node import Act
from tests.runners.kubernetes.conftest import Lab
from tests.runners.kubernetes.pipelines import take
from utils.ir.model import TaskState
from utils.runners.kubernetes.follow import MOST_PODS


@dsl.pipeline(name="evicted")
def pipeline() -> None:
    take(n=1)


@pytest.mark.parametrize(("evictions", "state"), [(MOST_PODS - 1, TaskState.SUCCEEDED), (MOST_PODS, TaskState.FAILED)])
def test_evicted_pods_are_replaced_but_not_forever(lab: Lab, evictions: int, state: TaskState) -> None:
    lab.node.play("take", *[Act(evicted=True)] * evictions, Act(holds=state is TaskState.FAILED))
    result = lab.run(pipeline)
    assert result.state is state
    assert lab.left() == []
    if state is TaskState.FAILED:
        assert f"took {MOST_PODS} pods of take away, one after the other: the pod ended: Evicted" in result.error
        assert "ephemeral-storage" in lab.message("take")
