"""The tasks of a pipeline with their values, as far as its parameters determine them."""

from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from tests.ir import parts
from tests.ir.memory_runner import compiled
from utils.ir.defaults import PlacedTask, placed_tasks
from utils.ir.model import Outputs, Source


@dsl.pipeline
def inner(text: str = "inner", count: int = 2) -> str:
    return parts.optional(text=text, count=count).output


@dsl.pipeline
def outer(text: str = "given", known: list = [1, 2]) -> None:  # noqa: B006
    first = parts.say(text=text)
    with dsl.ParallelFor(["a", "b", "c"]) as item:
        with dsl.ParallelFor([1, 2]):
            parts.optional(text=item)
        inner(text=first.output)
    with dsl.ParallelFor(known):
        parts.nothing()


INNERMOST = "for-loop-2/inner/optional"


def placed(tmp_path: Path, arguments: dict[str, Any] | None = None, **options: Any) -> dict[str, PlacedTask]:
    return {task.path: task for task in placed_tasks(compiled(outer, tmp_path), arguments, **options)}


def test_every_task_is_found_with_how_often_it_runs(tmp_path: Path) -> None:
    tasks = placed(tmp_path)
    assert {path: task.times for path, task in tasks.items()} == {
        "say": 1,
        "for-loop-2": 3,
        "for-loop-2/for-loop-4": 6,
        "for-loop-2/for-loop-4/optional": 6,
        "for-loop-2/inner": 3,
        "for-loop-2/inner/optional": 3,
        "for-loop-5": 1,
        "for-loop-5/nothing": 1,
    }
    assert tasks["for-loop-2/inner/optional"].component.key == "comp-optional"


@pytest.mark.parametrize("arguments", [{}, {"text": "new"}])
def test_inputs_are_what_parameters_and_defaults_determine(tmp_path: Path, arguments: dict[str, Any]) -> None:
    tasks = placed(tmp_path, arguments)
    assert tasks["say"].inputs == {"text": "given"} | arguments
    assert tasks[INNERMOST].inputs == {"count": 2, "ratio": 0.5, "flags": {"a": 1}}


@pytest.mark.parametrize("path", ["for-loop-2/for-loop-4/optional", "for-loop-2/inner", INNERMOST])
def test_no_default_stands_in_for_what_only_the_run_gives(tmp_path: Path, path: str) -> None:
    assert "text" not in placed(tmp_path)[path].inputs


def test_output_that_is_known_is_a_value(tmp_path: Path) -> None:
    known = placed(tmp_path, outputs={"say": Outputs({"Output": "said"})})
    assert known[INNERMOST].inputs["text"] == "said"


def test_source_is_looked_up_where_the_task_is(tmp_path: Path) -> None:
    task = placed(tmp_path, {"text": "new"})["say"]
    assert task.find(Source("parent", name="text")) == "new"
    assert task.find(Source("constant", value="{{$.pipeline_job_name}}")) == "run"
