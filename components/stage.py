"""The `@stage` decorator: a KFP component that carries the helpers it uses inside pipeline.yaml."""

import ast
import builtins
import copy
import dis
import inspect
import io
import linecache
import textwrap
import tokenize
import typing
from collections.abc import Callable, Iterator
from functools import cache
from types import CodeType, FunctionType

from kfp import dsl

# Names that every component source has, from the imports KFP writes at its top.
_ALWAYS_THERE = {*dir(builtins), *typing.__all__, "dsl", "kfp"}


def stage(image: str) -> Callable[[Callable[..., typing.Any]], typing.Any]:
    """Make a component of a function; the helpers from `utils` that it uses by name are embedded with it.

    Args:
        image: the image the component's pod runs, by digest.
    """

    def wrap(func: Callable[..., typing.Any]) -> typing.Any:
        helpers = helpers_of(typing.cast(FunctionType, func))
        return dsl.component(
            func, base_image=image, install_kfp_package=False, additional_funcs=[_slim(f) for f in helpers]
        )

    return wrap


def named(component: typing.Any, name: str) -> typing.Any:
    """The component under another name: a task's key, which every user interface shows, is its component's name."""
    copied = copy.copy(component)
    copied.component_spec = copy.copy(component.component_spec)
    copied.component_spec.name = copied.name = name
    return copied


def helpers_of(func: FunctionType) -> list[FunctionType]:
    """Every helper that func needs, directly or through another helper, sorted by name.

    Raises:
        TypeError: a function uses a module-level name that would not exist inside the component.
    """
    found: dict[str, FunctionType] = {}
    queue = [func]
    while queue:
        user = queue.pop()
        for name in sorted(_global_names(user.__code__)):
            if name not in user.__globals__ or name in found or name in _ALWAYS_THERE:
                continue
            helper = user.__globals__[name]
            if not isinstance(helper, FunctionType):
                raise TypeError(
                    f"{user.__module__}.{user.__name__} uses the module-level name {name!r}, which is not there "
                    "inside the component: import it in the function, or make it a function"
                )
            found[name] = helper
            queue.append(helper)
    return [found[name] for name in sorted(found)]


def _global_names(code: CodeType) -> Iterator[str]:
    yield from (i.argval for i in dis.get_instructions(code) if i.opname == "LOAD_GLOBAL")
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _global_names(constant)


@cache
def _slim(func: FunctionType) -> FunctionType:
    """func again with a short source, no docstring, comments, annotations: pipeline.yaml must stay small."""
    source = joined(_without_annotations(slim_source(textwrap.dedent(inspect.getsource(func)))))
    filename = f"<embedded {func.__module__}.{func.__name__}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    namespace: dict[str, typing.Any] = {**vars(typing)}
    exec(compile(source, filename, "exec"), namespace)
    return typing.cast(FunctionType, namespace[func.__name__])


def slim_source(source: str) -> str:
    """source without the lines that hold only a comment, a docstring or nothing; every other line as it is."""
    drop: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            drop.update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        blank = token.type == tokenize.NL and not token.line.strip()
        if blank or (token.type == tokenize.COMMENT and token.line.strip() == token.string):
            drop.add(token.start[0])
    return "".join(line for number, line in enumerate(source.splitlines(keepends=True), 1) if number not in drop)


def joined(source: str) -> str:
    """source with what stands in brackets on one line, and without the comments behind code."""
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    comments = {token.start[0]: token.start[1] for token in tokens if token.type == tokenize.COMMENT}
    open_ends = {token.start[0] for token in tokens if token.type == tokenize.NL}
    text, inside = "", False
    for number, line in enumerate(source.splitlines(), 1):
        line = line[: comments.get(number)]
        text += line.strip() if inside else line
        inside = number in open_ends
        text = text.rstrip() + " " if inside else text + "\n"
    return text


def _without_annotations(source: str) -> str:
    """source of functions without the types of arguments, results and variables; the line breaks stay."""
    text = source.encode()  # ast counts bytes
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    cuts = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.arg) and node.annotation:
            cuts.append((starts[node.lineno - 1] + node.col_offset + len(node.arg.encode()), node.annotation))
        elif isinstance(node, ast.AnnAssign) and node.value:
            cuts.append(
                (starts[(node.target.end_lineno or 0) - 1] + (node.target.end_col_offset or 0), node.annotation)
            )
        elif isinstance(node, ast.FunctionDef) and node.returns:
            arrow = text.rindex(b" ->", 0, starts[node.returns.lineno - 1] + node.returns.col_offset)
            cuts.append((arrow, node.returns))
    for start, annotation in sorted(cuts, key=lambda cut: -cut[0]):
        text = text[:start] + text[starts[(annotation.end_lineno or 0) - 1] + (annotation.end_col_offset or 0) :]
    return text.decode()
