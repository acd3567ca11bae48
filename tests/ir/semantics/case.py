"""The semantics table: small pipelines, what Kubeflow's documentation says of each, and what running it must show.

Sections of kubeflow.org/docs/components/pipelines/user-guides and docstrings of kfp.dsl that the cases refer to:
  control-flow      core-functions/control-flow
  compose           components/compose-components-into-pipelines
  data-types        data-handling/data-types
  artifacts         data-handling/artifacts
  platform          core-functions/platform-specific-features
  dsl.*             docstrings of the SDK
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kfp import dsl

from utils.ir.model import TaskState

FAILED = TaskState.FAILED


@dataclass(frozen=True)
class Case:
    """`ran`: ids of the tasks that executed. `given`: inputs by task id. `outputs`: the pipeline's own."""

    name: str
    says: str
    pipeline: Any
    ran: set[str]
    arguments: dict[str, Any] = field(default_factory=dict)
    given: dict[str, dict[str, Any]] = field(default_factory=dict)
    made: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    state: TaskState = TaskState.SUCCEEDED


def pipeline(func: Callable) -> Any:
    return dsl.pipeline(func, name=func.__name__.replace("_", "-"))
