"""The archive: packed by the user, unpacked on the volume without trusting what is in it."""

import gzip
import io
import os
import shutil
import tarfile
import time
import zlib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from utils.messages import failure, progress

Folders = Sequence[tuple[str, str]]
"""Pairs of a folder (or "") and its name in the archive."""


def require_space(folder: str, need: int, what: str) -> None:
    """End the stage when the disk of `folder` has less than `need` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < need:
        raise failure(
            f"not enough space on the volume for {what}",
            f"{need / 2**30:.1f} GiB are needed in {folder}, {free / 2**30:.1f} GiB are free",
            "start a run with a larger k8s_storage_size (locally: free disk space, or another --home)",
        )


def unpack_archive(archive: str, target: str, wanted: Sequence[str], max_members: int = 500_000) -> None:
    """Unpack a gzip tar into the folder `target`, only the members under the wanted folders.

    Nothing of the archive is trusted: a member that `member_problem` names refuses the whole archive, tarfile's filter
    `data` sees to links, owners and modes, and the gzip checksum is verified to the last byte. `target` is made anew,
    and removed on failure.

    Args:
        wanted: names of top folders, e.g. ["model", "taxonomy", "data"]; the rest is named and left out.
    """
    shutil.rmtree(target, ignore_errors=True)
    os.makedirs(target)
    try:
        ignored = extract_members(archive, target, wanted, max_members)
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        shutil.rmtree(target)
        what = f"{os.path.basename(archive)} can't be unpacked"
        if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile):
            raise failure(what, str(error), "see to the volume, then run it again") from None
        cause = str(error) if isinstance(error, tarfile.TarError) else f"truncated, damaged, or not a gzip: {error}"
        raise failure(what, cause, "pack it again: tar czf data.tar.gz model taxonomy") from None
    if ignored:
        print(f"left out of the archive: {', '.join(ignored[:20])}", flush=True)


def extract_members(archive: str, target: str, wanted: Sequence[str], max_members: int) -> list[str]:
    """Extract the members under the wanted folders; the top names that were left out, sorted.

    Raises:
        tarfile.TarError: a member is refused, or the tar is broken.
        EOFError, zlib.error, OSError: the gzip is truncated or damaged, or the disk fails.
    """
    room = shutil.disk_usage(target).free
    size = os.path.getsize(archive)
    ignored: set[str] = set()
    total = shown = 0
    with open(archive, "rb") as raw, gzip.open(raw) as plain:
        with tarfile.open(fileobj=plain, mode="r|", bufsize=1 << 20) as tar:
            for count, member in enumerate(tar, 1):
                total += member.size
                problem = member_problem(member, total, room, count, max_members)
                if problem:
                    raise tarfile.TarError(f"{member.name}: {problem}")
                top = os.path.normpath(member.name).split(os.sep)[0]
                if top in wanted:
                    tar.extract(member, target, filter="data")
                elif top != ".":
                    ignored.add(top)
                if raw.tell() - shown > size // 20:
                    shown = raw.tell()
                    progress(-(-shown >> 20), -(-size >> 20), "MiB unpacked")
        # tarfile stops at the end of the tar: the gzip's checksum comes after it.
        while plain.read(1 << 20):
            pass
    return sorted(ignored)


def member_problem(member: tarfile.TarInfo, total: int, room: int, count: int, max_members: int) -> str:
    """Why a member of an archive is not unpacked, "" when it is.

    Args:
        total: bytes of all members up to this one.
        room: bytes free on the disk before the first.
        count: the member's number, from 1.
    """
    if member.name.startswith("/") or ".." in member.name.split("/"):
        return "its path leads out of the archive"
    if not (member.isreg() or member.isdir() or member.islnk() or member.issym()):
        return "it is a device or another special file"
    if count > max_members:
        return f"it is the {count}th member, more than {max_members} are not unpacked"
    if total > room:
        return f"with it {total / 2**30:.1f} GiB are unpacked, {room / 2**30:.1f} GiB are free on the volume"
    return ""


def pack_archive(model_dir: str, taxonomy_dir: str, data_dir: str, target: str) -> None:
    """Pack what data import reads, `model/`, `taxonomy/` and with data generated elsewhere `data/`, as a gzip tar.

    Weights hardly compress, so the blocks are stored. Written beside `target` and renamed.

    Args:
        data_dir: folder of generated data, "" for none.
    """
    with open(target + ".part", "wb") as file:
        write_tar(file, [(model_dir, "model"), (taxonomy_dir, "taxonomy"), (data_dir, "data")], {}, target)
    os.replace(target + ".part", target)


def write_tar(sink: Any, folders: Folders, files: Mapping[str, str], name: str) -> None:
    """Write a tar to a file-like sink: plain when `name` ends in .tar, else gzip with stored blocks (no compression).

    Of a link goes in what it points to: a model in a hub's cache consists of links.

    Args:
        files: name in the archive to content (str).
    """
    packed = nullcontext(sink) if name.endswith(".tar") else gzip.GzipFile("", "wb", 0, sink)
    with packed as out, tarfile.open(fileobj=out, mode="w|", bufsize=1 << 20, dereference=True) as tar:
        for folder, arcname in folders:
            if folder:
                tar.add(folder, arcname)
        for arcname, text in files.items():
            info = tarfile.TarInfo(arcname)
            info.size, info.mtime = len(text.encode()), int(time.time())
            tar.addfile(info, io.BytesIO(text.encode()))


def tree_size(folders: Folders) -> int:
    """Bytes of all files in the folders of `write_tar`."""
    walks = (walk for folder, _ in folders for walk in os.walk(folder))
    return sum(os.path.getsize(os.path.join(place, name)) for place, _, names in walks for name in names)
