"""What a display shows: rows in the pipeline's order, time left, lines when piped, a table that fits."""

import io

import pytest
from rich.console import Console

from utils.cli.board import Board, Count, Row, count
from utils.cli.view import PlainView, render
from utils.ir.model import STOPPED, Component, Dag, Event, Loop, Node, Pipeline, TaskState
from utils.ir.status import after

RUNNING, SUCCEEDED, FAILED = TaskState.RUNNING, TaskState.SUCCEEDED, TaskState.FAILED


def pipeline() -> Pipeline:
    """first → group/(inner, loop over print) → last"""
    leaf = Component("comp-leaf")
    loop = Node("for-loop-1", "for-loop-1", "comp-loop", loop=Loop("item", (1, 2)))
    group = Component("comp-group", dag=Dag((Node("inner", "inner", "comp-leaf"), loop)))
    nodes = (
        Node("first", "first", "comp-leaf"),
        Node("group", "group", "comp-group"),
        Node("last", "last", "comp-leaf"),
    )
    looped = Component("comp-loop", dag=Dag((Node("print", "print", "comp-leaf"),)))
    components = {c.key: c for c in (leaf, group, looped)}
    return Pipeline("p", Component("root", dag=Dag(nodes)), components)


def event(task: str, state: TaskState, at: float, done: float | None = None, message: str = "") -> Event:
    return Event(1000 + at, task, state, message, None if done is None else (done, 10, "rows"))


def test_rows_are_in_pipeline_order_from_the_start() -> None:
    assert [row.id for row in Board.of(pipeline()).snapshot()] == ["first", "group/inner", "last"]


def test_loop_tasks_appear_after_their_neighbors() -> None:
    board = Board.of(pipeline())
    for task in ("group/for-loop-1/0/print", "group/for-loop-1/1/print"):
        board.update(event(task, RUNNING, 1))
    rows = board.snapshot()
    assert [row.label for row in rows] == ["first", "inner", "print [0]", "print [1]", "last"]


def row_after(*events: Event) -> Row:
    row = Row("a", label="a")
    for one in events:
        row = after(row, one)
    return row


def test_time_left_is_estimated_from_the_pace_since_the_first_progress() -> None:
    begun = (event("a", RUNNING, 0), event("a", RUNNING, 100, 2))
    assert row_after(*begun).seconds_left(1100) is None
    row = row_after(*begun, event("a", RUNNING, 104, 4))
    assert row.seconds_left(1104) == pytest.approx(12)
    assert row.seconds_left(1106) == pytest.approx(10)


def test_time_left_restarts_when_the_kind_of_progress_changes() -> None:
    rows = (event("a", RUNNING, 100, 2), event("a", RUNNING, 104, 4))
    row = row_after(*rows, Event(1105, "a", RUNNING, progress=(1, 3, "epochs")))
    assert row.seconds_left(1105) is None


def test_a_retry_keeps_the_time_of_the_first_start() -> None:
    row = row_after(
        *(event("a", state, at) for state, at in ((RUNNING, 1), (TaskState.RETRYING, 5), (RUNNING, 8), (SUCCEEDED, 11)))
    )
    assert row.seconds(1099) == 10


def test_piped_output_has_one_line_per_change_and_progress_every_ten_seconds() -> None:
    out = io.StringIO()
    view = PlainView(Board.of(pipeline()), "r1", out)
    view.on_event(event("first", RUNNING, 0))
    for second in range(26):
        view.on_event(event("first", RUNNING, second, min(second / 2.5, 10)))
    view.on_event(event("first", SUCCEEDED, 26))
    view.on_event(event("group/inner", RUNNING, 26))
    view.on_event(event("group/inner", FAILED, 28, message="bucket is gone\n  cause: deleted"))
    lines = [line.split(maxsplit=1)[1] for line in out.getvalue().splitlines()]
    assert lines == [
        "first  RUNNING",
        "first  4/10 rows, 15s left",
        "first  8/10 rows, 5s left",
        "first  10/10 rows",
        "first  SUCCEEDED after 26s",
        "inner  RUNNING",
        "inner  FAILED after 2s: bucket is gone",
    ]


def test_task_stopped_by_another_failure_does_not_count_as_failed() -> None:
    out = io.StringIO()
    view = PlainView(Board.of(pipeline()), "r1", out)
    view.on_event(event("first", RUNNING, 0))
    view.on_event(event("first", FAILED, 5, message=STOPPED))
    assert out.getvalue().splitlines()[-1].endswith("first  CANCELED after 5s")
    assert "■ first" in table(view.board, 80)


def table(board: Board, width: int, height: int = 50) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, height=height, force_terminal=True, color_system=None)
    console.print(render(board.snapshot(), "ilab-20250101-000000-abcd", 75, 1104, width, height))
    return out.getvalue()


def test_skipped_tasks_are_not_counted_as_done() -> None:
    board = Board.of(pipeline())
    board.update(event("first", SUCCEEDED, 3))
    assert "tasks 1/3   " in table(board, 80)
    board.update(event("group", TaskState.SKIPPED, 4))
    assert count(board.snapshot()) == Count(ended=1, skipped=1, total=3)
    assert "tasks 1/3 (1 skipped)" in table(board, 80)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_table_fits_the_terminal(width: int) -> None:
    board = Board.of(pipeline())
    board.update(event("first", SUCCEEDED, 3))
    board.update(event("group/inner", RUNNING, 5, message="x" * 200))
    for at, done in ((100, 2), (104, 4)):
        board.update(event("group/inner", RUNNING, at, done, "y" * 200))
    board.update(event("last", FAILED, 5, message="z" * 200))
    lines = table(board, width).splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) == 5
    assert "4/10 rows · 12s left" in lines[3]


def test_table_taller_than_the_terminal_shows_running_tasks() -> None:
    board = Board({f"t{n}": Row(f"t{n}", label=f"t{n}") for n in range(100)})
    board.update(event("t50", RUNNING, 100))
    lines = table(board, 80, 20).splitlines()
    assert len(lines) <= 18
    assert any("t50" in line for line in lines)
    assert any("more above" in line for line in lines)
    assert any("more below" in line for line in lines)
