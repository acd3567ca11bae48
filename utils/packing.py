"""Packs our modules that a program needs: those of stages for pods, and those of standalone.py.

Code for pods counts twice in the size of each run's Workflow, so it travels without docstrings. Their lines stay blank:
a traceback names files and lines of the repository.
"""

import ast
import base64
import bz2
import hashlib
import io
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePath

from utils.files import ROOT

PACKAGE = "utils"


def closure(entries: Iterable[Path]) -> list[Path]:
    """The modules that programs import, anywhere in their code, and their packages."""
    found: set[Path] = set()
    queue = [*entries]
    while queue:
        for name in _imported(ast.parse(queue.pop().read_text())):
            file = module_file(name)
            if file and file not in found:
                packages = {folder / "__init__.py" for folder in file.parents if ROOT in folder.parents}
                queue += [file, *packages - found]
                found |= {file, *packages}
    return sorted(found)


def stage_files(functions: Iterable[str]) -> dict[str, bytes]:
    """The files that are needed to import functions such as utils.stages.publish.publish_candidate, by path below ROOT.

    Files beside a module that looks for some, such as a style sheet, come with it.

    Raises:
        ValueError: there is no such module.
    """
    modules = {name: module_file(name.rpartition(".")[0]) for name in functions}
    if missing := [name for name, file in modules.items() if file is None]:
        raise ValueError(f"there is no module for {', '.join(missing)}")
    entries = {file for file in modules.values() if file}
    files: dict[str, bytes] = {}
    for file in {*entries, *closure(entries)}:
        source = file.read_bytes()
        files[str(file.relative_to(ROOT))] = without_docstrings(source)
        if b"__file__" in source:
            beside = [one for one in file.parent.iterdir() if one.is_file() and one.suffix != ".py"]
            files |= {str(one.relative_to(ROOT)): one.read_bytes() for one in beside}
    return files


def without_docstrings(source: bytes) -> bytes:
    """Python with blank lines in place of docstrings, and of texts below constants; one that is a whole body stays."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        if isinstance(body, list) and len(body) > 1:
            for text in filter(_is_text, body):
                lines[text.lineno - 1 : text.end_lineno] = [b""] * (text.end_lineno - text.lineno + 1)
    return b"\n".join(lines) + b"\n"


def _is_text(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def module_file(name: str) -> Path | None:
    """The file of one of our modules; None if there is no such module."""
    place = ROOT / name.replace(".", "/")
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)


def tree_digest(files: Mapping[str, bytes]) -> str:
    """The first 16 digits of a SHA-256 over each file's name, without its folder, and content, in the paths' order.

    It is over Python's notation of these, in which no two lists of files look the same.
    """
    listed = [(path.name, files[str(path)]) for path in sorted(map(PurePath, files))]
    return hashlib.sha256(repr(listed).encode()).hexdigest()[:16]


def bundle(files: Mapping[str, bytes]) -> bytes:
    """A compressed tar (bz2) of files: the same bytes for the same files."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(files):
            member = tarfile.TarInfo(name)
            member.size = len(files[name])
            archive.addfile(member, io.BytesIO(files[name]))
    return bz2.compress(content.getvalue())


def as_text(data: bytes) -> str:
    """Bytes in base64, which no JSON lengthens and no shell, template or kubelet changes."""
    return base64.b64encode(data).decode()


def unpacked(carried: str) -> dict[str, bytes]:
    """The files of a bundle as text, by path."""
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(carried))) as archive:
        files = {member.name: archive.extractfile(member) for member in archive}
        return {name: file.read() for name, file in files.items() if file}


def _is_ours(module: str | None) -> bool:
    return (module or "").split(".")[0] == PACKAGE


def _imported(tree: ast.Module) -> Iterator[str]:
    """Our names that a module imports: modules, and names that may be modules in a package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and _is_ours(node.module):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if _is_ours(alias.name))
