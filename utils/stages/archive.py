"""The archive: packed by the user, unpacked on the volume without trusting what is in it."""

import gzip
import io
import os
import re
import shutil
import tarfile
import time
import zlib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from utils.messages import failure, progress

MAX_MEMBERS = 500_000
PACK = "tar czhf data.tar.gz --hard-dereference"
"""The command that packs what links point to: a model in a hub's cache consists of links that lead elsewhere."""
NOT_DISK = (gzip.BadGzipFile, FileExistsError, IsADirectoryError, NotADirectoryError)
"""Errors of the system that the archive causes, not the disk."""
KINDS = ("knowledge", "compositional_skills", "foundational_skills")
"""Folders of a taxonomy."""


def require_space(folder: Path, need: int, what: str) -> None:
    """End the stage when the disk of `folder` has less than `need` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < need:
        raise failure(
            f"not enough space on the volume for {what}",
            f"{need / 2**30:.1f} GiB are needed in {folder}, {free / 2**30:.1f} GiB are free",
            "start a run with a larger k8s_storage_size (locally: free disk space, or another --home)",
        )


def unpack_archive(archive: Path, target: Path, wanted: Sequence[str]) -> dict[str, str]:
    """Unpack a gzip tar into the folder `target`, only the members under the wanted folders.

    Nothing of the archive is trusted: a member that `member_problem` names refuses the whole archive, tarfile's filter
    `data` handles links, owners and modes, and the gzip checksum is verified to the last byte. `target` is made anew,
    and removed on failure.

    Args:
        wanted: names of top folders, e.g. ["model", "taxonomy", "data"]; the rest is named and left out.

    Returns:
        see `extract_members`.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    try:
        return extract_members(archive, target, wanted)
    except (tarfile.TarError, EOFError, zlib.error, OSError, ValueError) as error:
        shutil.rmtree(target)
        disk = isinstance(error, OSError) and not isinstance(error, NOT_DISK)
        remedy = "correct the volume, and run it again" if disk else f"pack it again: {PACK} model taxonomy"
        raise failure(f"{archive.name} can't be unpacked", str(error), remedy) from None


def extract_members(archive: Path, target: Path, wanted: Sequence[str]) -> dict[str, str]:
    """Extract the members under the wanted folders; the others' top names are printed.

    Returns:
        where in the archive a model, a taxonomy and data lie, see `note_place`.

    Raises:
        tarfile.TarError: a member is refused, or the tar is broken.
        EOFError, zlib.error, OSError, ValueError: the gzip is truncated or damaged, a name is wrong, or the disk fails.
    """
    free = shutil.disk_usage(target).free
    size = archive.stat().st_size
    ignored: set[str] = set()
    links: list[str] = []
    places: dict[str, str] = {}
    total = shown = 0
    with archive.open("rb") as raw, gzip.open(raw) as plain:
        with tarfile.open(fileobj=plain, mode="r|", bufsize=1 << 20) as tar:
            for count, member in enumerate(tar, 1):
                total += member.size
                parts = Path(member.name).parts
                top = parts[0] if parts else ""
                problem = member_problem(member, target if top in wanted else None)
                if count > MAX_MEMBERS:
                    problem = f"more than {MAX_MEMBERS} members"
                if total > free:
                    problem = f"{total / 2**30:.1f} GiB are needed, {free / 2**30:.1f} GiB are free"
                if problem:
                    raise tarfile.TarError(f"{member.name}: {problem}")
                note_place(places, parts)
                if top in wanted:
                    tar.extract(member, target, filter="data")
                    # A taxonomy is a checkout, which may have broken links in places that nobody reads.
                    links += [member.name] * (member.issym() and (top != "taxonomy" or len(parts) == 1))
                else:
                    ignored |= {*parts[:1]}
                if raw.tell() - shown > size // 20:
                    shown = raw.tell()
                    progress(-(-shown >> 20), -(-size >> 20), "MiB unpacked")
        # tarfile stops at the end of the tar: the gzip's checksum comes after it.
        while plain.read(1 << 20):
            pass
    for name in links:
        if not os.path.exists(target / name):
            raise tarfile.TarError(f"{name}: it is a link to {os.readlink(target / name)}, which is not unpacked")
    if ignored:
        print(f"left out of the archive: {', '.join(sorted(ignored)[:20])}", flush=True)
    return places


def member_problem(member: tarfile.TarInfo, target: Path | None) -> str:
    """Why a member of an archive is not unpacked, "" when it is.

    Args:
        target: the folder that it is extracted to; None if it is left out.
    """
    if member.name.startswith("/") or ".." in member.name.split("/"):
        return "it leads out of the folder"
    if target and member.islnk() and not os.path.lexists(target / member.linkname):
        return f"it is a hard link to {member.linkname}, which is not unpacked before it"
    return "" if member.isreg() or member.isdir() or member.islnk() or member.issym() else "it is a special file"


def note_place(places: dict[str, str], parts: Sequence[str]) -> None:
    """Note in which folder of an archive a base model, a taxonomy or generated data lie: the outermost of each.

    Args:
        places: `model`, `taxonomy` or `data` to the folder.
        parts: of a member's name.
    """
    marks = {"config.json": "model", **dict.fromkeys(KINDS, "taxonomy")}
    marks |= {name: "data" for name in parts[-1:] if re.fullmatch(r"(knowledge|skills)_train_.+\.jsonl", name)}
    for mark in filter(marks.__contains__, parts):
        part, place = marks[mark], "/".join(parts[: parts.index(mark)]) or "."
        places[part] = min(places.get(part, place), place, key=len)


def pack_archive(model_dir: str, taxonomy_dir: str, data_dir: str, target: str) -> None:
    """Pack what data import reads, `model/`, `taxonomy/` and with data generated elsewhere `data/`, as a gzip tar.

    Weights hardly compress, so the blocks are stored. Written beside `target` and renamed.

    Args:
        data_dir: folder of generated data, "" for none.
    """
    partial = Path(target + ".part")
    data = {data_dir: "data"} if data_dir else {}
    with partial.open("wb") as file:
        write_tar(file, {model_dir: "model", taxonomy_dir: "taxonomy", **data}, {}, target)
    partial.rename(target)


def write_tar(sink: Any, folders: Mapping[str, str], files: Mapping[str, str], name: str) -> None:
    """Write a tar to a file-like sink: plain when `name` ends in .tar, else gzip with stored blocks (no compression).

    Of a link goes in what it points to: a model in a hub's cache consists of links.

    Args:
        folders: folder to its name in the archive.
        files: name in the archive to content (str).
    """
    packed = nullcontext(sink) if name.endswith(".tar") else gzip.GzipFile("", "wb", 0, sink)
    with packed as out, tarfile.open(fileobj=out, mode="w|", bufsize=1 << 20, dereference=True) as tar:
        for folder, arcname in folders.items():
            tar.add(folder, arcname)
        for arcname, text in files.items():
            info = tarfile.TarInfo(arcname)
            info.size, info.mtime = len(text.encode()), int(time.time())
            tar.addfile(info, io.BytesIO(text.encode()))
