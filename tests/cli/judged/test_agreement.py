"""Krippendorff's alpha, against published examples."""

import math
from random import Random

import pytest

from utils.cli.judged.agreement import Agreement, Level, agreement

_ = math.nan
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
    [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
]
"""Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), example C: four observers, missing data."""


@pytest.mark.parametrize(("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_is_that_of_the_published_example(level: Level, alpha: float) -> None:
    units = [[value for value in unit if not math.isnan(value)] for unit in zip(*OBSERVERS, strict=True)]
    found = agreement(units, level, 0.95)
    assert found.alpha == pytest.approx(alpha, abs=0.0005) and found.units == 11
    assert found.low is not None and found.high is not None and found.low < alpha < found.high <= 1


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        ([], Agreement(0)),
        ([[5.0], [7.0]], Agreement(0)),
        ([[5.0, 5.0], [5.0, 5.0]], Agreement(2)),
        ([[5.0, 5.0], [7.0, 7.0]], Agreement(2, 1.0)),
    ],
    ids=["nothing", "one rater", "one rating", "agree"],
)
def test_what_can_not_be_told_is_not_told(units: list[list[float]], expected: Agreement) -> None:
    assert agreement(units, "ordinal", 0.95) == expected


def test_raters_who_know_nothing_of_each_other_have_an_alpha_near_zero() -> None:
    chance = Random(3)
    units = [[float(chance.randint(1, 10)) for _ in range(2)] for _ in range(400)]
    found = agreement(units, "ordinal", 0.95)
    assert found.alpha == pytest.approx(0, abs=0.1) and found.word == "not reliable"
    assert found.low is not None and found.high is not None and found.low < 0 < found.high


def test_answers_of_one_question_are_drawn_together() -> None:
    """Ten copies of each unit tell no more than one."""
    chance = Random(1)
    units = [[rating, rating + chance.choice((-2, 0, 0, 2))] for rating in (chance.uniform(2, 9) for _ in range(30))]
    one = agreement(units, "interval", 0.95)
    copies = agreement(units * 10, "interval", 0.95, [*range(30)] * 10)
    assert copies.alpha == pytest.approx(one.alpha, abs=0.02)
    assert copies.low == pytest.approx(one.low, abs=0.03) and copies.high == pytest.approx(one.high, abs=0.03)
