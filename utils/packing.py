"""Packs our modules that a program needs: those of stages for pods, and those of standalone.py.

Code for pods counts twice in the size of each run's Workflow. So it packs only definitions that the stages reach,
without docstrings and comments. Lines that are left out stay blank: a traceback names files and lines of the
repository.
"""

import ast
import base64
import bz2
import hashlib
import io
import tarfile
import tokenize
from collections.abc import Iterable, Iterator, Mapping, Set
from functools import cache
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


def stage_files(entries: Iterable[str]) -> dict[str, bytes]:
    """The files that are needed to import names such as utils.stages.publish.publish_candidate, by path below ROOT.

    Files beside a module that looks for some, such as a style sheet, come with it.

    Raises:
        ValueError: a name is not defined where it is imported from.
    """
    # Packages below are found without this file; it makes ours come before a foreign package of that name.
    files = {f"{PACKAGE}/__init__.py": b""}
    reached, names = _reached(entries)
    for module, statements in reached.items():
        files[str(module.file.relative_to(ROOT))] = module.only(statements, names)
        if b"__file__" in module.source:
            beside = [file for file in module.file.parent.iterdir() if file.is_file() and file.suffix != ".py"]
            files |= {str(file.relative_to(ROOT)): file.read_bytes() for file in beside}
    return files


def _reached(entries: Iterable[str]) -> tuple[dict["_Module", set[ast.stmt]], set[str]]:
    """Modules, and which of their top-level statements are reached from the entries; and the full names of all that is.

    A name that a module imports is one of its own.
    """
    reached: dict[_Module, set[ast.stmt]] = {}
    queue, seen = [*entries], set[str]()
    while queue:
        name = queue.pop()
        if name in seen:
            continue
        seen.add(name)
        place, _, defined = name.rpartition(".")
        file = module_file(place)
        if file is None:
            raise ValueError(f"there is no module {place}")
        module = _module(file)
        if defined not in module.definitions:
            raise ValueError(f"{place} does not define {defined}")
        if module not in reached:  # statements that define nothing run at each import
            reached[module] = {*module.unnamed}
            queue += module.used_by(module.unnamed)
        reached[module] |= {*module.definitions[defined]}
        queue += module.used_by(module.definitions[defined])
    return reached, seen


@cache
def _module(file: Path) -> "_Module":
    return _Module(file)


class _Module:
    """One of our sources, and the statements at its top by the names that they define."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        self.source = file.read_bytes()
        self.lines = self.source.splitlines()
        self.tree = ast.parse(self.source)
        self.nodes = [*ast.walk(self.tree)]
        self.definitions: dict[str, list[ast.stmt]] = {}
        self.unnamed: list[ast.stmt] = []
        self.types = [*self._types()]
        self.untold = {id(node) for _, _, _, annotation in self.types for node in ast.walk(annotation)}
        for node in self.tree.body:
            names = list(_bound(node))
            for name in names:
                self.definitions.setdefault(name, []).append(node)
            if not names and not _is_text(node):
                self.unnamed.append(node)

    def used_by(self, statements: Iterable[ast.stmt]) -> Iterator[str]:
        """Full names of ours that statements use: from this module, and by their imports."""
        for node in (node for statement in statements for node in ast.walk(statement)):
            if isinstance(node, ast.Name) and node.id in self.definitions and id(node) not in self.untold:
                yield f"{self.name}.{node.id}"
            elif isinstance(node, ast.ImportFrom) and _is_ours(node.module):
                for alias in node.names:
                    target = f"{node.module}.{alias.name}"
                    whole = module_file(target)  # a module: all that it defines may be used
                    yield from (f"{target}.{one}" for one in _module(whole).definitions) if whole else [target]

    def _types(self) -> Iterator[tuple[int, int, int, ast.expr]]:
        """Line, start and end of the types of functions' arguments, results and variables, where these are on one line.

        Nothing reads them; those of classes' fields make dataclasses.
        """
        fields = {id(node) for one in self.nodes if isinstance(one, ast.ClassDef) for node in one.body}
        for node in self.nodes:
            if isinstance(node, ast.FunctionDef) and node.returns and node.returns.lineno == node.returns.end_lineno:
                arrow = self.lines[node.returns.lineno - 1].rfind(b" ->", 0, node.returns.col_offset)
                if arrow > 0:
                    yield node.returns.lineno - 1, arrow, node.returns.end_col_offset or 0, node.returns
            if isinstance(node, ast.arg) and node.annotation and node.lineno == node.end_lineno:
                start = node.col_offset + len(node.arg.encode())
                yield node.lineno - 1, start, node.end_col_offset or 0, node.annotation
            if isinstance(node, ast.AnnAssign) and node.value and id(node) not in fields:
                name, end = node.target, node.annotation
                if name.lineno == end.end_lineno:
                    yield name.lineno - 1, name.end_col_offset or 0, end.end_col_offset or 0, end

    def only(self, statements: Set[ast.stmt], names: Set[str]) -> bytes:
        """The source with only these statements of its top, without comments, documentation and types.

        What is left out leaves its lines blank.

        Args:
            names: full names; what else is imported is left out, too.
        """
        lines = [*self.lines]
        for token in tokenize.tokenize(io.BytesIO(self.source).readline) if b"#" in self.source else ():
            if token.type == tokenize.COMMENT:
                row, column = token.start
                lines[row - 1] = lines[row - 1].decode()[:column].rstrip().encode()
        for row, start, end, _ in sorted(self.types, key=lambda one: one[:3], reverse=True):
            lines[row] = lines[row][:start] + lines[row][end:]
        for one in statements:
            if isinstance(one, ast.ImportFrom):
                used = [alias for alias in one.names if f"{self.name}.{alias.asname or alias.name}" in names]
                first, end = one.lineno - 1, one.end_lineno or one.lineno
                line = f"from {one.module} import {', '.join(map(ast.unparse, used))}".encode()
                lines[first:end] = [line, *[b""] * (end - first - 1)]
        omitted = [node for node in self.tree.body if node not in statements]
        for node in self.nodes:
            body = getattr(node, "body", None)
            omitted += filter(_is_text, body) if isinstance(body, list) and len(body) > 1 else []
        for node in omitted:
            first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])
            lines[first - 1 : node.end_lineno] = [b""] * ((node.end_lineno or first) - first + 1)
        return b"\n".join(lines).rstrip() + b"\n" if any(lines) else b""


def _bound(statement: ast.stmt) -> Iterator[str]:
    """Names that a statement at a module's top gives a value."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Import | ast.ImportFrom):
        yield from ((alias.asname or alias.name).split(".")[0] for alias in statement.names)
    elif isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        yield from (node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name))


def _is_text(statement: ast.stmt) -> bool:
    """Whether it only documents: a docstring, or the text below a constant."""
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


REPLACED = str.maketrans(",./:[]", "$&<>{}")
"""Characters that stand for some of base 85: JSON lengthens <>&, templates and the kubelet change what has ${}."""


def as_text(data: bytes) -> str:
    """Bytes in base 85, 6 percent shorter than in base 64, with other characters for some: see `REPLACED`."""
    return base64.b85encode(data).decode().translate({new: old for old, new in REPLACED.items()})


def as_bytes(text: str) -> bytes:
    """The inverse of as_text."""
    return base64.b85decode(text.translate(REPLACED))


def unpacked(carried: str) -> dict[str, bytes]:
    """The files of a bundle as text, by path."""
    with tarfile.open(fileobj=io.BytesIO(as_bytes(carried))) as archive:
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
