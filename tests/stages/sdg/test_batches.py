"""Batches of seed records: what was answered is kept, and a failing teacher is left alone."""

import threading
from pathlib import Path

import pytest

from utils.stages.sdg.batches import Row, answered

SEEDS: list[Row] = [{"seed": number} for number in range(10)]


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
