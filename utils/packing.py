"""Packs our modules that a program needs: those of stages for pods, and those of standalone.py.

Code for pods counts in the size of each run's Workflow. So it packs only definitions that the program reaches, without
docstrings, comments and the types of arguments, and local variables have short names. Omitted lines stay blank, so that
a traceback names files and lines of the repository.
"""

import ast
import base64
import bz2
import hashlib
import io
import tarfile
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, cached_property
from pathlib import Path, PurePath

from utils.files import ROOT
from utils.shortening import constant_names, shortened

PACKAGE = "utils"


def closure(entry: Path) -> list[Path]:
    """The modules that a program imports, anywhere in its code, and their packages."""
    found: set[Path] = set()
    queue = [entry]
    while queue:
        for name in _imported(ast.parse(queue.pop().read_text())):
            file = module_file(name)
            if file and file not in found:
                packages = {folder / "__init__.py" for folder in file.parents if ROOT in folder.parents}
                queue += [file, *packages - found]
                found |= {file, *packages}
    return sorted(found)


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


def slim_files(entries: Iterable[str]) -> dict[str, bytes]:
    """The files that are needed to import names such as `utils.stages.publish.publish_candidate`, by path below ROOT.

    Files beside a module that are not Python, such as a style sheet, come with it.

    Raises:
        ValueError: a name is not defined where it is imported from.
    """
    entries = list(entries)
    sources = {module: module.slim(names) for module, names in _reach(entries).values()}
    # What a component imports keeps its name.
    kept = {entry.rpartition(".")[2] for entry in entries}
    constants = {name: other for name, other in constant_names(sources.values()).items() if name not in kept}
    # Packages below are found without this file; it makes ours come before a foreign package of that name.
    files = {f"{PACKAGE}/__init__.py": b""}
    for module, source in sources.items():
        files[str(module.file.relative_to(ROOT))] = shortened(source, constants)
        if module.reads_files:
            beside = [file for file in module.file.parent.iterdir() if file.is_file() and file.suffix != ".py"]
            files |= {str(file.relative_to(ROOT)): file.read_bytes() for file in beside}
    return files


def _reach(entries: Iterable[str]) -> dict[str, tuple["_Module", set[str]]]:
    """Modules with the top-level names of each that are reached from the entries."""
    reached: dict[str, tuple[_Module, set[str]]] = {}
    queue = list(entries)
    while queue:
        module_name, _, name = queue.pop().rpartition(".")
        file = module_file(module_name)
        if file is None:
            raise ValueError(f"there is no module {module_name}")
        new = module_name not in reached
        module, names = reached.setdefault(module_name, (_module(file), set())) if new else reached[module_name]
        if new:
            queue += module.used_by(module.unnamed)
        if name in names:
            continue
        if name not in module.definitions:
            raise ValueError(f"{module_name} does not define {name}")
        names.add(name)
        # What the definition uses from its own module, then from others.
        queue += [*module.resolve(name), *module.used_by(module.definitions[name])]
    return reached


@cache
def _module(file: Path) -> "_Module":
    """Several bundles take from the same module."""
    return _Module(file)


class _Module:
    """One of our sources: its top-level definitions, and what each of them uses."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        self.source = _uncommented(file.read_bytes())
        self.tree = ast.parse(self.source)
        self.definitions: dict[str, list[ast.stmt]] = {}
        self.unnamed: list[ast.stmt] = []
        for node in self.tree.body:
            names = list(_bound(node))
            for name in names:
                self.definitions.setdefault(name, []).append(node)
            if not names and not _is_text(node):
                self.unnamed.append(node)

    @cached_property
    def reads_files(self) -> bool:
        """Whether it looks for files beside itself."""
        return b"__file__" in self.source

    def used_by(self, statements: Iterable[ast.stmt]) -> list[str]:
        """Full names that statements use: from this module and from our other modules."""
        found = []
        for statement in statements:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                continue  # an import is reached with a name
            for node in _without_annotations(statement):
                if isinstance(node, ast.Name) and node.id in self.definitions:
                    found += self.resolve(node.id)
                elif isinstance(node, ast.ImportFrom) and _is_ours(node.module):
                    found += [f"{node.module}.{alias.name}" for alias in node.names]
        return found

    def resolve(self, name: str) -> list[str]:
        """A name of this module, and its origin if it was imported from one of our modules."""
        found = [f"{self.name}.{name}"]
        for node in self.definitions[name]:
            if isinstance(node, ast.ImportFrom) and _is_ours(node.module):
                original = next(alias.name for alias in node.names if (alias.asname or alias.name) == name)
                target = f"{node.module}.{original}"
                whole = module_file(target)
                if whole:  # a module: all that it defines may be used
                    found += [f"{target}.{one}" for one in _module(whole).definitions]
                else:
                    found.append(target)
        return found

    def slim(self, names: set[str]) -> bytes:
        """The source with only these names; every remaining line keeps its number."""
        cuts: set[tuple[int, int, bytes]] = set()
        for node in self.tree.body:
            bound = set(_bound(node))
            if (bound and not bound & names) or _is_text(node):
                cuts.add((*self._span(node), b""))
            elif isinstance(node, ast.ImportFrom | ast.Import):
                aliases = [alias for alias in node.names if (alias.asname or alias.name).split(".")[0] in names]
                cuts.add((*self._span(node), _import_text(node, aliases)))
            else:
                cuts |= {(start, end, b"") for start, end in self._unneeded(node)}
        text = self.source
        for start, end, new in sorted(cuts, reverse=True):
            text = text[:start] + new + b"\n" * text.count(b"\n", start, end) + text[end:]
        lines = [line.rstrip() for line in text.splitlines()]
        return b"\n".join(lines).rstrip() + b"\n" if any(lines) else b""

    def _unneeded(self, statement: ast.stmt) -> Iterator[tuple[int, int]]:
        """Spans of docstrings, and of the types of arguments, results and local variables."""
        for node in ast.walk(statement):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and len(node.body) > 1:
                yield from (self._span(text) for text in node.body if _is_text(text))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from self._types(node)

    def _types(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[int, int]]:
        for node in ast.walk(function):
            if isinstance(node, ast.arg) and node.annotation:
                start = self._offset(node.lineno, node.col_offset) + len(node.arg.encode())
                yield start, self._span(node.annotation)[1]
            elif isinstance(node, ast.AnnAssign) and node.value:
                yield self._span(node.target)[1], self._span(node.annotation)[1]
        if function.returns:
            start, end = self._span(function.returns)
            yield self.source.rindex(b"->", 0, start), end

    @cached_property
    def _starts(self) -> list[int]:
        starts = [0]
        for line in self.source.splitlines(keepends=True):
            starts.append(starts[-1] + len(line))
        return starts

    def _offset(self, line: int, column: int) -> int:
        return self._starts[line - 1] + column

    def _span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        """Where a node starts, decorators included, and ends, in bytes."""
        first = min([node, *getattr(node, "decorator_list", [])], key=lambda one: one.lineno)
        start = self._offset(first.lineno, 0 if first is not node else node.col_offset)
        return start, self._offset(node.end_lineno or 0, node.end_col_offset or 0)


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


def _bound(statement: ast.stmt) -> Iterator[str]:
    """Names that a statement at a module's top gives a value."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Import | ast.ImportFrom):
        yield from ((alias.asname or alias.name).split(".")[0] for alias in statement.names)
    elif isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        yield from (node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name))


def _import_text(node: ast.Import | ast.ImportFrom, aliases: list[ast.alias]) -> bytes:
    """The same import with fewer names, on one line."""
    module = node.module if isinstance(node, ast.ImportFrom) else None
    return ast.unparse(ast.ImportFrom(module, aliases, 0) if module else ast.Import(aliases)).encode()


def _is_text(statement: ast.stmt) -> bool:
    """Whether it only documents: a docstring, or the text below a constant."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _without_annotations(node: ast.AST, in_function: bool = False) -> Iterator[ast.AST]:
    """A node and those below it, except the types that `slim` leaves out."""
    yield node
    in_function = in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    for name, value in ast.iter_fields(node):
        typed = isinstance(node, ast.arg) or (isinstance(node, ast.AnnAssign) and in_function and node.value)
        if name == "returns" or (name == "annotation" and typed):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _without_annotations(child, in_function)


def _uncommented(source: bytes) -> bytes:
    lines = source.splitlines(keepends=True)
    for token in tokenize.tokenize(io.BytesIO(source).readline):
        if token.type == tokenize.COMMENT:
            line = lines[token.start[0] - 1].decode()
            lines[token.start[0] - 1] = (line[: token.start[1]].rstrip() + "\n").encode()
    return b"".join(lines)
