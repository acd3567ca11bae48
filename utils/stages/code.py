"""The stages' code on the run's volume: two tasks bring a part of it each, all later tasks import from there."""

import hashlib
import os
import shutil
from pathlib import Path


def put_on_volume(data_dir: str) -> None:
    """Copy the code that this task has unpacked to code/<its digest>/, unless it is there and unchanged.

    A function that runs outside a compiled pipeline carries none: nothing happens.
    """
    if "ILAB_CODE" not in os.environ:
        return
    own = Path(__file__).parents[2]
    target = Path(data_dir, "code", tree_digest(own))
    if tree_digest(target) == target.name:
        return
    partial = target.with_name(f"{os.uname().nodename}.{os.getpid()}")
    shutil.copytree(own, partial, dirs_exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)


def tree_digest(folder: Path) -> str:
    """The digest of the files in a folder, 16 hexadecimal digits (utils.packing.tree_digest)."""
    files = [(file.name, file.read_bytes()) for file in sorted(folder.rglob("*.*"))]
    return hashlib.sha256(repr(files).encode()).hexdigest()[:16]


def code_digest() -> str:
    """The digest of the code that runs; "" where it does not run from a run's volume."""
    folder = Path(__file__).parents[2]
    return folder.name if folder.parent.name == "code" else ""
