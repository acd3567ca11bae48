"""Files of JSON lines: one value a line."""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


def read_lines(path: Path) -> Iterator[Any]:
    """The values of a file, one after the other; blank lines are skipped."""
    with path.open() as file:
        yield from map(json.loads, filter(str.strip, file))


def write_lines(path: Path, values: Iterable[object]) -> None:
    """Write values to a new file; they are on the disk when this returns."""
    with path.open("w") as file:
        file.writelines(json.dumps(value) + "\n" for value in values)
        file.flush()
        os.fsync(file.fileno())


def count_lines(path: Path) -> int:
    """Number of non-empty lines of a file; 0 if it is not a file."""
    if not path.is_file():
        return 0
    with path.open("rb") as file:
        return sum(map(bool, map(bytes.strip, file)))
