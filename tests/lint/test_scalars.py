"""Texts that Go's YAML reads as numbers. The first list is what a server's code read so (yaml.v3 3.0.1)."""

import pytest
import yaml

from utils.lint.scalars import check

NUMBERS_FOR_GO = [
    *("008", "09", "-08", "0_8", "1e5", "1E5", "1e+3", "5e-6", "2e-05", "12e03", ".5e3", "-.5e1", "0o17", "-0o7"),
]
THE_SAME_FOR_BOTH = ["8", "-1.5", "0x1f", "1_000", "'008'", '"1e5"', "1.2.3", "a1", "1h", "100Gi", "1-2", "v1e5", "~"]


@pytest.mark.parametrize("text", NUMBERS_FOR_GO)
def test_text_that_a_server_reads_as_a_number_is_reported(text: str) -> None:
    document = f"a:\n  - x\n  - {text}\n"
    assert yaml.safe_load(document) == {"a": ["x", text]}, "Python reads a text"
    (finding,) = check(document)
    assert finding.what.startswith(f"{text} (line 3): texts without quotes") and finding.severity == "error"


@pytest.mark.parametrize("text", THE_SAME_FOR_BOTH)
def test_what_both_read_alike_is_not_reported(text: str) -> None:
    assert list(check(f"a: [{text}]\n")) == []


def test_of_many_texts_the_first_are_named() -> None:
    (finding,) = check("[008, 009, 1e5, 2e5]")
    assert finding.what.startswith("008 (line 1), 009 (line 1), 1e5 (line 1) and others: ")
