"""The table of traps names existing tests."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROWS = re.findall(r"^\| (\d+[a-d]?) \|(.*)\|$", (TESTS / "traps.md").read_text(), re.MULTILINE)


def test_every_trap_is_in_the_table() -> None:
    numbers = [(int(number.rstrip("abcd")), number) for number, _ in ROWS]
    assert [number for number, _ in numbers[:28]] == list(range(1, 29))
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize(("number", "row"), ROWS, ids=[f"trap {number}" for number, _ in ROWS])
def test_tests_of_a_trap_exist(number: str, row: str) -> None:
    named = re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", row)
    assert named
    missing = [f"{file}::{name}" for file, name in named if f"def {name}" not in (TESTS / file).read_text()]
    assert missing == []
