"""Whether a published archive holds what its provenance.json says, byte for byte. It is read once and never unpacked.

Memory is bounded: names and hashes of at most MOST_FILES files, and a provenance.json of at most MOST_PROVENANCE bytes.
"""

import gzip
import hashlib
import io
import os
import re
import stat
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.errors import IlabError
from utils.foreign_text import TextError, read_json
from utils.stages.archive import member_problem, padded_pieces, tar_members
from utils.stages.digests import Digest, Digests
from utils.stages.folders import PROVENANCE

MOST_FILES = 100_000
LONGEST_NAME = 4096
MOST_PROVENANCE = 64 << 20
BESIDE = ("report.html", "report.json")
"""What the report adds to a result's folder after its publication."""
GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Finding:
    """What is wrong with a file of the archive; file is "" where it is about the archive itself."""

    file: str
    problem: str


@dataclass
class Contents:
    """What was read of an archive.

    Attributes:
        size, sha256: of the archive as one file; sha256 is "" for a folder.
        provenance: text of its provenance.json, None without one.
        broken: it could not be read to its end.
    """

    size: int = 0
    sha256: str = ""
    files: Digests = field(default_factory=dict)
    provenance: bytes | None = None
    findings: list[Finding] = field(default_factory=list)
    broken: bool = False

    def found(self, file: str, problem: str) -> None:
        self.findings.append(Finding(file, problem))

    def add(self, name: str, size: int, pieces: Iterator[bytes]) -> None:
        """A file of the archive; its pieces are read.

        Raises:
            ValueError: there are too many, or its name is too long.
        """
        if len(self.files) >= MOST_FILES or len(name) > LONGEST_NAME:
            raise ValueError(f"more than {MOST_FILES} files, or a name of more than {LONGEST_NAME} characters")
        sha256, kept = hashlib.sha256(), bytearray()
        keep = name == PROVENANCE and size <= MOST_PROVENANCE
        for piece in pieces:
            sha256.update(piece)
            if keep:
                kept += piece
        if name in self.files:
            self.found(name, "it is there twice")
        if name == PROVENANCE and not keep:
            self.found(name, f"it has {size:,} bytes, more than {MOST_PROVENANCE:,}")
        elif keep:
            self.provenance = bytes(kept)
        self.files[name] = {"size": size, "sha256": sha256.hexdigest()}


class HashedFile(io.BufferedIOBase):
    """A file that is read from its start to its end: bytes so far, and their hash. `tell` is told of each 64 MiB."""

    def __init__(self, file: "io.BufferedReader[Any]", tell: Callable[[int], object]) -> None:
        self._file, self._tell, self.size, self.sha256 = file, tell, 0, hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        data = self._file.read(size)
        self.sha256.update(data)
        if (self.size + len(data)) >> 26 > self.size >> 26:
            self._tell(self.size + len(data))
        self.size += len(data)
        return data


def read_archive(file: "io.BufferedReader[Any]", tell: Callable[[int], object] = lambda read: None) -> Contents:
    """The contents of a tar, with or without gzip.

    Args:
        tell: told now and then how many bytes have been read.

    Raises:
        OSError: the file can't be read.
    """
    found, raw = Contents(), HashedFile(file, tell)
    packed = file.peek(2)[:2] == GZIP
    plain: io.BufferedIOBase = gzip.GzipFile(fileobj=raw) if packed else raw
    try:
        for member in tar_members(plain):
            if problem := member_problem(member):
                found.found(member.name[:LONGEST_NAME], problem)
            pieces = padded_pieces(plain, member.size)
            if problem or member.isdir():
                for _ in pieces:
                    pass
            else:
                found.add(str(Path(member.name)), member.size, pieces)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError) as error:
        found.broken = True
        kind = "gzip tar" if packed else "tar"
        found.found("", f"after {raw.size:,} bytes it is not a whole {kind}: {error}")
    while raw.read(1 << 20):  # for its hash
        pass
    found.size, found.sha256 = raw.size, raw.sha256.hexdigest()
    return found


def read_folder(folder: Path) -> Contents:
    """The contents of a result's folder, without the report. Links are not followed.

    Raises:
        OSError: a file can't be read.
        ValueError: there are too many for a result.
    """

    def fail(error: OSError) -> None:
        raise error

    found = Contents()
    for place, below, names in os.walk(folder, onerror=fail):
        below.sort()
        for path in [Path(place, name) for name in (*below, *sorted(names))]:
            name, kind = str(path.relative_to(folder)), path.lstat().st_mode
            if stat.S_ISREG(kind) and name not in BESIDE:
                with path.open("rb") as file:
                    size = os.fstat(file.fileno()).st_size
                    found.add(name, size, iter(lambda: file.read(1 << 20), b""))
                found.size += size
            elif not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
                found.found(name, "it is a link" if stat.S_ISLNK(kind) else "it is a special file")
    return found


def provenance_of(contents: Contents) -> dict[str, Any]:
    """The provenance of what was read, {} and a finding where it has none that can be read."""
    if contents.provenance is None:
        if not contents.broken:
            contents.found(PROVENANCE, "it is missing: the task publish writes it into each archive")
        return {}
    try:
        told = read_json(contents.provenance)
    except TextError as error:
        contents.found(PROVENANCE, f"it can't be read: {error}")
        return {}
    if not isinstance(told, dict):
        contents.found(PROVENANCE, "it can't be read: it is not a JSON object")
        return {}
    return told


def compare(contents: Contents, told: Mapping[str, Any]) -> None:
    """Add a finding for each file that is not what the provenance says."""
    files = told.get("files")
    if files is None:
        contents.found(PROVENANCE, "it lists no files: the archive was made by an earlier version")
        return
    if not isinstance(files, dict) or not all(map(is_digest, files.values())):
        contents.found(PROVENANCE, "its files are not each a size and a sha256")
        return
    for name in sorted({*files, *contents.files} - {PROVENANCE}):
        there, wanted = contents.files.get(name), files.get(name)
        if there is None:
            contents.found(name, "missing")
        elif wanted is None:
            contents.found(name, "not listed in provenance.json: it was added")
        elif there["size"] != wanted["size"]:
            contents.found(name, f"changed: it has {there['size']:,} bytes instead of {wanted['size']:,}")
        elif there["sha256"] != wanted["sha256"]:
            contents.found(name, f"changed: its sha256 is {there['sha256']} instead of {wanted['sha256']}")


def is_digest(value: Any) -> bool:
    """Whether a value of foreign JSON is a `Digest`."""
    wanted: Digest = value if isinstance(value, dict) else {}
    size, sha256 = wanted.get("size"), wanted.get("sha256")
    return isinstance(size, int) and isinstance(sha256, str) and bool(re.fullmatch("[0-9a-f]{64}", sha256))


def first_digest(text: str, name: str) -> str:
    """The hash in a line that sha256sum printed.

    Raises:
        IlabError: it has none.
    """
    if not re.match(r"[0-9a-fA-F]{64}(\s|$)", text):
        raise IlabError(f"{name} can't be read", "it does not start with 64 hexadecimal digits", "download it again")
    return text[:64].lower()
