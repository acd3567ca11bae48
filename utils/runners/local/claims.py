"""Volume claims of one machine: each is a folder below the folder of all claims."""

import shutil
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from utils.errors import TaskFailed
from utils.ir.claims import checked_name
from utils.ir.model import Mount
from utils.names import claim_name


def make_claim(claims: Path, name: str, own: Collection[str]) -> Path:
    """The folder of a claim that a task creates. One that this run made earlier is kept.

    Args:
        claims: the folder of all claims.
        own: claims that this run made earlier.

    Raises:
        TaskFailed: the name is not one, or the claim is there and not this run's: a server refuses that too.
    """
    folder = claims / checked_name(name)
    if folder.exists() and name not in own:
        raise TaskFailed(
            f"there is a volume claim {name} already",
            "another run created it, or you did",
            f"give the claim another name, or a suffix; or remove {folder}",
        )
    return folder


def remove_claim(claims: Path, name: str, own: Collection[str]) -> None:
    """Remove a claim. One that this run made may be gone already: an earlier start may have removed it.

    Raises:
        TaskFailed: the name is not one, or there is no such claim.
    """
    folder = claims / checked_name(name)
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)
    elif name not in own:
        raise _no_claim(folder)


def claim_folder(claims: Path, run_id: str, mount: Mount) -> Path:
    """The folder of a mounted claim.

    Raises:
        TaskFailed: there is none, or name or sub-path are not valid. One named after the run is made again: a failed
            run's clean-up may have removed it.
    """
    folder = claims / checked_name(mount.name)
    sub_path = PurePosixPath(mount.sub_path)
    if sub_path.is_absolute() or ".." in sub_path.parts:
        raise TaskFailed(
            f"the sub-path {mount.sub_path} of the volume claim {mount.name} leads out of it",
            remedy="name a folder in the claim, without ..",
        )
    if not folder.is_dir() and mount.name != claim_name(run_id):
        raise _no_claim(folder)
    folder = folder / sub_path
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _no_claim(folder: Path) -> TaskFailed:
    return TaskFailed(
        f"there is no volume claim {folder.name}",
        "on one machine a claim is a folder",
        f"make the folder {folder}, or let the pipeline create the claim",
    )
