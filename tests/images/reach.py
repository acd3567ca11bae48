"""What a component's code can reach: definitions that use one another, across our modules."""

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from utils.files import ROOT
from utils.packing import module_file


def reached(entries: Iterable[str]) -> list[str]:
    """Source of the definitions and imports that names such as utils.stages.publish.publish_candidate reach."""
    found: dict[str, list[ast.stmt]] = {}
    queue, seen = [*entries], set[str]()
    while queue:
        name = queue.pop()
        if name in seen:
            continue
        seen.add(name)
        place, _, defined = name.rpartition(".")
        file = module_file(place)
        assert file, f"there is no module {place}"
        module = _module(file)
        if place not in found:  # statements without a name run at each import
            found[place] = [*module.unnamed]
            queue += [used for one in module.unnamed for used in module.used_by(one)]
        for statement in module.definitions.get(defined, []):
            found[place].append(statement)
            queue += module.used_by(statement)
    return [ast.unparse(ast.Module(body, [])) for body in found.values()]


def imports_at_once(entries: Iterable[str]) -> Iterator[str]:
    """The imports at the top of the modules of such names, and of all modules that are imported with them."""
    queue, seen = [name.rpartition(".")[0] for name in entries], set[str]()
    while queue:
        place = queue.pop()
        file = module_file(place)
        if place in seen or not file:
            continue
        seen.add(place)
        for node in ast.parse(file.read_bytes()).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                yield ast.unparse(node)
            if isinstance(node, ast.ImportFrom):
                queue += [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]


@cache
def _module(file: Path) -> "_Module":
    return _Module(file)


class _Module:
    """The definitions at the top of one of our modules."""

    def __init__(self, file: Path) -> None:
        self.name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        self.definitions: dict[str, list[ast.stmt]] = {}
        self.unnamed: list[ast.stmt] = []
        for node in ast.parse(file.read_bytes()).body:
            names = list(_bound(node))
            for name in names:
                self.definitions.setdefault(name, []).append(node)
            if not names and not isinstance(node, ast.Expr):
                self.unnamed.append(node)

    def used_by(self, statement: ast.stmt) -> Iterator[str]:
        """Full names of ours that a statement uses: from this module, and by its imports."""
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and node.id in self.definitions:
                yield f"{self.name}.{node.id}"
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("utils"):
                for alias in node.names:
                    target = f"{node.module}.{alias.name}"
                    whole = module_file(target)
                    yield from (f"{target}.{one}" for one in _module(whole).definitions) if whole else [target]


def _bound(statement: ast.stmt) -> Iterator[str]:
    """Names that a statement at a module's top gives a value."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Import | ast.ImportFrom):
        yield from ((alias.asname or alias.name).split(".")[0] for alias in statement.names)
    elif isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        yield from (node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name))
