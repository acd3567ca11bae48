"""Where the paths that a task's container would have are on this machine.

A component that is given its paths as parameters gets the paths of this machine instead. One that names them in its
code sees the folders at these paths, in a mount namespace of its own.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from utils.runners.local import mount_namespace
from utils.runners.local.volumes import rewrite

_TEMPORARY = "/tmp"
SHARED_MEMORY = "/dev/shm"
"""A volume there is the machine's own shared memory."""


@dataclass(frozen=True)
class Volume:
    """A folder of this machine that a task has at a path. The content of a temporary one ends with the task."""

    path: str
    folder: Path
    read_only: bool = False
    temporary: bool = False


@dataclass(frozen=True)
class TaskFiles:
    """The files of one execution.

    Attributes:
        volumes: what its container would mount.
        scratch: its folder for everything that ends with it.
        mounted: the volumes are mounted in a namespace; otherwise paths are rewritten.
    """

    volumes: tuple[Volume, ...]
    scratch: Path
    mounted: bool = False

    def inputs(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Parameter values, with the paths at which the task finds its volumes."""
        folders = [] if self.mounted else self._folders
        return {name: rewrite(value, folders) if isinstance(value, str) else value for name, value in values.items()}

    def variables(self, values: Mapping[str, str]) -> dict[str, str]:
        """Environment variables. A container's /tmp is its own, and so are the homes and caches put there."""
        own = [*([] if self.mounted else self._folders), (_TEMPORARY, self.temporary)]
        return {name: rewrite(value, own) for name, value in values.items()}

    @property
    def temporary(self) -> Path:
        """The task's folder for temporary files, as it sees it."""
        own = self.mounted and any(one.path.rstrip("/") == _TEMPORARY for one in self.volumes)
        return Path(_TEMPORARY) if own else self.scratch

    def place(self, path: str) -> Path:
        """Where a path that the task names is on this machine."""
        return Path(rewrite(path, self._folders) if self.mounted else path)

    def command(self, words: Sequence[str], kept: Sequence[Path]) -> list[str]:
        """The command that starts `words` where they see these files.

        Args:
            kept: folders that the task needs even where a temporary volume lies over them.
        """
        if not self.mounted:
            return list(words)
        work = self.scratch / "mounts"
        work.mkdir()
        binds = [(one.path, str(one.folder), one.read_only) for one in self.volumes]
        covered = {
            str(path)
            for one in self.volumes
            if one.temporary
            for path in hidden(one.path, kept)
            if str(path) != one.path
        }
        spec = {"binds": binds, "kept": sorted(covered), "scratch": str(work)}
        return [sys.executable, "-I", "-S", mount_namespace.__file__, json.dumps(spec), *words]

    @property
    def _folders(self) -> list[tuple[str, Path]]:
        return [(one.path, one.folder) for one in self.volumes]


def wants_own_temporary(volumes: Iterable[Volume], code: Iterable[str]) -> bool:
    """Whether a task's code names /tmp, which in a container is its own and empty."""
    there = any(one.path.rstrip("/") == _TEMPORARY for one in volumes)
    return not there and any(names_path(_TEMPORARY, one) for one in code)


def own_temporary(scratch: Path) -> Volume:
    """A /tmp for one task."""
    folder = scratch / "tmp"
    folder.mkdir()
    return Volume(_TEMPORARY, folder, temporary=True)


def unnamed(paths: Iterable[str], code: Iterable[str], values: Iterable[Any]) -> list[str]:
    """Those mount paths that no parameter gives to the task whole, or that occur elsewhere too: its code names them.

    Args:
        code: its command and arguments.
        values: its parameters and environment variables.
    """
    values = list(values)
    texts = [value for value in values if isinstance(value, str)]
    found = []
    for path in dict.fromkeys(paths):
        plain = path.rstrip("/")
        given = [text for text in texts if text == plain or text.startswith(plain + "/")]
        others = [*code, *(value for value in values if not (isinstance(value, str) and value in given))]
        if not given or any(names_path(plain, other) for other in others):
            found.append(path)
    return found


def names_path(path: str, value: Any) -> bool:
    """Whether a path occurs in a text, or anywhere in a list or struct; not as the end of an address, as in s3://data."""
    text = value if isinstance(value, str) else json.dumps(value)
    return re.search(rf"(?<![\w./]){re.escape(path)}(?![\w.-])", text) is not None


def hidden(path: str, needed: Iterable[Path]) -> list[Path]:
    """Those folders that a mount at `path` would hide."""
    own = Path(os.path.realpath(path))
    return [one for one in needed if one.is_dir() and Path(os.path.realpath(one)).is_relative_to(own)]


@cache
def namespace_problem() -> str:
    """Why tasks can't have a mount namespace here; "" when they can."""
    with tempfile.TemporaryDirectory(prefix="ilab-") as folder:
        paths = [Path(folder, name) for name in ("volume", "work")]
        for path in paths:
            path.mkdir()
        spec = {"binds": [["/ilab-probe/a", str(paths[0]), True]], "kept": [], "scratch": str(paths[1])}
        words = [sys.executable, "-I", "-S", mount_namespace.__file__, json.dumps(spec)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else _cause(done.stderr)


def _cause(text: str) -> str:
    found = re.search(r"cause: (.*)", text)
    return found[1] if found else text.strip() or "it ended without a word"
