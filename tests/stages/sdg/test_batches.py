"""Batches of seed records: several at a time, what was answered is kept, and a failing teacher is left alone."""

import itertools
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from tests.fakes.waiting import FakeTime
from utils.stages.in_flight import InFlight
from utils.stages.sdg import asking
from utils.stages.sdg.batches import Job, Row, answer, seed_keys

SEEDS: list[Row] = [{"seed": number} for number in range(10)]


def answered(
    kept: Path, rows: list[Row], size: int, workers: int, ask: Callable[[list[Row]], Iterable[Row]]
) -> list[Row]:
    """What becomes of the rows of one job."""
    made: list[Row] = []
    answer([Job(kept, lambda: rows, ask, made.extend)], size, workers)
    return made


def test_after_the_first_failure_no_batch_is_begun(tmp_path: Path) -> None:
    asked: list[Row] = []

    def ask(rows: list[Row]) -> list[Row]:
        asked.extend(rows)
        if rows == [SEEDS[2]]:
            raise ValueError("out of credit")
        return rows

    with pytest.raises(ValueError, match="out of credit"):
        answered(tmp_path, SEEDS, 1, 1, ask)
    assert asked == SEEDS[:3]


def test_after_a_failure_no_batch_of_another_leaf_is_begun(tmp_path: Path) -> None:
    asked: list[Row] = []

    def ask(rows: list[Row]) -> list[Row]:
        asked.extend(rows)
        if rows == [{"seed": 3}]:
            raise SystemExit("out of credit")
        return rows

    made: dict[int, list[Row]] = {}

    def job(number: int) -> Job:
        rows = [{"seed": number * 2}, {"seed": number * 2 + 1}]
        return Job(tmp_path / str(number), lambda: rows, ask, lambda rows: made.update({number: rows}))

    with pytest.raises(SystemExit, match="out of credit"):
        answer(map(job, range(5)), 1, 1)
    assert asked == SEEDS[:4]
    # Started again, only what is missing is asked.
    asked.clear()
    with pytest.raises(SystemExit):
        answer(map(job, range(5)), 1, 1)
    assert asked == [{"seed": 3}]
    assert made == {0: SEEDS[:2]}


def test_batch_that_was_under_way_when_another_failed_is_kept(tmp_path: Path) -> None:
    asked: list[Row] = []
    begun, failed = threading.Event(), threading.Event()

    def ask(rows: list[Row]) -> list[Row]:
        if rows == SEEDS[:1]:
            begun.wait(10)
            failed.set()
            raise ValueError("out of credit")
        begun.set()
        failed.wait(10)
        return rows

    def good(rows: list[Row]) -> list[Row]:
        asked.extend(rows)
        return rows

    with pytest.raises(ValueError, match="out of credit"):
        answered(tmp_path, SEEDS[:2], 1, 2, ask)
    assert sorted(row["seed"] for row in answered(tmp_path, SEEDS, 4, 2, good)) == list(range(10))
    assert SEEDS[1] not in asked


def test_batches_of_several_leaves_are_asked_at_the_same_time(tmp_path: Path) -> None:
    """Each of six leaves has one batch: with one leaf after the other, one was asked at a time."""
    together = threading.Barrier(6, timeout=20)
    finished: list[str] = []

    def ask(rows: list[Row]) -> list[Row]:
        together.wait()
        return rows

    def job(name: str) -> Job:
        return Job(tmp_path / name, lambda: SEEDS, ask, lambda rows: finished.append(name))

    answer(map(job, "abcdef"), 10, 6)
    assert sorted(finished) == [*"abcdef"]


def test_seed_records_of_a_leaf_are_read_when_its_turn_comes(tmp_path: Path) -> None:
    events: list[str] = []

    def job(number: int) -> Job:
        def seeds() -> list[Row]:
            events.append(f"read {number}")
            return [{"seed": number}]

        def finish(rows: list[Row]) -> None:
            events.append(f"finished {number}")

        return Job(tmp_path / str(number), seeds, lambda rows: rows, finish)

    answer(map(job, range(20)), 1, 1)
    assert events.index("finished 0") < events.index("read 10")


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_order_of_rows_is_that_of_their_seeds_whatever_comes_first(workers: int, tmp_path: Path) -> None:
    """Each start answers one more batch before it fails; one of them is the last of the leaf."""
    for number in (8, 2, 4):

        def ask(rows: list[Row], number: int = number) -> list[Row]:
            if rows[0]["seed"] != number:
                raise ValueError
            return rows

        with pytest.raises(ValueError):
            answered(tmp_path / "leaf", SEEDS[number:] + SEEDS[:number], 2, 1, ask)
    asked: list[Row] = []

    def rest(rows: list[Row]) -> list[Row]:
        asked.extend(rows)
        return rows

    assert answered(tmp_path / "leaf", SEEDS, 2, workers, rest) == SEEDS
    assert sorted(row["seed"] for row in asked) == [0, 1, 6, 7]


def test_seed_records_that_repeat_are_each_asked_and_kept(tmp_path: Path) -> None:
    """A document with the same page twice: the second batch had the name of the first."""
    seeds: list[Row] = [{"seed": "same"}] * 4
    numbers = itertools.count()

    def ask(rows: list[Row]) -> list[Row]:
        if (number := next(numbers)) == 3:
            raise ValueError("out of credit")
        return [{"answer": number} for _ in rows]

    with pytest.raises(ValueError, match="out of credit"):
        answered(tmp_path, seeds, 1, 1, ask)
    assert [row["answer"] for row in answered(tmp_path, seeds, 1, 1, ask)] == [0, 1, 2, 4]


def test_batch_counts_only_while_all_its_seed_records_are_there(tmp_path: Path) -> None:
    asked: list[Row] = []

    def ask(rows: list[Row]) -> list[Row]:
        asked.extend(rows)
        return [{"of": row["seed"]} for row in rows]

    answered(tmp_path, SEEDS, 5, 2, ask)
    asked.clear()
    corrected = [*SEEDS[:9], {"seed": "corrected"}]
    made = answered(tmp_path, corrected, 5, 2, ask)
    assert asked == corrected[5:]
    assert [row["of"] for row in made].count("corrected") == 1
    assert len(made) == 10


def test_rows_of_no_batch_are_nothing(tmp_path: Path) -> None:
    assert answered(tmp_path, [], 5, 2, lambda rows: rows) == []


def test_seed_record_is_the_same_whatever_the_order_of_its_fields() -> None:
    one, other = seed_keys([{"a": 1, "b": [2]}, {"a": 1, "b": [3]}])
    assert seed_keys([{"b": [2], "a": 1}]) == [one] != [other]


def test_log_has_the_requests_in_flight_over_time_and_samples_per_hour(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line at each leaf's end, and one a minute where a leaf takes longer."""
    time = FakeTime()
    monkeypatch.setattr(asking.time, "monotonic", lambda: time.now)
    requests = InFlight("the teacher", 8, time.patience())
    run: Any = SimpleNamespace(teacher=SimpleNamespace(requests=requests))

    def answered() -> httpx.Response:
        time.now += 30
        return httpx.Response(200)

    told = asking.Told(run, 4)
    for _ in range(4):
        requests.send(answered)
        told.heard([{}] * 10)
    told.say("40 samples for a; ")
    assert capsys.readouterr().out.splitlines() == [
        "progress: 0/4 leaves (1.0 requests in flight (at most 8), 120 answers/h, 1200 samples/h)",
        "progress: 0/4 leaves (40 samples for a; 1.0 requests in flight (at most 8), 120 answers/h, 1200 samples/h)",
    ]
