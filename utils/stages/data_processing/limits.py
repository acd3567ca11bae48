"""From where on a sample is not trained on: the pipeline's parameter sdg_checks."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

RANGES = {
    "near_duplicates": (0.5, 1),
    "overlap_words": (0, 1000),
    "min_answer": (0, 1e6),
    "max_foreign_letters": (0, 1),
    "drop_refusals": (False, True),
    "max_dropped": (0, 1),
}
"""Lowest and highest value of each."""


@dataclass(frozen=True)
class Limits:
    """The limits, with their defaults.

    Attributes:
        near_duplicates: similarity of two samples (the Jaccard index of their letters in a row); 1: none are dropped.
        overlap_words: words in a row that a sample may not have in common with an evaluation question; 0: any.
        min_answer: letters and digits of an answer.
        max_foreign_letters: share of an answer's letters in scripts that seed examples and document do not use; 1: all.
        drop_refusals: whether refusals and leftovers of templates are dropped.
        max_dropped: share of a leaf's samples; where more are dropped, the stage fails.
    """

    near_duplicates: float = 0.9
    overlap_words: int = 13
    min_answer: int = 1
    max_foreign_letters: float = 0.5
    drop_refusals: bool = True
    max_dropped: float = 0.9

    def changed(self) -> dict[str, object]:
        """Those that are not the defaults: inputs of the stage."""
        return {name: value for name, value in vars(self).items() if value != vars(Limits())[name]}


def limits_of(given: Mapping[str, Any]) -> Limits:
    """The limits, where they are given; Kubeflow Pipelines has no whole numbers in a parameter of this type."""
    return Limits(**{name: type(vars(Limits())[name])(value) for name, value in given.items()})


def limit_faults(given: Mapping[str, Any]) -> Iterator[str]:
    """What is expected instead of each limit that is unknown or out of range."""
    for name, value in given.items():
        if name not in RANGES:
            yield f"only {', '.join(RANGES)}"
            continue
        low, high = RANGES[name]
        logical, whole = isinstance(low, bool), isinstance(vars(Limits())[name], int)
        number = isinstance(value, (int, float)) and isinstance(value, bool) == logical
        if not number or not low <= value <= high or (whole and value != int(value)):
            kind = "" if logical else "a whole number, " if whole else "a number, "
            yield f"{name}: {kind}" + ("true or false" if logical else f"{low:g} to {high:g}")
