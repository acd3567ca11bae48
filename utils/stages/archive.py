"""The archive: packed by the user, unpacked on the volume without trusting what is in it."""

import errno
import gzip
import io
import os
import re
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from utils.messages import failure, progress
from utils.stages.digests import Digests, HashedTar

MAX_MEMBERS = 500_000
"""Headers in an archive."""
MAX_HEADER = 1 << 16
"""Bytes of an extended header."""
MAX_DEPTH = 100
SHOWN = 20
PACK = "tar czhf data.tar.gz --hard-dereference"
"""The command that packs what links point to: a model in a hub's cache consists of links that lead elsewhere."""
NOT_DISK = (None, errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EILSEQ)
"""Errors of the system that the archive causes, not the disk; None: gzip's."""
FILES = b"\x0007"
"""Types of headers of plain files."""
EXTENDED = b"LKxXg"
"""Types of headers that tell more about the member after them, or about all: long names of GNU, and pax."""
KINDS = ("knowledge", "compositional_skills", "foundational_skills")
"""Folders of a taxonomy."""
Last = tuple[str, Callable[[Digests], str]]


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

    Nothing of the archive is trusted: only plain files and folders are made, a member that `member_problem` names
    refuses the whole archive, and tar and gzip are verified to the last byte. `target` is made anew, and removed on
    failure.

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
        disk = isinstance(error, OSError) and error.errno not in NOT_DISK
        remedy = "correct the volume, and run it again" if disk else f"pack it again: {PACK} model taxonomy"
        raise failure(f"{archive.name} can't be unpacked", str(error), remedy) from None


def extract_members(archive: Path, target: Path, wanted: Sequence[str]) -> dict[str, str]:
    """Extract the members under the wanted folders; the others' top names are printed.

    Returns:
        where in the archive a model, a taxonomy and data lie, see `note_place`.

    Raises:
        ValueError: a member is refused.
        tarfile.TarError, EOFError, zlib.error, OSError: tar or gzip is truncated or damaged, or the disk fails.
    """
    free = shutil.disk_usage(target).free
    size = archive.stat().st_size
    ignored: set[str] = set()
    places: dict[str, str] = {}
    total = shown = 0
    with archive.open("rb") as raw, gzip.open(raw) as plain:
        for member in tar_members(plain):
            total += member.size
            problem = member_problem(member)
            if total > free:
                problem = f"{total / 2**30:.1f} GiB are needed, {free / 2**30:.1f} GiB are free"
            if problem:
                raise ValueError(f"{member.name[:200]}: {problem}")
            parts = Path(member.name).parts
            note_place(places, parts)
            path = Path(os.devnull)
            if parts and parts[0] in wanted:
                path = target / member.name
                (path if member.isdir() else path.parent).mkdir(parents=True, exist_ok=True)
            elif parts and len(ignored) < SHOWN:
                ignored.add(parts[0] if parts[0].isprintable() else ascii(parts[0]))
            if not member.isdir():
                with path.open("wb") as file:
                    for piece in padded_pieces(plain, member.size):
                        file.write(piece)
            if raw.tell() - shown > size // 20:
                shown = raw.tell()
                progress(-(-shown >> 20), -(-size >> 20), "MiB unpacked")
    if ignored:
        print(f"left out of the archive: {', '.join(sorted(ignored))}", flush=True)
    return places


def tar_members(plain: io.BufferedIOBase) -> Iterator[tarfile.TarInfo]:
    """The members of a tar, at whose content the reader stands; the caller reads it before the next.

    Not `tarfile.open`: that keeps extended headers of any size and every member in memory, and takes a damaged header
    for the end of the tar. Formats: ustar, GNU long names and pax (https://pubs.opengroup.org/onlinepubs/9799919799/
    utilities/pax.html, "pax Interchange Format").

    Raises:
        tarfile.TarError, EOFError, ValueError: the tar is broken, or does not end as a tar does.
    """
    given: dict[str, str] = {}
    for _ in range(MAX_MEMBERS + 1):
        block = b"".join(padded_pieces(plain, tarfile.BLOCKSIZE))
        if not any(block):
            break
        member = tarfile.TarInfo.frombuf(block, "utf-8", "backslashreplace")
        if member.type in EXTENDED:
            if not 0 <= member.size <= MAX_HEADER:
                raise ValueError(f"an extended header has {member.size} bytes")
            text = b"".join(padded_pieces(plain, member.size))
            if member.type == b"L":
                given["path"] = text.partition(b"\0")[0].decode(errors="backslashreplace")
            elif member.type in b"xX":
                given |= pax_records(text)
            continue
        member.name = given.get("path", member.name)
        member.size = 0 if member.isdir() else int(given.get("size", member.size))
        if not 0 <= member.size < 1 << 50:
            raise ValueError(f"{member.name[:200]}: its size is wrong")
        given = {}
        yield member
    else:
        raise ValueError(f"more than {MAX_MEMBERS} members")
    while rest := plain.read(1 << 20):
        if rest.strip(b"\0"):
            raise ValueError("data after its end")


def pax_records(data: bytes) -> dict[str, str]:
    """Path and size of an extended header, whose records are `LENGTH NAME=VALUE` and a line feed: LENGTH counts all.

    Raises:
        ValueError: one has another form, or tells of a sparse file.
    """
    found, start = {}, 0
    while start < len(data):
        length = data[start : start + 9].partition(b" ")[0]
        end = start + int(length)
        name, equals, value = data[start + len(length) + 1 : end].partition(b"=")
        if not start < end <= len(data) or not equals or not value.endswith(b"\n"):
            raise ValueError("an extended header has a wrong record")
        if name.startswith(b"GNU.sparse"):
            raise ValueError("it has a sparse file")
        if name in (b"path", b"size"):
            found[name.decode()] = value[:-1].decode(errors="backslashreplace")
        start = end
    return found


def padded_pieces(plain: io.BufferedIOBase, size: int) -> Iterator[bytes]:
    """The next `size` bytes, in pieces; what fills up their last block is read and left out.

    Raises:
        EOFError: there are fewer.
    """
    rest = -size % tarfile.BLOCKSIZE
    while size:
        if not (piece := plain.read(min(size, 1 << 20))):
            raise EOFError("the tar ends early")
        size -= len(piece)
        yield piece
    if len(plain.read(rest)) < rest:
        raise EOFError("the tar ends early")


def member_problem(member: tarfile.TarInfo) -> str:
    """Why a member of an archive is refused, "" when it is not."""
    parts = member.name.split("/")
    if member.issym() or member.islnk():
        return f"it is a link to {member.linkname}"
    if not member.isdir() and member.type not in FILES:
        return "it is a special file"
    if not parts[0] and member.name or ".." in parts:
        return "it leads out of the folder"
    return f"more than {MAX_DEPTH} folders deep" if len(parts) > MAX_DEPTH else ""


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
        write_tar(file, {model_dir: "model", taxonomy_dir: "taxonomy", **data}, target)
    partial.rename(target)


def write_tar(
    sink: Any, folders: Mapping[str, str], name: str, texts: Mapping[str, str] | None = None, last: Last | None = None
) -> None:
    """Write a tar to a file-like sink: plain when `name` ends in .tar, else gzip with stored blocks (no compression).

    Of a link goes in what it points to: a model in a hub's cache consists of links.

    Args:
        folders: folder to its name in the archive.
        texts: name in the archive to text; it replaces a file of that name in the folders.
        last: a file of text that comes last: its name, and what makes it of the files before it.
    """
    more = texts or {}
    packed = nullcontext(sink) if name.endswith(".tar") else gzip.GzipFile("", "wb", 0, sink)
    with packed as out, HashedTar.open(fileobj=out, mode="w|", bufsize=1 << 20, dereference=True) as tar:
        for folder, arcname in folders.items():
            tar.add(folder, arcname, filter=lambda member: None if member.name in more else member)
        for arcname, text in more.items():
            tar.add_text(arcname, text)
        if last:
            tar.add_text(last[0], last[1](tar.written))
