"""Python sources in fewer bytes, for code that travels: the same statements on the same lines, some names in short.

Variables of functions and modules' constants get other names, which no traceback shows. Parameters, attributes,
functions and classes keep theirs.
"""

import ast
import builtins
import copy
import itertools
import string
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType

_SCOPES = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_BLOCKS = ("body", "orelse", "finalbody")
# Functions that look at their variables' names.
_READ_NAMES = {"locals", "vars", "eval", "exec"}


def shortened(source: bytes, constants: Mapping[str, str] = MappingProxyType({})) -> bytes:
    """The source with the local variables of its functions renamed, each statement written on its first line.

    Args:
        constants: the other name of modules' constants, as `constant_names` gives it.

    Raises:
        ValueError: two statements share a line.
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = constants.get(node.id, node.id)
        elif isinstance(node, ast.alias):
            node.name = constants.get(node.name, node.name)
    return written(renamed(tree))


def constant_names(sources: Collection[bytes]) -> dict[str, str]:
    """Short names for the constants of modules that go together, the same in each of them.

    A name that is also something else in one of them, such as an attribute, stays as it is.
    """
    nodes = [node for source in sources for node in ast.walk(ast.parse(source))]
    counts = Counter(node.id for node in nodes if isinstance(node, ast.Name))
    assigned = [target for node in nodes if isinstance(node, ast.Module) for target in _assigned(node)]
    other = {text for node in nodes for text in _as_text(node)}
    letters = itertools.chain(string.ascii_uppercase, map("".join, itertools.product(string.ascii_uppercase, repeat=2)))
    free = (name for name in letters if name not in counts and name not in other)
    chosen = sorted({name for name in assigned if name.isupper() and len(name) > 3 and name not in other})
    return dict(zip(sorted(chosen, key=lambda name: -counts[name]), free, strict=False))


def _assigned(module: ast.Module) -> Iterator[str]:
    for statement in module.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        yield from (target.id for target in targets if isinstance(target, ast.Name))


def _as_text(node: ast.AST) -> Iterator[str]:
    """What a node of a tree names by text, but for imports of our own modules."""
    if isinstance(node, ast.Attribute):
        yield node.attr
    elif isinstance(node, ast.keyword | ast.arg):
        yield node.arg or ""
    elif isinstance(node, ast.Global):
        yield from node.names
    elif isinstance(node, ast.ImportFrom) and not str(node.module).startswith("utils."):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.alias) and node.asname:
        yield from (node.name, node.asname)
    elif isinstance(node, ast.ClassDef):
        yield from (one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store))


def renamed(tree: ast.Module) -> ast.Module:
    """The module with short names for the local variables of its functions (in place)."""
    fixed = set(dir(builtins)) | {name for statement in tree.body for name in _seen_outside(statement)}
    for function in _functions(tree.body):
        _rename(function, fixed)
    return tree


def written(tree: ast.Module) -> bytes:
    """The module's source, each statement on its first line."""
    lines: dict[int, str] = {}
    _write(tree.body, "", lines)
    return "".join(lines.get(number, "") + "\n" for number in range(1, max(lines, default=0) + 1)).encode()


def _seen_outside(node: ast.AST, in_function: bool = False) -> Iterator[str]:
    """Names that a statement of a module gives or takes outside functions, and what any function imports or defines."""
    in_function = in_function or isinstance(node, _SCOPES)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.alias):
        yield (node.asname or node.name).split(".")[0]
    elif isinstance(node, ast.Name) and not in_function:
        yield node.id
    for child in ast.iter_child_nodes(node):
        yield from _seen_outside(child, in_function)


def _functions(body: list[ast.stmt]) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The outermost functions, those of classes too."""
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            yield statement
        elif isinstance(statement, ast.ClassDef):
            yield from _functions(statement.body)


def _rename(function: ast.FunctionDef | ast.AsyncFunctionDef, fixed: set[str]) -> None:
    """Give the variables of a function, and of functions in it, names of one or two letters (in place)."""
    nodes = list(ast.walk(function))
    names = [node for node in nodes if isinstance(node, ast.Name)]
    counts = Counter(node.id for node in names)
    if _READ_NAMES & counts.keys():
        return
    kept = fixed | set(_bound_as_text(nodes))
    own = {node.id for node in names if isinstance(node.ctx, ast.Store)} - kept
    letters = itertools.chain(string.ascii_lowercase, map("".join, itertools.product(string.ascii_lowercase, repeat=2)))
    free = (name for name in letters if name not in kept and name not in counts)
    short = {name: next(free) for name, _ in counts.most_common() if name in own and len(name) > 1}
    for node in names:
        node.id = short.get(node.id, node.id)


def _bound_as_text(nodes: list[ast.AST]) -> Iterator[str]:
    """Names that the tree holds as text: parameters, and what `global`, `except … as` and `match` bind."""
    for node in nodes:
        if isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Global | ast.Nonlocal):
            yield from node.names
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
            yield from filter(None, [node.name])
        elif isinstance(node, ast.MatchMapping):
            yield from filter(None, [node.rest])


def _write(body: list[ast.stmt], indent: str, lines: dict[int, str]) -> None:
    """Put the statements into lines, by number."""
    for statement in body:
        if not any(hasattr(statement, name) for name in ("body", "cases")):
            _put(statement.lineno, indent + _text(statement), lines)
        elif isinstance(statement, ast.Try | ast.TryStar):
            _put(statement.lineno, indent + "try:", lines)
            _write(statement.body, indent + " ", lines)
            for handler in statement.handlers:
                what = f" {_text(handler.type)}" if handler.type else ""
                named = f" as {handler.name}" if handler.name else ""
                star = "*" * isinstance(statement, ast.TryStar)
                _put(handler.lineno, f"{indent}except{star}{what}{named}:", lines)
                _write(handler.body, indent + " ", lines)
            _write_else(statement, indent, lines)
        elif isinstance(statement, ast.Match):
            _put(statement.lineno, f"{indent}match {_text(statement.subject)}:", lines)
            for case in statement.cases:
                guard = f" if {_text(case.guard)}" if case.guard else ""
                _put(case.pattern.lineno, f"{indent} case {_text(case.pattern)}{guard}:", lines)
                _write(case.body, indent + "  ", lines)
        else:
            _write_header(statement, indent, lines)
            _write(statement.body, indent + " ", lines)  # type: ignore[attr-defined]
            _write_else(statement, indent, lines)


def _write_header(statement: ast.stmt, indent: str, lines: dict[int, str], before: str = "") -> None:
    """The lines of a compound statement before its body."""
    header = copy.copy(statement)
    for name in _BLOCKS:
        if hasattr(header, name):
            setattr(header, name, [ast.Pass()] if name == "body" else [])
    *decorators, last = _text(header).removesuffix("\n    pass").split("\n")
    for decorator, text in zip(getattr(statement, "decorator_list", []), decorators, strict=True):
        _put(decorator.lineno, indent + text, lines)
    _put(statement.lineno, indent + before + last, lines)


def _write_else(statement: ast.stmt, indent: str, lines: dict[int, str]) -> None:
    """`else` and `finally`, which have no number of their own: the line before what they hold."""
    for name, word in (("orelse", "else:"), ("finalbody", "finally:")):
        body: list[ast.stmt] = getattr(statement, name, [])
        first = body[0] if body else None
        if isinstance(first, ast.If) and len(body) == 1 and first.col_offset == statement.col_offset:
            _write_header(first, indent, lines, "el")
            _write(first.body, indent + " ", lines)
            _write_else(first, indent, lines)
        elif first:
            _put(_first_line(first) - 1, indent + word, lines)
            _write(body, indent + " ", lines)


def _text(node: ast.AST) -> str:
    """A statement or an expression on one line; f-strings are the same in every version of Python, unlike unparse's."""
    if not any(isinstance(one, ast.JoinedStr) for one in ast.walk(node)):
        return ast.unparse(node)
    found: dict[str, str] = {}

    class Replaced(ast.NodeTransformer):
        def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
            name = f"_f{len(found)}_f_"
            found[name] = _format_string(node)
            return ast.Name(name, ast.Load())

    text = ast.unparse(Replaced().visit(copy.deepcopy(node)))
    for name, value in found.items():
        text = text.replace(name, value)
    return text


def _format_string(node: ast.JoinedStr) -> str:
    fields = [one for one in ast.walk(node) if isinstance(one, ast.FormattedValue)]
    taken = "".join(_text(one.value) for one in fields)
    quotes = next(quotes for quotes in ('"', "'", '"""', "'''") if quotes not in taken)
    return f"f{quotes}{_parts(node, quotes[0])}{quotes}"


def _parts(node: ast.expr, quote: str) -> str:
    """What an f-string, or the format of one of its fields, holds between the quotes."""
    assert isinstance(node, ast.JoinedStr)
    parts = []
    for one in node.values:
        if isinstance(one, ast.FormattedValue):
            value = _text(one.value)
            conversion = "" if one.conversion < 0 else f"!{chr(one.conversion)}"
            form = f":{_parts(one.format_spec, quote)}" if one.format_spec else ""
            parts.append("{" + " " * value.startswith("{") + value + conversion + form + "}")
        elif isinstance(one, ast.Constant):
            text = repr(str(one.value) + '"')[1:-2]  # with a double quote in it, repr encloses in single ones
            text = text.replace("\\'", "'").replace(quote, f"\\{quote}")
            parts.append(text.replace("{", "{{").replace("}", "}}"))
    return "".join(parts)


def _first_line(statement: ast.stmt) -> int:
    return min([statement.lineno, *(one.lineno for one in getattr(statement, "decorator_list", []))])


def _put(number: int, text: str, lines: dict[int, str]) -> None:
    if number in lines or "\n" in text:
        raise ValueError(f"line {number}: more than one statement, or one of several lines")
    lines[number] = text
