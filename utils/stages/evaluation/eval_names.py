"""What the parameter `eval_tasks` lists: tasks of the lm-evaluation-harness by name, or folders of the user's own."""

import re
from collections.abc import Sequence
from pathlib import Path

from utils.stages.folders import own_path

FOLDER = "eval_tasks"
"""In the archive and on the volume: holds a folder for each task of the user's own."""
PREFIX = "eval_"
"""Of the measures' names, and of their score files."""
_ENTRY = rf"[\w.+()-]+|{FOLDER}/\w[\w.-]*|(file:/)?/.*\w/?"


def measure_of(entry: str) -> str:
    """The measure's name: eval_arc_easy of arc_easy, eval_tea of eval_tasks/tea and /home/me/tea."""
    return PREFIX + re.sub(r"\W+", "_", entry.rstrip("/").rpartition("/")[2], flags=re.ASCII)


def folder_of(entry: str, data_dir: str) -> Path | None:
    """The folder that an entry names, on the volume or of the machine; None for a task of the harness."""
    return Path(data_dir, own_path(entry) or entry) if "/" in entry else None


def entries_fault(entries: Sequence[object]) -> str:
    """What the list must be that it is not, "" if it is right."""
    if not all(isinstance(one, str) and re.fullmatch(_ENTRY, one, re.ASCII) for one in entries):
        return f'names of tasks, or folders in {FOLDER}/ of the archive, like ["arc_easy", "{FOLDER}/tea"]'
    names = [measure_of(str(one)) for one in entries]
    twice = sorted({name for name in names if names.count(name) > 1})
    return f"names that differ: {' and '.join(twice)} would be there twice" if twice else ""
