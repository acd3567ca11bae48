"""Hashes of files, by which a later reader knows that they are the same: what provenance.json and `verify` compare."""

import hashlib
import io
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Digest = dict[str, Any]
"""A file: `size` in bytes, `sha256` in hexadecimal."""
Digests = dict[str, Digest]
"""Files by path below a folder, or name in an archive."""


def digest_of(path: Path) -> Digest:
    """Size and hash of a file."""
    with path.open("rb") as file:
        return {"size": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def digests_of(folder: Path, *left_out: str) -> Digests:
    """The files below a folder, by path from there; links, and those below a folder of the names left out, are not.

    A folder that is not there has none.
    """
    found = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if not path.is_symlink()}
    kept = {name: path for name, path in found.items() if path.is_file() and not {*name.parts}.intersection(left_out)}
    return {str(name): digest_of(path) for name, path in kept.items()}


def combined(files: Mapping[str, Mapping[str, Any]]) -> str:
    """One hash for many files: of the lines that sha256sum prints for them, sorted by path; "" for none.

    The same in a shell: `find . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum`.
    """
    lines = "".join(f"{files[name]['sha256']}  {name}\n" for name in sorted(files, key=str.encode))
    return hashlib.sha256(lines.encode()).hexdigest() if lines else ""


class HashedTar(tarfile.TarFile):
    """A tar that hashes what is written to it: `written` has its files so far."""

    def __init__(self, *given: Any, **named: Any) -> None:
        self.written: Digests = {}
        super().__init__(*given, **named)

    def addfile(self, tarinfo: tarfile.TarInfo, fileobj: Any = None) -> None:
        reader = _Reader(fileobj)
        super().addfile(tarinfo, reader if fileobj else None)  # type: ignore[arg-type]
        if tarinfo.isreg():
            self.written[tarinfo.name] = {"size": tarinfo.size, "sha256": reader.sha256.hexdigest()}

    def add_text(self, name: str, text: str) -> None:
        """Add a file with this text."""
        data, info = text.encode("utf-8", "replace"), tarfile.TarInfo(name)
        info.size, info.mtime = len(data), int(time.time())
        self.addfile(info, io.BytesIO(data))


class _Reader:
    """A file whose hash is known when it has been read."""

    def __init__(self, file: Any) -> None:
        self._file, self.sha256 = file, hashlib.sha256()

    def read(self, size: int) -> bytes:
        data: bytes = self._file.read(size)
        self.sha256.update(data)
        return data
