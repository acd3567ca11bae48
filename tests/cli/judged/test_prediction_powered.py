"""The corrected mean: coverage by simulation, and what can't be told."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from utils.cli.judged.people import bias
from utils.cli.judged.prediction_powered import Corrected, Question, best_weight, corrected

Random = np.random.Generator
RUNS = 1000
"""They tell a coverage to 0.7 percent."""
Ratings = tuple[Any, Any]
"""Of people and of the judge, of as many questions."""


def whole(values: Any) -> Any:
    return np.clip(np.round(values), 1, 10)


def good(random: Random, n: int) -> Ratings:
    """A judge that sees what people see, and gives one more."""
    quality = random.normal(6.5, 2, n)
    return whole(quality + random.normal(0, 0.7, n)), whole(quality + 1 + random.normal(0, 0.7, n))


def noise(random: Random, n: int) -> Ratings:
    return whole(random.normal(6, 2, n)), whole(random.normal(8, 1, n))


def constant(random: Random, n: int) -> Ratings:
    return whole(random.normal(6, 2, n)), np.full(n, 7.0)


def mild(random: Random, n: int) -> Ratings:
    """A judge that gives nearly everything an 8."""
    quality = random.normal(5, 2.5, n)
    return whole(quality), whole(8 + 0.2 * (quality - 5) + random.normal(0, 0.5, n))


def contrary(random: Random, n: int) -> Ratings:
    quality = random.normal(6, 2, n)
    return whole(quality), whole(12 - quality + random.normal(0, 1, n))


def skewed(random: Random, n: int) -> Ratings:
    """Most answers are nearly perfect, some are bad."""
    quality = 10 - random.exponential(2, n)
    return whole(quality + random.normal(0, 0.5, n)), whole(0.5 * quality + 4 + random.normal(0, 1, n))


def change(random: Random, n: int) -> Ratings:
    """Differences of two models' ratings, which the judge exaggerates in favor of the second."""
    better = random.normal(0.5, 2, n)
    return np.round(better + random.normal(0, 1, n)), np.round(0.8 * better + 0.8 + random.normal(0, 1, n))


def questions(human: Any, judge: Any, rated: Any, leaves: Any = None) -> list[Question]:
    names = [""] * len(human) if leaves is None else [str(leaf) for leaf in leaves]
    rows = zip(names, judge, human, rated, strict=True)
    return [Question(leaf, float(f), float(y) if told else None) for leaf, f, y, told in rows]


def covered(found: list[Corrected], truth: float) -> float:
    ends = [(one.low, one.high) for one in found if one.low is not None and one.high is not None]
    assert len(ends) > 0.99 * len(found)
    return float(np.mean([low <= truth <= high for low, high in ends]))


@pytest.mark.parametrize("kind", [good, noise, constant, mild, contrary, skewed, change])
@pytest.mark.parametrize(("rated", "others"), [(12, 68), (25, 55), (50, 100)])
def test_interval_covers_what_people_would_say(kind: Callable[..., Ratings], rated: int, others: int) -> None:
    truth = float(kind(np.random.default_rng(1), 1_000_000)[0].mean())
    random, told = np.random.default_rng(12), np.arange(rated + others) < rated
    found = [corrected(questions(*kind(random, rated + others), told), 0.95, -20, 20) for _ in range(RUNS)]
    assert 0.93 <= covered(found, truth) <= 0.97


@pytest.mark.parametrize("leaves", [6, 12, 30])
@pytest.mark.parametrize("alike", [0.0, 1.5])
def test_answers_of_one_leaf_count_for_less(leaves: int, alike: float) -> None:
    random, told = np.random.default_rng(11), np.arange(100) < 25
    found = []
    for _ in range(RUNS):
        leaf = random.integers(0, leaves, 100)
        shared = random.normal(0, alike, leaves)[leaf]
        quality = shared + random.normal(0, 1.5, 100)
        judge = quality + 1 + random.normal(0, alike / 2, leaves)[leaf] + random.normal(0, 0.7, 100)
        found.append(corrected(questions(quality + random.normal(0, 0.7, 100), judge, told, leaf), 0.95, -20, 20))
    assert 0.93 <= covered(found, 0.0) <= 0.97


def test_ratings_that_are_missing_by_chance_do_no_harm() -> None:
    """Forty questions were sampled, and some lines of the file are empty."""
    truth, random = float(mild(np.random.default_rng(1), 1_000_000)[0].mean()), np.random.default_rng(14)
    found = []
    for _ in range(RUNS):
        told = (np.arange(80) < 40) & (random.random(80) < 0.6)
        found.append(corrected(questions(*mild(random, 80), told), 0.95, 1, 10))
    assert 0.93 <= covered(found, truth) <= 0.97


def test_interval_is_narrower_the_better_the_judge_is_and_never_much_wider_than_without_one() -> None:
    random, told = np.random.default_rng(5), np.arange(525) < 25
    widths = {}
    for kind in (good, noise, constant):
        wide: list[float] = []
        alone: list[float] = []
        for _ in range(60):
            human, judge = kind(random, 525)
            for into, rated in ((wide, judge), (alone, np.full(525, 5.0))):
                found = corrected(questions(human, rated, told), 0.95, -20, 20)
                into.append((found.high or 0) - (found.low or 0))
        widths[kind] = float(np.mean(wide) / np.mean(alone))
    assert widths[good] < 0.65 and widths[noise] < 1.05 and widths[constant] == 1.0


def test_bias_of_the_judge_is_taken_out() -> None:
    human, judge = good(np.random.default_rng(6), 500)
    found = corrected(questions(human, judge, np.arange(500) < 50), 0.95, 1, 10)
    told_by = bias(questions(human, judge, np.arange(500) < 50), 0.95)
    assert told_by.change == pytest.approx(1.1, abs=0.3) and told_by.low is not None and told_by.low > 0
    assert told_by.questions == 50
    assert found.estimate == pytest.approx(float(human.mean()), abs=0.3) and found.judge == pytest.approx(judge.mean())
    assert (found.questions, found.rated) == (500, 50) and 0.5 < found.weight <= 1


@pytest.mark.parametrize(
    ("human", "rated", "estimate"),
    [([5.0] * 20, 20, 5.0), ([4.0, 6.0] * 3, 6, 5.0), ([4.0, 6.0], 2, 5.0), ([4.0], 1, 4.0), ([4.0, 6.0], 0, None)],
    ids=["people say the same of all", "six", "two", "one", "none"],
)
def test_few_or_equal_ratings_give_no_interval(human: list[float], rated: int, estimate: float | None) -> None:
    judge = [7.0, 8.0] * 20
    told = np.arange(40) < rated
    found = corrected(questions([*human, *[0.0] * 40][:40], judge, told), 0.95, 1, 10)
    assert (found.low, found.high, found.rated) == (None, None, rated)
    assert found.estimate == (None if estimate is None else pytest.approx(estimate, abs=0.6))


def test_all_questions_rated_by_people_leave_nothing_to_the_judge() -> None:
    human, judge = good(np.random.default_rng(7), 40)
    found = corrected(questions(human, judge, np.full(40, True)), 0.95, 1, 10)
    assert found.estimate == pytest.approx(human.mean()) and found.weight == 0
    assert found.low is not None and found.low < human.mean()


def test_interval_stays_on_the_scale() -> None:
    human = [10.0] * 12 + [9.0]
    found = corrected(questions(human + [0.0] * 20, [9.0, 10.0, 9.0] * 11, np.arange(33) < 13), 0.95, 1, 10)
    assert found.high == 10 and found.low is not None and found.low < 10


def test_judge_that_agrees_with_people_to_the_letter_is_believed() -> None:
    """Nothing is left to correct; what is not known is how the others would differ."""
    human = [float(3 + i % 5) for i in range(60)]
    found = corrected(questions(human, human, np.arange(60) < 30), 0.95, 1, 10)
    assert found.estimate == pytest.approx(5.0) and found.low is not None and found.low < 5


@pytest.mark.parametrize(
    ("human", "judge", "others", "weight"),
    [
        ([1.0, 5.0, 9.0], [2.0, 5.0, 8.0], [2.0, 5.0, 8.0] * 1000, 1.0),
        ([9.0, 5.0, 1.0], [2.0, 5.0, 8.0], [5.0, 6.0], 0.0),
        ([1.0, 5.0, 9.0], [5.0, 5.0, 5.0], [5.0, 5.0], 0.0),
        ([1.0, 5.0, 9.0], [2.0, 5.0, 8.0], [], 0.0),
        ([1.0, 5.0], [2.0, 5.0], [5.0, 6.0], 0.0),
        ([2.0, 4.0, 6.0], [2.0, 6.0, 10.0], [2.0, 6.0, 10.0], 0.3125),
    ],
    ids=["clipped to 1", "contrary", "constant judge", "no others", "too few", "formula"],
)
def test_weight_is_that_of_the_paper(
    human: list[float], judge: list[float], others: list[float], weight: float
) -> None:
    """Formula: cov 8, var 12.8 of all six, n/N 1: 8 / (2 * 12.8)."""
    assert best_weight(human, judge, others) == pytest.approx(weight, abs=1e-3)
