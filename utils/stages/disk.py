"""A full disk is told as such, with its path, whichever part of a stage or of a library meets it."""

import errno
import functools
import os
import re
import shutil
from collections.abc import Callable
from typing import Any, TypeVar

from utils.messages import failure

Stage = TypeVar("Stage", bound=Callable[..., Any])
LITTLE = 1 << 24
"""Bytes free on a disk that counts as full when only a message says so."""
FULL = "No space left|Disk quota exceeded|unexpected pos|PytorchStreamWriter failed"
"""How programs say that a disk is full; the last two are torch's words."""
MAKE_ROOM = "make room there, or enlarge the volume claim; then resume: what is finished is kept"


def disk_failure(path: str) -> SystemExit:
    """The failure of a stage that can't write to a path, since its disk is full."""
    folder = path
    while not os.path.exists(folder):
        folder = os.path.dirname(folder) or "/"
    cause = f"the disk is full: {shutil.disk_usage(folder).free >> 20} MiB are free"
    return failure(f"{path} can't be written", cause, MAKE_ROOM)


def filled(folder: str, said: str) -> bool:
    """Whether a program that failed had a full disk: it said so, or the disk may not have taken its last words."""
    return bool(re.search(FULL, said)) or shutil.disk_usage(folder).free < LITTLE


def full_path(error: BaseException | None, folder: str) -> str:
    """The path that can't be written where an error, or one that it came from, is of a full disk; "" for another error.

    An error of a write names no file, and those of libraries in other languages have no number: then it is the folder,
    or that of temporary files if that has less room.
    """
    rooms = {place: shutil.disk_usage(place).free for place in (folder, os.environ.get("TMPDIR", "/tmp"))}
    fullest = min(rooms, key=lambda place: rooms[place])
    while error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return str(error.filename2 or error.filename or fullest)  # a copy names its source first
        if isinstance(error, shutil.Error) and os.strerror(errno.ENOSPC) in str(error):  # of a copied folder
            return str(error.args[0][0][1])
        said = os.strerror(errno.ENOSPC) in str(error) and not isinstance(error, SystemExit)
        if said and rooms[fullest] < LITTLE:
            return fullest
        error = error.__cause__ or error.__context__
    return ""


def tells_full_disk(stage: Stage) -> Stage:
    """A stage whose first argument has the field `data_dir`; a full disk ends it with `disk_failure`."""

    @functools.wraps(stage)
    def told(given: Any, *others: Any) -> Any:
        try:
            return stage(given, *others)
        except (Exception, SystemExit) as error:
            if path := full_path(error, given.data_dir):
                raise disk_failure(path) from error
            raise

    return told  # type: ignore[return-value] # the same arguments, the same result
