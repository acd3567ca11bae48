"""The stages' code on the run's volume: the prerequisites put it there, all later tasks import it from there."""

import os
import shutil
from pathlib import Path

CODE_FOLDER = "code"


def put_on_volume(data_dir: str) -> None:
    """Copy the code that runs to code/<its digest>/, unless it is there and unchanged.

    A function that runs outside a compiled pipeline has brought none: nothing happens.
    """
    own = Path(__file__).parents[2]
    if not code_digest():
        return
    target = Path(data_dir, CODE_FOLDER, own.name)
    if _content(target) == _content(own):
        return
    partial = target.with_name(f"{os.uname().nodename}.{os.getpid()}")
    shutil.copytree(own, partial, dirs_exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)


def _content(folder: Path) -> list[tuple[Path, bytes]]:
    """The files of a folder."""
    return [(file.relative_to(folder), file.read_bytes()) for file in sorted(folder.rglob("*.*")) if file.is_file()]


def code_digest() -> str:
    """The digest of the code that runs; "" where it did not come with a compiled pipeline."""
    folder = Path(__file__).parents[2]
    return folder.name if folder.parent.name == CODE_FOLDER else ""
