"""Files of answers that people rate: CSV for spreadsheets, JSON lines for programs."""

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from utils.cli.judged.answers import Judged
from utils.errors import UsageError
from utils.foreign_text import TextError, read_json

KINDS = (".csv", ".jsonl")
FIELDS = ("rating", "id", "question", "reference", "answer")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a text begins that a spreadsheet would compute."""


def write_ratings_file(path: Path, answers: Sequence[Judged]) -> None:
    """Write the answers with an empty rating each, by the ending of the file's name.

    Raises:
        UsageError: it has another ending, or the file is there: it may have ratings.
    """
    rows = [
        {"rating": "", "id": one.id, "question": one.asked, "reference": one.reference, "answer": one.answer}
        for one in answers
    ]
    if _kind(path) == ".csv":
        text = io.StringIO()
        table = csv.DictWriter(text, FIELDS)
        table.writeheader()
        table.writerows({name: _as_text(value) for name, value in row.items()} for row in rows)
        data = text.getvalue().encode("utf-8-sig", "replace")  # without the mark, Excel takes it for another encoding
    else:
        data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError:
        raise UsageError(f"{path} already exists", "it may have ratings", "name a new file") from None
    except OSError as error:
        raise UsageError(f"{path} can't be written", str(error.strerror), "name a file in another folder") from None


def _as_text(value: str) -> str:
    return f"'{value}" if value.startswith(_FORMULA) else value


def _kind(path: Path) -> str:
    if path.suffix.lower() not in KINDS:
        raise UsageError(f"{path} is not named .csv or .jsonl", "the ending tells the format", "name it so")
    return path.suffix.lower()


def read_ratings(path: Path, answers: Sequence[Judged]) -> dict[str, float]:
    """Rating by the answer's id; lines without a rating are left out.

    Raises:
        UsageError: a line has no rating from 1 to 10 or no answer of this run, or an answer has two ratings; the
            message names the first lines.
    """
    known, found, faults = {one.id for one in answers}, dict[str, float](), list[str]()
    for number, row in _rows(path):
        name, value = str(row.get("id", "")).strip(), row.get("rating")
        if value is None or not str(value).strip():
            continue
        rating = _number(value)
        if name not in known:
            faults.append(f"line {number}: no answer of this run has the id {name[:40]!r}")
        elif rating is None:
            faults.append(f"line {number}: {str(value)[:40]!r} is not a rating from 1 to 10")
        elif found.setdefault(name, rating) != rating:
            faults.append(f"line {number}: the answer {name} has another rating above")
    if faults:
        more = f"\n… and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise UsageError(f"{path} can't be used", "\n".join(faults[:5]) + more, "correct these lines")
    if not found:
        raise UsageError(f"{path} has no ratings", "", "write numbers from 1 to 10 into the column rating")
    return found


def _number(value: Any) -> float | None:
    """A rating; spreadsheets of some languages write 7,5."""
    try:
        rating = float(str(value).strip().replace(",", "."))
    except ValueError:
        return None
    return rating if math.isfinite(rating) and 1 <= rating <= 10 and not isinstance(value, bool) else None


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The line of the file on which each row ends, and the row.

    Raises:
        UsageError: the file can't be read, or a line is not of the format.
    """
    kind = _kind(path)
    try:
        text = path.read_text("utf-8-sig", "replace")
    except OSError as error:
        raise UsageError(f"{path} can't be read", str(error.strerror), "name the file with the ratings") from None
    try:
        if kind == ".jsonl":
            for number, line in enumerate(text.splitlines(), 1):
                row = read_json(line.encode()) if line.strip() else {}
                if not isinstance(row, dict):
                    raise TextError("it is not a JSON object", f"line {number}")
                yield number, row
            return
        csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))  # an answer may be longer than the default
        heading = text.partition("\n")[0]
        table = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=heading.count))
        if not {"id", "rating"} <= {*(table.fieldnames or [])}:
            raise TextError("the first line lacks the columns rating and id")
        for row in table:
            yield table.line_num, row
    except (TextError, csv.Error) as error:
        raise UsageError(f"{path} can't be read", str(error), "keep the columns rating and id as they were") from None
