"""Code that travels is the same program, on the same lines, with short names for local variables."""

import ast
import re
import traceback
from typing import Any

import pytest

from utils.files import ROOT
from utils.shortening import renamed, shortened, written

SOURCES = sorted(file for file in (ROOT / "utils").rglob("*.py") if not re.search(r";\s*\w", file.read_text()))

PROGRAM = '''
import os
LIMIT = 3
total = 100


def decorated(function):
    return function


@decorated
def main(first, *rest, key="k", **more):
    """Everything that binds a name."""
    result, (second, *others) = [], (2, 3, 4)
    for number in range(LIMIT):
        if number == 0:
            result.append(number)
        elif number == 1:
            result.append(-number)
        else:
            result.append(f"{number!r:>{second}}|{{}} 'it' {more.get('a', 'none')} \\"quoted\\" {key}\\n")
    else:
        result.append("end")
    squares = {value: [other * value for other in others] for value in rest}

    def inner(value):
        nonlocal second
        second += value
        return second + first + total

    result += [inner(1), (lambda value: value + second)(1), squares]
    while (left := len(result)) > 100:
        break
    try:
        raise KeyError(first)
    except (KeyError, ValueError) as error:
        result.append(repr(error))
    else:
        result.append("none")
    finally:
        result.append(left)
    with open(os.devnull) as file:
        result.append(file.read())
    match {"kind": "x", "rest": 1}:
        case {"kind": kind, **remaining}:
            result.append((kind, remaining))
        case [head, *tail]:
            result.append((head, tail))
    return result


class Thing:
    size: int = LIMIT

    def grow(self, by):
        size = self.size + by
        self.size = size
        return f"{size}" f"{self.size:03d}"


def fails(what):
    reason = (
        what +
        1
    )
    return reason
'''


def run(source: str | bytes) -> dict[str, Any]:
    namespace: dict[str, Any] = {}
    exec(compile(source, "program.py", "exec"), namespace)
    return namespace


def test_program_does_the_same() -> None:
    before, after = run(PROGRAM), run(shortened(PROGRAM.encode()))
    for space in (before, after):
        space["thing"] = space["Thing"]()
    assert after["main"](1, 5, 6, a="x") == before["main"](1, 5, 6, a="x")
    assert after["thing"].grow(by=4) == before["thing"].grow(by=4) == "7007"


def test_traceback_names_the_line_of_the_statement() -> None:
    lines = []
    for source in (PROGRAM, shortened(PROGRAM.encode())):
        with pytest.raises(TypeError) as caught:
            run(source)["fails"]("text")
        lines.append(traceback.extract_tb(caught.value.__traceback__)[-1].lineno or 0)
    assert lines[1] == PROGRAM.splitlines().index("    reason = (") + 1 <= lines[0]


def test_parameters_and_names_that_others_see_stay() -> None:
    text = shortened(PROGRAM.encode()).decode()
    assert "def main(first, *rest, key='k', **more):" in text
    assert "total" in text and "LIMIT" in text and "self.size" in text
    assert "squares" not in text and "number" not in text


@pytest.mark.parametrize("program", ["def f(a):\n    value = 1\n    return locals()\n", "x = 1\n", ""])
def test_functions_that_read_their_names_and_modules_keep_them(program: str) -> None:
    assert ast.dump(ast.parse(shortened(program.encode()))) == ast.dump(ast.parse(program))


def test_two_statements_on_a_line_are_refused() -> None:
    with pytest.raises(ValueError, match="line 1: more than one statement"):
        shortened(b"a = 1; b = 2\n")


@pytest.mark.parametrize("module", range(0, len(SOURCES), 10))
def test_every_module_is_written_as_the_program_it_is(module: int) -> None:
    for file in SOURCES[module : module + 10]:
        tree = renamed(ast.parse(file.read_text()))
        text = written(tree)
        assert ast.dump(ast.parse(text)) == ast.dump(tree), file
        if not any(isinstance(node, ast.Constant) and "\n" in str(node.value) for node in ast.walk(tree)):
            assert first_lines(ast.parse(text)) == first_lines(tree), file


def first_lines(tree: ast.AST) -> list[int]:
    return [node.lineno for node in ast.walk(tree) if isinstance(node, ast.stmt)]
