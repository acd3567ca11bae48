"""Parameter values: typed as the pipeline declares them, and as text the way KFP writes them.

Protocol buffers have only one kind of number, so a compiled file contains 3.0 if the author wrote 3.
"""

import json
import math
import re
from decimal import Decimal
from typing import Any

from utils.foreign_text import read_json
from utils.ir.model import Parameter

_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "NUMBER_INTEGER": (int,),
    "NUMBER_DOUBLE": (float,),
    "STRING": (str,),
    "BOOLEAN": (bool,),
    "LIST": (list,),
    "STRUCT": (dict,),
    "TASK_FINAL_STATUS": (dict,),
}
_NAMES = {
    "NUMBER_INTEGER": "an integer",
    "NUMBER_DOUBLE": "a number",
    "STRING": "a string",
    "BOOLEAN": "true or false",
    "LIST": "a list",
    "STRUCT": "a struct",
}
# strconv.ParseInt, ParseFloat and ParseBool; hexadecimal floats and numbers that JSON can't carry are left out.
_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}


def typed(value: Any, kind: str) -> Any:
    """value as a parameter of type `kind` ("NUMBER_INTEGER", …).

    Whole numbers become int for an integer and float for a double; inside lists and structs they become int, as in a
    server's JSON. Anything given to a string becomes its JSON text.

    Raises:
        ValueError: value can't be of that type.
    """
    if kind == "NUMBER_INTEGER" and isinstance(value, float) and value.is_integer():
        return int(value)
    if kind == "NUMBER_DOUBLE" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind == "STRING":
        return text(value)
    if kind in ("LIST", "STRUCT"):
        value = whole_numbers(value)
    allowed = _PYTHON_TYPES.get(kind)
    if allowed is None:
        return value
    if not isinstance(value, allowed) or (isinstance(value, bool) and kind != "BOOLEAN"):
        raise ValueError(f"expected {_NAMES.get(kind, kind)}, got {text(value)!r}")
    return value


def from_text(content: str, kind: str) -> Any:
    """The value of a parameter of type `kind` in the text that a task wrote, read as KFP's launcher does.

    A string is unchanged. Space around a number or truth value does not count, and a truth value may be any that Go's
    ParseBool accepts: `True`, as Python writes it, is one. Source: TextToPbValue in
    backend/src/v2/metadata/converter.go.

    Raises:
        ValueError: it is not of that type.
    """
    word = content.strip()
    if kind == "NUMBER_INTEGER" and _INTEGER.fullmatch(word) and -(2**63) <= int(word) < 2**63:
        return int(word)
    if kind == "NUMBER_DOUBLE" and _NUMBER.fullmatch(word) and math.isfinite(float(word)):
        return float(word)
    if kind == "BOOLEAN" and word in _BOOLEANS:
        return _BOOLEANS[word]
    if kind in ("NUMBER_INTEGER", "NUMBER_DOUBLE", "BOOLEAN"):
        raise ValueError(f"expected {_NAMES[kind]}, got {content[:200]!r}")
    return typed(read_json(content, parse_constant=_not_json), kind) if kind in ("LIST", "STRUCT") else content


def _not_json(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def parameter_value(value: Any, parameter: Parameter) -> Any:
    """value typed for `parameter`; if it has literals, it must be one of them.

    Raises:
        ValueError: value is of another type, or not one of the literals.
    """
    result = typed(value, parameter.type)
    if parameter.literals and result not in parameter.literals:
        choices = ", ".join(text(choice) for choice in parameter.literals)
        raise ValueError(f"expected one of {choices}, got {text(result)!r}")
    return result


def whole_numbers(value: Any) -> Any:
    """value with every whole float inside it as an int."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list | tuple):
        return [whole_numbers(item) for item in value]
    if isinstance(value, dict):
        return {key: whole_numbers(item) for key, item in value.items()}
    return value


def text(value: Any) -> str:
    """value as it appears inside a string: JSON, a string unchanged, a number without exponent (2e-5 is 0.00002)."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return format(Decimal(repr(value)), "f").removesuffix(".0")
    return json.dumps(whole_numbers(value), ensure_ascii=False)
