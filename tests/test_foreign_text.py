"""YAML and JSON of others: values of JSON's types, or one error that names the line."""

import pytest

from utils.foreign_text import TextError, read_json, read_yaml


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: b: c", "line 1"),
        ("[" * 300_000, "line 1, column 101: it is too deeply nested"),  # libyaml's loader overflows the stack
        ("- " * 300, "too deeply nested"),
        ("&a [*a]", "refers to itself"),
        ("- &a0 [x, x]\n" + "".join(f"- &a{i + 1} [*a{i}, *a{i}, *a{i}, *a{i}]\n" for i in range(12)), "too large"),
        ("!!int x", "not of its type"),
        ("!!int ''", "not of its type"),
        ("!!bool 2", "not of its type"),
        ("!!timestamp x", "not of its type"),
        ("9" * 5000, "not of its type"),
        ("0x" + "f" * 5000, "a number is too large"),
        ("? {a: b}\n: c", "line 1, column 3: found unhashable key"),
        ("1: 2", "a key is not text"),
        ("!!set {a}", "a value is a set"),
        ("\x00", "control characters"),
        ("\ud800", "not of its type"),
    ],
)
def test_yaml_that_cannot_be_used_is_one_kind_of_error(text: str, message: str) -> None:
    with pytest.raises(TextError, match=message):
        read_yaml(text)


@pytest.mark.parametrize("text", ["a: 2001-99-99", "a: '2001-99-99'"])
def test_date_in_yaml_is_text_as_it_is_for_a_server(text: str) -> None:
    assert read_yaml(text) == [{"a": "2001-99-99"}]


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "[" * 500 + "]" * 500, "9" * 5000, '"\\ud800"', b"\xff"])
def test_json_that_cannot_be_used_is_one_kind_of_error(text: str | bytes) -> None:
    with pytest.raises(TextError):
        read_json(text)
