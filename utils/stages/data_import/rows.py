"""Data that was generated elsewhere: every row is looked at when it is imported, as later stages will read it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from utils.messages import failure
from utils.stages.sdg.files import run_suffixes, training_files

Checked = TypeVar("Checked")

SHOWN = 5
"""How many faults are looked for before the import fails."""
TEXTS = ("dataset", "sdg_document", "leaf_node_path")
"""What data processing reads of a row's metadata."""


def check_rows(folder: Path) -> list[list[str]]:
    """Look at every row that a run reads of the data in `folder`, data/ of the archive.

    Returns:
        the roles of the conversations in their order, each sequence once.

    Raises:
        SystemExit: rows have another form, or there is nothing to learn in any; files and lines are named.
    """
    suffix, faults, orders = run_suffixes(folder)[-1], list[str](), set[tuple[str, ...]]()
    rows = useless = 0
    for name in filter(None, training_files(folder, suffix)):
        for roles, learns in checked_lines(folder, name, conversation, faults):
            rows += 1
            useless += not learns
            orders.add(roles)
    for path in sorted(folder.glob(f"node_datasets_{suffix}/[!.]*")):
        name = f"{path.parent.name}/{path.name}"
        if path.suffix == ".jsonl":
            list(checked_lines(folder, name, question if path.name.startswith("mmlu") else with_id, faults))
    if faults:
        raise failure(
            "the data generated elsewhere can't be used",
            "; ".join(faults[:SHOWN]),
            "correct such lines (JSON objects, messages with role and content as texts), and pack it again",
        )
    if useless == rows:
        cause = f"{rows} rows have an empty turn, or no turn of an assistant"
        raise failure("the data generated elsewhere teaches nothing", cause, "pack it again with samples")
    if useless:
        print(f"{useless} of {rows} rows will be dropped: an empty turn, or no turn of an assistant", flush=True)
    return [list(roles) for roles in sorted(orders)]


def checked_lines(folder: Path, name: str, check: Callable[[Any], Checked], faults: list[str]) -> Iterator[Checked]:
    """What `check` makes of each line's value; faults are added to the list, and reading ends when it is long.

    Args:
        name: of the file in the folder.
        check: raises ValueError for a row that can't be used.
    """
    with (folder / name).open("rb") as file:
        for number, line in enumerate(file, 1):
            if len(faults) >= SHOWN:
                return
            try:
                if line.strip():
                    yield check(json.loads(line.decode()))
            except (ValueError, RecursionError) as error:
                # JSON counts lines anew.
                faults.append(f"data/{name} line {number}: {str(error).partition(': line ')[0]}")


def with_id(row: Any) -> dict[str, Any]:
    """A row whose id can be looked up.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(row, dict):
        raise ValueError("it is not a JSON object")
    if isinstance(row.get("id"), list | dict):
        raise ValueError("id is neither a text nor a number")
    return row


def conversation(row: Any) -> tuple[tuple[str, ...], bool]:
    """The roles of a row's turns, and whether there is something to learn.

    Raises:
        ValueError: it has another form.
    """
    messages, metadata, unmask = map(with_id(row).get, ("messages", "metadata", "unmask"))
    if not isinstance(messages, list) or not messages:
        raise ValueError(f"messages is not a list of turns; there are {', '.join(row)[:80] or 'no fields'}")
    for turn in messages:
        if not isinstance(turn, dict) or not all(isinstance(turn.get(key) or "", str) for key in ("role", "content")):
            raise ValueError("a turn's role and content are not both texts")
        if not turn.get("role"):
            raise ValueError("a turn has no role")
    if unmask not in (None, True, False):
        raise ValueError(f"unmask is {unmask!r}, not true or false"[:80])
    try:
        metadata = metadata or {}
        metadata = json.loads(metadata) if isinstance(metadata, str) else metadata
        known = isinstance(metadata, dict) and all(isinstance(metadata.get(key) or "", str) for key in TEXTS)
    except ValueError:
        known = False
    if not known:
        raise ValueError(f"metadata is not a JSON object with texts as {', '.join(TEXTS)}")
    json.dumps(row, ensure_ascii=False).encode()  # half a surrogate pair has no UTF-8
    turns = [turn for turn in messages if turn.get("content") or turn["role"] != "system"]
    roles = tuple(turn["role"] for turn in turns)
    taught = [role for role in roles if unmask or role == "pretraining" or role.startswith("assistant")]
    return roles, bool(taught) and all(turn.get("content") for turn in turns)


def question(row: Any) -> None:
    """Look at a multiple-choice question.

    Raises:
        ValueError: it has another form.
    """
    text, choices, answer = map(with_id(row).get, ("question", "choices", "answer"))
    texts = [text, *choices] if isinstance(choices, list) else []
    if len(texts) != 5 or not all(isinstance(one, str) for one in texts) or answer not in range(4):
        raise ValueError("it is not a question with four texts as choices, and an answer from 0 to 3")
