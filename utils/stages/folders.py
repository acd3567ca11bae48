"""Files and folders of the user's machine: in a run on one machine they can take the object store's place."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from utils.messages import failure
from utils.stages.archive import require_space
from utils.stages.digests import Digests, digests_of
from utils.stages.marker import read_json, size_of

PROVENANCE = "provenance.json"
"""In a result, where it comes from."""


def own_path(value: str) -> str:
    """The path that a parameter names instead of a key in the object store; "" where it names none."""
    path = value.removeprefix("file://")
    return path if path.startswith("/") else ""


def copy_folder(source: str, target: Path) -> None:
    """Copy a folder of the machine to `target`, made anew; of a link goes in what it points to.

    Raises:
        SystemExit: there is no room for it, or a file of it can't be read.
    """
    shutil.rmtree(target, ignore_errors=True)
    require_space(target.parent, size_of(source), source)
    try:
        shutil.copytree(source, target)
    except OSError as error:
        raise failure(f"{source} can't be copied to {target.parent}", str(error), "correct that, then resume") from None


def run_of(result: Path) -> str:
    """The id of the run that a result comes from; "" where its provenance does not tell."""
    try:
        return str(read_json(result / PROVENANCE).get("run_id", ""))
    except (ValueError, AttributeError):  # somebody else's file of that name
        return ""


def write_result(
    target: Path,
    run_id: str,
    folders: Mapping[str, str],
    texts: Mapping[str, str],
    provenance: Callable[[Digests], str],
) -> int:
    """Put a result into the folder `target`, whole or not at all; one of the same run is replaced. Returns its bytes.

    Args:
        folders: folder to its name in the result.
        texts: name in the result to text; it replaces a file of that name in the folders.
        provenance: makes of the result's files JSON with the run's id.

    Raises:
        SystemExit: the folder holds something else, or can't be written.
    """
    part = target.with_name(target.name + ".part")
    try:
        part.mkdir(parents=True, exist_ok=True)
        for folder, name in folders.items():
            copy_folder(folder, part / name)
        for name, text in texts.items():
            part.joinpath(name).write_text(text, "utf-8", "replace")
        part.joinpath(PROVENANCE).unlink(missing_ok=True)  # of a try that was killed
        part.joinpath(PROVENANCE).write_text(provenance(digests_of(part)))
        if run_of(target) == run_id:
            shutil.rmtree(target)
        part.rename(target)  # an empty folder is replaced
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise failure(f"the result can't be put into {target}", str(error), "make room there, then resume") from None
    return size_of(str(target))
