"""The conditions of If, Elif and Else: the part of CEL (Common Expression Language) that the KFP compiler writes.

`==` `!=` `<` `<=` `>` `>=` `&&` `||` `!`, brackets, literals, `inputs.parameter_values['x']` (with a path behind it),
`int()`, `double()`, `string()`, `bool()`, `parseJson()`.

The compiler puts a string that the author compares with between quotes without escaping it. So a quote inside a string
ends it only where the text after it can follow a value: 'it's' is one string, and so is a URL with quotes.
"""

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from utils.foreign_text import read_json
from utils.ir.values import text

Evaluate = Callable[[Mapping[str, Any]], Any]

_NUMBER = re.compile(r"\d+\.\d*(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\d+")
_NAME = re.compile(r"[A-Za-z_]\w*")
_SYMBOL = re.compile(r"==|!=|<=|>=|&&|\|\||[<>!()\[\].,-]")
# What can follow a string outside of square brackets: another operator, a closing bracket, a comma, the end.
_AFTER_STRING = re.compile(r"\s*(?:==|!=|<|>|&&|\|\||\)|,|$)")
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|[\\'\"`?abfnrtv])")
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
# The compiler puts an output that is compared with a string inside quotes itself.
_QUOTED_INPUT = re.compile(r"(?:int\()?inputs\.parameter_values\['([^']+)'\]\)?")

# A double has no more before its point.
_MOST_DIGITS = 308

_ORDER = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


class ExpressionError(ValueError):
    """The expression can't be read, or has no value for these inputs."""


def evaluate(expression: str, inputs: Mapping[str, Any]) -> bool:
    """Whether the condition holds for these parameter values.

    Raises:
        ExpressionError: it can't be read, names an input without value, or is neither true nor false.
    """
    try:
        result = parse(expression)(inputs)
    except RecursionError as error:
        raise ExpressionError(f"the condition {expression[:200]} is too deeply nested") from error
    if not isinstance(result, bool):
        raise ExpressionError(f"the condition {expression} is neither true nor false but {text(result)}")
    return result


def parse(expression: str) -> Evaluate:
    """The expression as a function of the task's parameter values.

    Raises:
        ExpressionError: it can't be read.
    """
    parser = _Parser(expression)
    try:
        result = parser.either()
    except RecursionError as error:
        raise ExpressionError(f"the condition {expression[:200]} is too deeply nested") from error
    if parser.peek() is not None:
        raise parser.error("unexpected text")
    return result


def _tokens(expression: str) -> list[tuple[str, Any, int]]:
    """Kind ("number", "string", "name", or the symbol itself), value and position of each token."""
    found: list[tuple[str, Any, int]] = []
    position = 0
    while position < len(expression):
        start = position
        if expression[position].isspace():
            position += 1
        elif expression[position] in "'\"":
            value, position = _string(expression, position, in_brackets=bool(found) and found[-1][0] == "[")
            found.append(("string", value, start))
        elif match := _NUMBER.match(expression, position):
            number = match[0]
            if len(number) > _MOST_DIGITS:
                raise ExpressionError(f"a number of {len(number)} digits in the condition {expression[:200]}")
            found.append(("number", int(number) if number.isdigit() else float(number), start))
            position = match.end()
        elif match := _NAME.match(expression, position):
            found.append(("name", match[0], start))
            position = match.end()
        elif match := _SYMBOL.match(expression, position):
            found.append((match[0], match[0], start))
            position = match.end()
        else:
            raise ExpressionError(f"can't read the condition {expression} at {expression[position:][:20]!r}")
    return found


def _string(expression: str, start: int, in_brackets: bool) -> tuple[str, int]:
    """The string that opens at start, and where it ends."""
    quote = expression[start]
    position = start + 1
    while position < len(expression):
        if expression[position] == "\\" and position + 1 < len(expression):
            position += 2
            continue
        if expression[position] == quote and (in_brackets or _AFTER_STRING.match(expression, position + 1)):
            return _ESCAPE.sub(_unescape, expression[start + 1 : position]), position + 1
        position += 1
    raise ExpressionError(f"a string without end in the condition {expression}")


def _unescape(match: re.Match[str]) -> str:
    code = match[1]
    return chr(int(code[1:], 16)) if code[0] in "xu" and len(code) > 1 else _ESCAPED.get(code, code)


class _Parser:
    """Recursive descent, one method per level of precedence, loosest first."""

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self.tokens = _tokens(expression)
        self.position = 0

    def peek(self) -> str | None:
        return self.tokens[self.position][0] if self.position < len(self.tokens) else None

    def take(self, *kinds: str) -> Any:
        """The next token's value, which must be of one of these kinds."""
        if self.peek() not in kinds:
            raise self.error(f"expected {' or '.join(kinds)}")
        self.position += 1
        return self.tokens[self.position - 1][1]

    def error(self, problem: str) -> ExpressionError:
        at = self.tokens[self.position][2] if self.position < len(self.tokens) else len(self.expression)
        return ExpressionError(f"{problem} at {self.expression[at:][:20]!r} in the condition {self.expression}")

    def either(self) -> Evaluate:
        left = self.both()
        while self.peek() == "||":
            self.take("||")
            left = _either(left, self.both())
        return left

    def both(self) -> Evaluate:
        left = self.relation()
        while self.peek() == "&&":
            self.take("&&")
            left = _both(left, self.relation())
        return left

    def relation(self) -> Evaluate:
        left = self.unary()
        while self.peek() in ("==", "!=", *_ORDER):
            symbol = self.take("==", "!=", *_ORDER)
            left = _compare(symbol, left, self.unary())
        return left

    def unary(self) -> Evaluate:
        if self.peek() == "!":
            self.take("!")
            inner = self.unary()
            return lambda inputs: not _boolean(inner(inputs))
        if self.peek() == "-":
            self.take("-")
            number = self.take("number")
            return lambda inputs: -number
        return self.value()

    def value(self) -> Evaluate:
        kind = self.peek()
        if kind == "(":
            self.take("(")
            inner = self.either()
            self.take(")")
            return inner
        if kind == "string":
            literal = self.take("string")
            quoted = _QUOTED_INPUT.fullmatch(literal)
            return (lambda inputs: text(_input(quoted[1], inputs))) if quoted else (lambda inputs: literal)
        if kind == "number":
            literal = self.take("number")
            return lambda inputs: literal
        return self.named()

    def named(self) -> Evaluate:
        name = self.take("name")
        if name in ("true", "false", "null"):
            return lambda inputs: {"true": True, "false": False}.get(name)
        if name in _FUNCTIONS:
            function = _FUNCTIONS[name]
            self.take("(")
            argument = self.either()
            self.take(")")
            return self.path(lambda inputs: _apply(name, function, argument(inputs)))
        if name == "inputs":
            self.take(".")
            if self.take("name") != "parameter_values":
                raise self.error("unknown part of inputs")
            self.take("[")
            parameter = self.take("string")
            self.take("]")
            return self.path(lambda inputs: _input(parameter, inputs))
        raise self.error(f"unknown name {name}")

    def path(self, value: Evaluate) -> Evaluate:
        """value with the `["key"]`, `[0]` that follow it."""
        while self.peek() == "[":
            self.take("[")
            value = _step(value, self.take("string", "number"))
            self.take("]")
        return value


def _either(left: Evaluate, right: Evaluate) -> Evaluate:
    return lambda inputs: _boolean(left(inputs)) or _boolean(right(inputs))


def _both(left: Evaluate, right: Evaluate) -> Evaluate:
    return lambda inputs: _boolean(left(inputs)) and _boolean(right(inputs))


def _compare(symbol: str, left: Evaluate, right: Evaluate) -> Evaluate:
    def result(inputs: Mapping[str, Any]) -> bool:
        one, other = left(inputs), right(inputs)
        alike = _kind(one) == _kind(other)
        if symbol in ("==", "!="):
            return (alike and one == other) == (symbol == "==")
        if not alike or _kind(one) not in ("number", "string", "bool"):
            raise ExpressionError(f"can't compare {text(one)} {symbol} {text(other)}")
        return bool(_ORDER[symbol](one, other))

    return result


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, int | float) else "string" if isinstance(value, str) else type(value).__name__


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ExpressionError(f"{text(value)} is neither true nor false")
    return value


def _input(name: str, inputs: Mapping[str, Any]) -> Any:
    if inputs.get(name) is None:
        raise ExpressionError(f"the input {name.removeprefix('pipelinechannel--')} has no value")
    return inputs[name]


def _step(value: Evaluate, key: str | int) -> Evaluate:
    def result(inputs: Mapping[str, Any]) -> Any:
        whole = value(inputs)
        try:
            return whole[key]
        except (KeyError, IndexError, TypeError) as error:
            raise ExpressionError(f"no {key!r} in {text(whole)[:200]}") from error

    return result


def _apply(name: str, function: Callable[[Any], Any], argument: Any) -> Any:
    try:
        return function(argument)
    except (ValueError, TypeError, ArithmeticError) as error:
        raise ExpressionError(f"{name}({text(argument)[:200]}) has no value") from error


def _to_bool(value: Any) -> bool:
    if isinstance(value, str):
        return {"true": True, "false": False}[value.lower()] if value.lower() in ("true", "false") else _boolean(value)
    return _boolean(value)


_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "int": int,
    "double": float,
    "string": text,
    "bool": _to_bool,
    "parseJson": read_json,
}
