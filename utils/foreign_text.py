"""YAML and JSON that others wrote: read to values of JSON's types, or refused with one error."""

import json
from collections.abc import Callable
from typing import Any

import yaml

DEEPEST = 100
"""Levels of lists and mappings. Compiled pipelines have about 15; Python's own recursion ends at some 300."""
MOST_PARTS = 1_000_000
"""Values in a text, aliases written out: a few hundred bytes of YAML may stand for billions."""
SHAPE_ERRORS = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)
"""What reading a value of an unexpected shape raises; PyYAML's constructors too, on `!!int x` or `!!bool 2`."""
# Integers up to here are also doubles, the only numbers of JSON and protocol buffers.
_MOST_BITS = 1023
_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# A date is text, as it is for Kubernetes and for a Kubeflow Pipelines server.
_RESOLVERS = {
    first: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:timestamp"]
    for first, pairs in _BASE.yaml_implicit_resolvers.items()
}
_LOADER: Any = type("_Loader", (_BASE,), {"yaml_implicit_resolvers": _RESOLVERS})


class TextError(ValueError):
    """The text can't be read.

    Attributes:
        problem: what is wrong; it may quote the text.
        place: `line 3, column 1`, counted from 1, or the keys that lead to the value; "" if it is not known.
    """

    def __init__(self, problem: str, place: str = "") -> None:
        super().__init__(f"{place}: {problem}" if place else problem)
        self.problem = problem
        self.place = place


def read_yaml(text: str, refuse_dates: bool = False) -> list[Any]:
    """The documents of a YAML text.

    Args:
        refuse_dates: a date without quotes is an error, not text.

    Raises:
        TextError: it is not YAML, too deeply nested, or contains what JSON can't hold.
    """
    loader = _BASE if refuse_dates else _LOADER
    try:
        _check_depth(text)
        documents = list(yaml.load_all(text, Loader=loader))
    except yaml.YAMLError as error:
        raise TextError(getattr(error, "problem", None) or str(error), _place(error)) from error
    except TextError:
        raise
    except SHAPE_ERRORS as error:
        raise TextError(f"a value is not of its type: {error}") from error
    for document in documents:
        _check(document)
    return documents


def read_nodes(text: str) -> list[yaml.Node]:
    """The documents of a YAML text as nodes, which know their places in it.

    Raises:
        TextError: it is not YAML, or too deeply nested.
    """
    try:
        _check_depth(text)
        return [node for node in yaml.compose_all(text, _BASE) if node is not None]
    except yaml.YAMLError as error:
        raise TextError(getattr(error, "problem", None) or str(error), _place(error)) from error
    except SHAPE_ERRORS as error:
        raise TextError(str(error)) from error


def _place(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""


def read_json(text: str | bytes, parse_constant: Callable[[str], Any] | None = None) -> Any:
    """The value of a JSON text.

    Args:
        parse_constant: is given NaN, Infinity and -Infinity, as with `json.loads`.

    Raises:
        TextError: it is not JSON, or too deeply nested.
    """
    try:
        value = json.loads(text, parse_constant=parse_constant)
    except RecursionError as error:
        raise TextError("it is too deeply nested") from error
    except ValueError as error:
        raise TextError(str(error)) from error
    _check(value)
    return value


def _check_depth(text: str) -> None:
    """Refuse deep nesting before libyaml's loader, which calls itself for each level, overflows the stack."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            mark = event.start_mark
            raise TextError(
                "it is too deeply nested", f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
            )


def _check(value: Any) -> None:
    """Refuse what a walk over the value, or writing it as JSON, would stumble over."""
    parts, count = [(value, 0, "")], 0
    while parts:
        one, depth, place = parts.pop()
        count += 1
        if count > MOST_PARTS:
            raise TextError("it is too large")
        if depth > DEEPEST:
            raise TextError("it is too deeply nested, or refers to itself")
        if isinstance(one, list):
            parts += [(inner, depth + 1, place) for inner in one]
        elif isinstance(one, dict):
            for key, inner in one.items():
                if not isinstance(key, str):
                    raise TextError("a key is not text; put it in quotes", place)
                parts += [(key, depth + 1, place), (inner, depth + 1, f"{place}.{key[:40]}" if place else key[:40])]
        elif problem := _problem(one):
            raise TextError(problem, place)


def _problem(value: Any) -> str:
    """What is wrong with a single value, "" if nothing is."""
    if isinstance(value, str):
        lone = not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value)
        return "a text has half a character (a surrogate)" if lone else ""
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        return "a number is too large"
    if value is None or isinstance(value, int | float):
        return ""
    return f"a value is a {type(value).__name__}, which JSON does not have; put it in quotes"
